"""The fast way into a segment: rows of a few layouts from one thread, without a lock.

Owns the hand-over between the thread that has the lane and everybody else; must not know how a row is written (`rows`),
frames, folders or the server.
"""

import time
from _thread import get_ident
from types import TracebackType

from recis.bridge.records import Layout
from recis.bridge.rows import RowWriter
from recis.bridge.segment import Segment

__all__ = ["INTERRUPTION", "Lane"]

INTERRUPTION = "expected no report from inside another one, as by a signal handler in mid-report"
HOLD_PAUSE_S = 1e-5


class Lane:
    """Closed until `open`; then the thread that opened it may write rows of the layouts that it was opened for, until
    there is no more room or it has written `rows_left` of them: then it is to see what else there is to do.

    Everybody else has the outbox's lock and enters the lane as a context. Owner and others never wait for each other by
    a lock. The owner is busy before it looks at the limit; the others set the limit to zero before they look whether it
    is busy. So either the owner sees a closed lane, or the others see that a row is being written, and wait for it.

    Attributes:
        write: `RowWriter.write`, for the owner.
        rows_left: how many rows the owner may write before it has to go the other way once; up to date while held.
    """

    __slots__ = ("_granted", "_rows", "_segment", "rows_left", "write")

    def __init__(self) -> None:
        self._rows = RowWriter()
        self._segment: Segment | None = None
        self._granted = 0  # what the rows were allowed at the last release
        self.write = self._rows.write
        self.rows_left = 1

    # --- for the others

    def is_interrupted(self) -> bool:
        """Whether the caller has interrupted the owner on its own thread, in the middle of a row."""
        return bool(self._rows.busy and self._rows.owner == get_ident())

    def refuse_interruption(self) -> None:
        """Raises `RuntimeError` in an interruption; to be called before a lock is waited for."""
        if self.is_interrupted():
            raise RuntimeError(INTERRUPTION)

    def open(self, segment: Segment, layout: Layout) -> "Lane":
        """The calling thread's lane, for rows of `layout` too, from the end of `segment` on; this lane is held.

        A lane has one owner for good. Another thread gets another lane, and this one stays closed: its owner may have
        found itself to be the owner a moment ago, and must not be let into somebody else's.
        """
        lane = self
        if self._rows.owner not in (0, get_ident()):
            self.leave()
            lane = Lane()
            lane.rows_left = self.rows_left
        if lane._segment is not segment:
            lane._rows.aim(segment.words)
            lane._rows.position, lane._granted = (segment.end // 8, 0), 0  # not where the last segment ended
            lane._segment = segment
        lane._rows.learn(layout.keys, layout.head, layout.salt)
        return lane

    def leave(self) -> None:
        """Nobody has the lane any more: its segment is full or done. The lane is held."""
        self._segment = None
        self._rows.leave()

    def __enter__(self) -> None:
        """Holds the lane: keeps the owner out, and brings the segment up to date with the rows that it has written."""
        rows = self._rows
        rows.limit = 0
        while rows.busy:
            time.sleep(HOLD_PAUSE_S)
        # In an order that may be broken off anywhere, by an exception from outside, and begun anew.
        end, left = rows.position
        written = self._granted - left
        if self._segment is not None and 8 * end > self._segment.end:
            self.rows_left -= written
            self._segment.advance(end, written)
        self._granted = left

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def release(self) -> None:
        """Lets the owner in again, as far as there is room."""
        segment, rows = self._segment, self._rows
        if segment is not None:
            stop, self._granted = segment.rows_stop, max(self.rows_left, 0)
            rows.position = segment.end // 8, self._granted
            rows.limit = stop  # last: an interruption may write rows as soon as there is one
