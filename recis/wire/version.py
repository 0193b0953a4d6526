"""The version of the distribution, in the one place that the build, the training side and the server read it from."""

__all__ = ["__version__"]

__version__ = "0.2.0"
