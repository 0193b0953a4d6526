"""Failures of an engine: the full message goes to the server's log, once, and a public description to the caller.

Owns which message goes where. Must not know threads or engines.
"""

import logging
import time
from collections.abc import Callable

from recis_server.errors import StoreLost, StoreUnavailable

__all__ = ["FailureLog"]

_logger = logging.getLogger(__name__)
REPEAT_S = 60.0
"""Interval after which the same failure is logged again."""


class FailureLog:
    """The failures of one store; may be used by any thread: at worst, a race logs a line twice.

    Args:
        explain: describes an engine's failure for the public, see `Engine.explain`.
    """

    def __init__(self, explain: Callable[[Exception], str]) -> None:
        self._explain = explain
        self._said: dict[str, float] = {}
        self._is_down = False

    def failed(self, what: str, error: Exception) -> StoreUnavailable:
        """Log a failure and return the error for the caller."""
        self._log(what, " ".join(str(error).split()))
        found = StoreUnavailable(f"{what}: {self._explain(error)}")
        found.__cause__ = error
        return found

    def lost(self, error: StoreLost) -> None:
        """Log that the opened database was removed or replaced."""
        self._log(error.message, error.detail)

    def commit_failed(self, error: Exception) -> StoreUnavailable:
        """Log either kind of failure of a commit; until the next commit the store counts as down."""
        self._is_down = True
        if isinstance(error, StoreLost):
            self.lost(error)
            return error
        return self.failed("the store could not commit", error)

    def committed(self) -> None:
        """Record a successful commit."""
        if self._is_down:
            self._is_down = False
            self._said = {}
            _logger.warning("the store is available again")

    def _log(self, what: str, detail: str) -> None:
        now = time.monotonic()
        if now - self._said.get(what, -REPEAT_S) >= REPEAT_S:
            self._said[what] = now
            _logger.error("%s (%s)", what, detail)
