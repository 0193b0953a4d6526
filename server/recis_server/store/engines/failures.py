"""What an engine fails of: all of it in the server's log, said once, and to whoever asked only what anybody may know.

Owns which words go where. Must not know threads' work or engines' errors.
"""

import logging
import time
from collections.abc import Callable

from recis_server.errors import StoreLost, StoreUnavailable

__all__ = ["FailureLog"]

_logger = logging.getLogger(__name__)
REPEAT_S = 60.0
"""The same trouble is logged again after so long."""


class FailureLog:
    """Those of one store; used by any thread: a race costs a line that is logged twice.

    Args:
        explain: an engine's failure in words for anybody, see `Engine.explain`.
    """

    def __init__(self, explain: Callable[[Exception], str]) -> None:
        self._explain = explain
        self._said: dict[str, float] = {}
        self._is_down = False

    def failed(self, what: str, error: Exception) -> StoreUnavailable:
        """The answer to somebody for whom an engine has failed."""
        self._log(what, " ".join(str(error).split()))
        found = StoreUnavailable(f"{what}: {self._explain(error)}")
        found.__cause__ = error
        return found

    def lost(self, error: StoreLost) -> None:
        """The database that was opened is not there any more."""
        self._log(error.message, error.detail)

    def commit_failed(self, error: Exception) -> StoreUnavailable:
        """As both; until something is written the store counts as down."""
        self._is_down = True
        if isinstance(error, StoreLost):
            self.lost(error)
            return error
        return self.failed("the store could not commit", error)

    def committed(self) -> None:
        """Something was written."""
        if self._is_down:
            self._is_down = False
            self._said = {}
            _logger.warning("the store works again")

    def _log(self, what: str, detail: str) -> None:
        now = time.monotonic()
        if now - self._said.get(what, -REPEAT_S) >= REPEAT_S:
            self._said[what] = now
            _logger.error("%s (%s)", what, detail)
