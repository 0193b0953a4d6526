"""The fast way into a segment: rows of one layout from one thread, without a lock, a system call or a conversion.

Owns the hot path of `Run.log` and the hand-over between the thread that has the lane and everybody else; must not know
frames, folders or the server. Everybody else has the outbox's lock and enters the lane as a context: `with lock, lane`.

Why a lane and no lock, and values stored one by one: after a pause every line of code and of memory that a call touches
is fetched anew, and taking a lock or packing a struct costs more than all the stores here (docs/decisions/0007).
"""

import time
from _thread import get_ident
from time import time_ns
from types import TracebackType
from typing import Any

from recis.bridge.segment import Segment

__all__ = ["Lane"]

HOLD_PAUSE_S = 1e-5


class Lane:
    """Closed until `open`; then the thread that opened it may `put` rows of that layout until there is no more room.

    The two sides never wait for each other by a lock. The owner says `_busy` before it looks at `_limit`; the others
    set `_limit` to zero before they look at `_busy`. So either the owner sees a closed lane, or the others see that
    a row is being written and wait for it. `_busy` also turns away whoever interrupts the owner on its own thread: a
    signal handler, or a finalizer that the garbage collector runs.
    """

    __slots__ = ("_busy", "_end", "_head", "_keys", "_limit", "_owner", "_reals", "_segment", "_width", "_words")

    def __init__(self) -> None:
        self._owner = 0
        self._busy = False
        self._limit = 0  # no row may begin at this word or behind it; 0 keeps the owner out
        self._end = 0  # the word where the next row begins
        self._width = 0
        self._keys: tuple[str, ...] = ()
        self._head = 0
        self._segment: Segment | None = None
        self._words: Any = None
        self._reals: Any = None

    def put(self, metrics: Any, step: Any) -> bool:
        """Writes one row and returns True; or False with nothing written: the caller goes by the slow way.

        Args:
            metrics: taken if it is a dict with the layout's keys, in any order, and with floats or ints as values. What
                else could be a number is not asked for it: for a value on a device that would wait for the device.
            step: taken if it is an int of 64 bits.
        """
        if self._busy or self._owner != get_ident():
            return False
        self._busy = True
        at = end = self._end
        try:
            # A dict of as many names that has all of ours has no other. Nothing but a dict: asking a defaultdict for
            # a name that is not there would put it there.
            if end < self._limit and type(step) is int and type(metrics) is dict and len(metrics) == self._width:
                words = self._words
                reals = self._reals
                at += 1
                words[at] = step
                at += 1
                for key in self._keys:
                    value = metrics[key]
                    if type(value) is not float and type(value) is not int:
                        return False
                    reals[at] = value
                    at += 1
                words[at] = time_ns()
                words[end] = self._head  # last: from here on it is there, also if the process is killed
                self._end = at + 1
                return True
        except Exception:  # noqa: BLE001, S110 - other names, a number that is too large: the slow way says what is wrong
            pass
        finally:
            if at != end and self._end == end:
                self._scrub(end, at)
            self._busy = False
        return False

    # --- for the others, under the outbox's lock

    def open(self, segment: Segment, keys: tuple[str, ...], number: int) -> None:
        """Gives the lane to the calling thread, for rows of `keys` from the end of `segment` on; the lane is held."""
        self._owner = get_ident()
        self._segment = segment
        self._words, self._reals = segment.words, segment.reals
        self._keys, self._width = keys, len(keys)
        self._head = segment.row_head(number, len(keys))

    def leave(self) -> None:
        """Nobody has the lane any more: its segment is full or done. The lane is held."""
        self._segment = self._words = self._reals = None

    def __enter__(self) -> None:
        """Holds the lane: brings the segment up to date with the rows that were put, and keeps the owner out."""
        self._limit = 0
        while self._busy:
            if self._owner == get_ident():
                raise RuntimeError("expected no report from inside another one, as by a signal handler in mid-report")
            time.sleep(HOLD_PAUSE_S)
        if self._segment is not None:
            self._segment.advance(self._end, self._width)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._segment is not None:
            self._end = self._segment.end // 8
            self._limit = self._segment.last_row_start(self._width) + 1

    def _scrub(self, start: int, last: int) -> None:
        """Behind the last record there are only zeros: the remains of a row could be read as a head."""
        for place in range(start, last + 1):
            self._words[place] = 0
