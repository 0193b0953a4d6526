"""The fast way into a segment: rows of one layout from one thread, without a lock, a system call or a conversion.

Owns the hand-over between the thread that has the lane and everybody else; must not know frames, folders or the server.
The owner's side is `Run.log`, written out there: after a pause every object and every line of code that a call touches
is fetched anew, and a lock, a packed struct or a function of its own here is felt (docs/decisions/0009).
"""

import time
from _thread import get_ident
from types import TracebackType
from typing import Any

from recis.bridge.segment import Segment

__all__ = ["INTERRUPTION", "Lane"]

INTERRUPTION = "expected no report from inside another one, as by a signal handler in mid-report"
HOLD_PAUSE_S = 1e-5


class Lane:
    """Closed until `open`; then the thread that opened it may write rows of that layout until there is no more room, or
    until it has written `rows_left` of them: then it is to see what else there is to do.

    Everybody else has the outbox's lock and enters the lane as a context. Owner and others never wait for each other by
    a lock. The owner sets `busy` before it looks at `limit`; the others set `limit` to zero before they look at `busy`.
    So either the owner sees a closed lane, or the others see that a row is being written, and wait for it. `end` is the
    owner's to read only after it has seen a limit. `busy` also turns away whoever interrupts the owner on its own
    thread: a signal handler, or a finalizer that the garbage collector runs.

    Attributes:
        owner: identity of the thread that has the lane.
        busy: the owner is writing a row.
        end: the word of the segment where the next row begins.
        limit: no row may begin at this word or behind it; 0 keeps the owner out.
        keys: the names, in the order of the values in a row.
        width: how many they are.
        head: first word of a row.
        words, reals: the segment as words and as float64.
        rows_left: how many rows the owner may write before it has to go the other way once; up to date while held.
    """

    __slots__ = (
        "_segment",
        "busy",
        "end",
        "head",
        "keys",
        "limit",
        "owner",
        "reals",
        "rows_left",
        "width",
        "words",
    )

    def __init__(self) -> None:
        self.owner = 0
        self.busy = False
        self.end = 0
        self.limit = 0
        self.keys: tuple[str, ...] = ()
        self.width = 0
        self.head = 0
        self.words: Any = None
        self.reals: Any = None
        self.rows_left = 1
        self._segment: Segment | None = None

    def scrub(self, start: int, last: int) -> None:
        """Behind the last record there are only zeros: what is left of a given up row could be read as a head."""
        for place in range(start, last + 1):
            self.words[place] = 0

    # --- for the others

    def is_interrupted(self) -> bool:
        """Whether the caller has interrupted the owner on its own thread, in the middle of a row."""
        return self.busy and self.owner == get_ident()

    def refuse_interruption(self) -> None:
        """Raises `RuntimeError` in an interruption; to be called before a lock is waited for."""
        if self.is_interrupted():
            raise RuntimeError(INTERRUPTION)

    def open(self, segment: Segment, keys: tuple[str, ...], number: int) -> "Lane":
        """The calling thread's lane, for rows of `keys` from the end of `segment` on; this lane is held.

        A lane has one owner for good. Another thread gets another lane, and this one stays closed: its owner may have
        found itself to be the owner a moment ago, and must not be let into somebody else's.
        """
        owner, width, head = get_ident(), len(keys), segment.row_head(number, len(keys))
        lane = self
        if self.owner not in (0, owner):
            self.leave()
            lane = Lane()
            lane.rows_left = self.rows_left
        # Nothing is called from here on: an interruption finds all of it or nothing.
        lane.owner, lane.keys, lane.width, lane.head = owner, keys, width, head
        lane.words, lane.reals, lane._segment = segment.words, segment.reals, segment
        return lane

    def leave(self) -> None:
        """Nobody has the lane any more: its segment is full or done. The lane is held."""
        self._segment = self.words = self.reals = None

    def __enter__(self) -> None:
        """Holds the lane: keeps the owner out, and brings the segment up to date with the rows that it has written."""
        self.limit = 0
        while self.busy:
            time.sleep(HOLD_PAUSE_S)
        if self._segment is not None:
            self.rows_left -= self._segment.advance(self.end, self.width)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def release(self) -> None:
        """Lets the owner in again, as far as there is room."""
        segment = self._segment
        if segment is not None:
            end = segment.end // 8
            limit = min(segment.last_row_start(self.width) + 1, end + (self.width + 3) * max(self.rows_left, 0))
            self.end = end  # nothing is called in between: an interruption may write rows as soon as there is a limit
            self.limit = limit
