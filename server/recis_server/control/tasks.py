"""Background work that is repeated and survives failures."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from recis_server.errors import ServerError

__all__ = ["guarded", "regularly"]

_logger = logging.getLogger(__name__)


async def regularly(pause_s: float, action: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run an action forever, with a pause before each run."""
    while True:
        await asyncio.sleep(pause_s)
        await guarded(action(), "look after commands")


async def guarded(action: Coroutine[Any, Any, None], what: str) -> None:
    """Run an action; log its failure."""
    try:
        await action
    except ServerError as error:
        _logger.warning("could not %s: %s", what, error)
    except Exception:  # boundary: a failing command must not stop the tracking of the others
        _logger.exception("could not %s", what)
