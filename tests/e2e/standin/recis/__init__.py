"""A stand-in for RecIS."""

__version__ = "1.2.10"
