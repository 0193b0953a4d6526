"""`Logger`: log lines on standard output, and what is worse than information on standard error, without any setting up.

Owns its handlers and their format. Must not know who logs what.
"""

import logging
import sys
from collections.abc import Callable
from typing import Any, TextIO

from recis import environment

__all__ = ["Logger"]

_FORMAT = "[%(asctime)s] [%(levelname)s] [%(name)s] %(message)s"


class Logger:
    """The logger of a name, with handlers of its own: INFO goes to standard output, all else to standard error.

    Lines do not go on to the handlers of other loggers. Several objects of one name share one logger.

    Args:
        name: name of the logger.
        level: the lowest level that is logged.
    """

    def __init__(self, name: str = "recis", level: int = logging.DEBUG) -> None:
        self._logger = logging.getLogger(name)
        self._logger.setLevel(level)
        self._logger.propagate = False
        if not any(isinstance(handler, _ConsoleHandler) for handler in self._logger.handlers):
            self._logger.addHandler(_ConsoleHandler(lambda: sys.stdout, lambda level: level == logging.INFO))
            self._logger.addHandler(_ConsoleHandler(lambda: sys.stderr, lambda level: level != logging.INFO))

    def debug(self, message: object, *args: Any, **kwargs: Any) -> None:
        """Log at level DEBUG; arguments as `logging.Logger` takes them."""
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
        """Log at level INFO on rank 0, nothing on others."""
        if environment.rank() == 0:
            self._logger.info(message, *args, **kwargs)

    def warning_rank0(self, message: object, *args: Any, **kwargs: Any) -> None:
        """Log at level WARNING on rank 0, nothing on others."""
        if environment.rank() == 0:
            self._logger.warning(message, *args, **kwargs)

    def error_rank0(self, message: object, *args: Any, **kwargs: Any) -> None:
        """Log at level ERROR on rank 0, nothing on others."""
        if environment.rank() == 0:
            self._logger.error(message, *args, **kwargs)


class _ConsoleHandler(logging.StreamHandler[TextIO]):
    """Writes to what is a standard stream when the line comes: notebooks and tests put others in its place."""

    def __init__(self, stream: Callable[[], TextIO], takes: Callable[[int], bool]) -> None:
        super().__init__(stream())
        self._current = stream
        self.addFilter(lambda record: takes(record.levelno))
        self.setFormatter(logging.Formatter(_FORMAT))

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.StreamHandler`."""
        self.stream = self._current()
        super().emit(record)
