"""The server: takes the streams of training processes, keeps them, answers queries and carries commands back."""

from recis.wire.version import __version__ as __version__
