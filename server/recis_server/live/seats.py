"""Limits on concurrently connected browsers: in total, and per token or address.

Must not know sockets. The requests of one browser are bounded in `hub` and `requests`.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from recis_server.errors import Busy

__all__ = ["Seats"]

MOST_BROWSERS = 1024
MOST_OF_ONE = 512


class Seats:
    """See the module.

    Args:
        most: limit in total.
        most_of_one: limit per token or, where none is needed, per address.
    """

    def __init__(self, most: int = MOST_BROWSERS, most_of_one: int = MOST_OF_ONE) -> None:
        self._most = most
        self._most_of_one = most_of_one
        self._taken: Counter[str] = Counter()

    @contextmanager
    def taken(self, who: str) -> Iterator[None]:
        """Hold a seat for as long as a browser is connected.

        Raises:
            Busy: no seat is left.
        """
        if self._taken.total() >= self._most or self._taken[who] >= self._most_of_one:
            raise Busy(
                f"expected at most {self._most} connected browsers, and {self._most_of_one} with the same token or from"
                " the same address"
            )
        self._taken[who] += 1
        try:
            yield
        finally:
            self._taken[who] -= 1
            if not self._taken[who]:
                del self._taken[who]
