"""`Logger`: log lines on standard output, and what is worse than information on standard error, without any setting up.

Owns the handlers that write there, and the format of its own. Must not know who logs what.
"""

import logging
import sys
from typing import Any, TextIO

from recis import environment

__all__ = ["ConsoleHandler", "Logger"]

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
        if not any(isinstance(handler, ConsoleHandler) for handler in self._logger.handlers):
            self._logger.addHandler(ConsoleHandler(_FORMAT))

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


class ConsoleHandler(logging.StreamHandler[TextIO]):
    """Writes INFO to standard output and all else to standard error.

    The streams are those of the moment: notebooks and tests put others in their place.

    Args:
        text_format: as of `logging.Formatter`.
    """

    def __init__(self, text_format: str = "%(message)s") -> None:
        super().__init__()
        self.setFormatter(logging.Formatter(text_format))

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.StreamHandler`."""
        self.stream = sys.stdout if record.levelno == logging.INFO else sys.stderr
        super().emit(record)
