"""Lines of hooks on the console: they are seen also in a program that has not set up logging.

Owns the handler of the logger `recis.hooks`. It is there only while nobody else handles what hooks log: handlers of the
root logger, or of `recis`, decide alone what is seen. Must not know what is logged.
"""

import logging

from recis.utils.logger import ConsoleHandler

__all__ = ["hook_logger", "refresh_console"]

_ROOM = logging.getLogger("recis.hooks")
_handler = ConsoleHandler()
_has_set_level = False


def hook_logger(name: str) -> logging.Logger:
    """Return the logger of a hook's module, whose lines at level INFO are seen."""
    refresh_console()
    return logging.getLogger(name)


def refresh_console() -> None:
    """Add or remove the handler, as logging is set up now; called before each line, as that may come at any time."""
    global _has_set_level  # noqa: PLW0603 - the logger of this name is the process's, as its handler is
    above = logging.getLogger("recis")
    is_alone = not above.hasHandlers()
    if is_alone and _handler not in _ROOM.handlers:
        _ROOM.addHandler(_handler)
    elif not is_alone:
        _ROOM.removeHandler(_handler)
    # The root logger's own level is WARNING; one that somebody has set below it stays.
    wants_level = is_alone and above.level == logging.NOTSET
    if wants_level and _ROOM.level == logging.NOTSET:
        _ROOM.setLevel(logging.INFO)
        _has_set_level = True
    elif _has_set_level and not wants_level:
        if _ROOM.level == logging.INFO:
            _ROOM.setLevel(logging.NOTSET)
        _has_set_level = False
