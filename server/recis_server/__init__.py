"""The server: takes the streams of training processes, keeps them, answers queries and carries commands back."""

__version__ = "0.1.0"
