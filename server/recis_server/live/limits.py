"""Limits on concurrently connected browsers: in total, and per token or address.

Must not know sockets. The requests of one browser are bounded in `hub` and `requests`.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from recis_server.errors import Busy

__all__ = ["ViewerLimits"]

MOST_VIEWERS = 4096
MOST_OF_ONE = 2048
"""Behind a proxy, or with the token of a team, many people share one limit."""


class ViewerLimits:
    """Counts the connected browsers and refuses those beyond a limit.

    Args:
        most: limit in total.
        most_of_one: limit per token or, where none is needed, per address.
    """

    def __init__(self, most: int = MOST_VIEWERS, most_of_one: int = MOST_OF_ONE) -> None:
        self._most = most
        self._most_of_one = most_of_one
        self._connected: Counter[str] = Counter()

    @property
    def num_viewers(self) -> int:
        """Return the number of connected browsers."""
        return self._connected.total()

    @contextmanager
    def admit(self, who: str) -> Iterator[None]:
        """Count a browser for as long as it is connected.

        Raises:
            Busy: there are too many.
        """
        if self._connected.total() >= self._most or self._connected[who] >= self._most_of_one:
            raise Busy(
                f"expected at most {self._most} connected browsers, and {self._most_of_one} with the same token or from"
                " the same address"
            )
        self._connected[who] += 1
        try:
            yield
        finally:
            self._connected[who] -= 1
            if not self._connected[who]:
                del self._connected[who]
