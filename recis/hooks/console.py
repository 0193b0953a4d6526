"""Console output of hooks, visible even in a program that has not configured logging.

Owns the handler of the logger `recis.hooks`, which exists only while no other handler receives its records: if the root
logger or `recis` has handlers, they alone decide what is shown. Must not know what is logged.
"""

import logging

from recis.utils.logger import ConsoleHandler

__all__ = ["hook_logger", "refresh_console"]

_ROOM = logging.getLogger("recis.hooks")
_handler = ConsoleHandler()
_has_set_level = False


def hook_logger(name: str) -> logging.Logger:
    """Return the logger of a hook's module, whose records at level INFO are shown."""
    refresh_console()
    return logging.getLogger(name)


def refresh_console() -> None:
    """Add or remove the handler to match the logging setup; called before each line, as the setup may change."""
    global _has_set_level  # noqa: PLW0603 - the logger of this name is the process's, as its handler is
    above = logging.getLogger("recis")
    is_alone = not above.hasHandlers()
    if is_alone and _handler not in _ROOM.handlers:
        _ROOM.addHandler(_handler)
    elif not is_alone:
        _ROOM.removeHandler(_handler)
    # The root logger's default level is WARNING; a lower level set by the user is kept.
    wants_level = is_alone and above.level == logging.NOTSET
    if wants_level and _ROOM.level == logging.NOTSET:
        _ROOM.setLevel(logging.INFO)
        _has_set_level = True
    elif _has_set_level and not wants_level:
        if _ROOM.level == logging.INFO:
            _ROOM.setLevel(logging.NOTSET)
        _has_set_level = False
