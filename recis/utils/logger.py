"""`Logger`: log INFO to standard output and other levels to standard error, without any configuration.

Owns its handlers and their format. Must not know who logs what.
"""

import logging
import sys
from typing import Any, TextIO

from recis import environment

__all__ = ["ConsoleHandler", "Logger"]

_FORMAT = "[%(asctime)s] [%(levelname)s] [%(name)s] %(message)s"


class Logger:
    """A named logger with its own handlers: INFO goes to standard output, everything else to standard error.

    Records are not propagated to other loggers. Several objects with the same name share one logger.

    Args:
        name: name of the logger.
        level: the lowest level that is logged.
    """

    def __init__(self, name: str = "recis", level: int = logging.DEBUG) -> None:
        self._logger = logging.getLogger(name)
        self._logger.setLevel(level)
        self._logger.propagate = False
        if not any(isinstance(handler, ConsoleHandler) for handler in self._logger.handlers):
            self._logger.addHandler(ConsoleHandler(_FORMAT))

    def debug(self, message: object, *args: Any, **kwargs: Any) -> None:
        """Log at level DEBUG; arguments as for `logging.Logger`."""
        self._logger.debug(message, *args, **kwargs)

    def info(self, message: object, *args: Any, **kwargs: Any) -> None:
        """Log at level INFO."""
        self._logger.info(message, *args, **kwargs)

    def warning(self, message: object, *args: Any, **kwargs: Any) -> None:
        """Log at level WARNING."""
        self._logger.warning(message, *args, **kwargs)

    def error(self, message: object, *args: Any, **kwargs: Any) -> None:
        """Log at level ERROR."""
        self._logger.error(message, *args, **kwargs)

    def info_rank0(self, message: object, *args: Any, **kwargs: Any) -> None:
        """Log at level INFO on rank 0 only."""
        if environment.rank() == 0:
            self._logger.info(message, *args, **kwargs)

    def warning_rank0(self, message: object, *args: Any, **kwargs: Any) -> None:
        """Log at level WARNING on rank 0 only."""
        if environment.rank() == 0:
            self._logger.warning(message, *args, **kwargs)

    def error_rank0(self, message: object, *args: Any, **kwargs: Any) -> None:
        """Log at level ERROR on rank 0 only."""
        if environment.rank() == 0:
            self._logger.error(message, *args, **kwargs)


class ConsoleHandler(logging.StreamHandler[TextIO]):
    """Writes INFO to standard output and everything else to standard error.

    The streams are looked up for each record: notebooks and tests replace them.

    Args:
        text_format: as for `logging.Formatter`.
    """

    def __init__(self, text_format: str = "%(message)s") -> None:
        super().__init__()
        self.setFormatter(logging.Formatter(text_format))

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.StreamHandler`."""
        self.stream = sys.stdout if record.levelno == logging.INFO else sys.stderr
        super().emit(record)
