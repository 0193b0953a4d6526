"""The errors that the training side raises deliberately, one class for each kind of failure.

Owns the hierarchy; must not know who raises or catches. Every message states what was expected, what was received and
where.

    RecisError
    ├── ArgumentError (ValueError)        a value outside what the argument allows
    ├── HookSignatureError (TypeError)    a hook, or one of its callbacks, that cannot be called
    ├── CaptureBusyError (RuntimeError)   a requested profiler capture is not possible now
    └── CheckpointError (RuntimeError)    a checkpoint that does not fit the model or cannot be read
"""

__all__ = ["ArgumentError", "CaptureBusyError", "CheckpointError", "HookSignatureError", "RecisError"]


class RecisError(Exception):
    """Base class of all errors that this package raises deliberately."""


class ArgumentError(RecisError, ValueError):
    """A value outside what its argument allows; `where`, `expected` and `got` are kept as attributes."""

    def __init__(self, where: str, expected: str, got: object) -> None:
        super().__init__(f"{where}: expected {expected}, got {got!r}")
        self.where = where
        self.expected = expected
        self.got = got


class HookSignatureError(RecisError, TypeError):
    """A hook that cannot be added: not a `Hook`, or a callback whose signature fits none of the accepted forms."""


class CaptureBusyError(RecisError, RuntimeError):
    """A capture was requested while another one is running, or after profiling was disabled."""


class CheckpointError(RecisError, RuntimeError):
    """A whole checkpoint that does not fit this model, optimizer or number of ranks."""
