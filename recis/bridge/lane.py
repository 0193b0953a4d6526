"""The fast way into a segment: rows of one layout from one thread, without a lock.

Owns the hand-over between the thread that has the lane and everybody else; must not know how a row is written (`rows`),
frames, folders or the server.
"""

import time
from _thread import get_ident
from types import TracebackType

from recis.bridge.rows import RowWriter
from recis.bridge.segment import Segment

__all__ = ["INTERRUPTION", "Lane"]

INTERRUPTION = "expected no report from inside another one, as by a signal handler in mid-report"
HOLD_PAUSE_S = 1e-5


class Lane:
    """Closed until `open`; then the thread that opened it may write rows of that layout until there is no more room, or
    until it has written `rows_left` of them: then it is to see what else there is to do.

    Everybody else has the outbox's lock and enters the lane as a context. Owner and others never wait for each other by
    a lock. The owner is busy before it looks at the limit; the others set the limit to zero before they look whether it
    is busy. So either the owner sees a closed lane, or the others see that a row is being written, and wait for it.

    Attributes:
        write: `RowWriter.write`, for the owner.
        rows_left: how many rows the owner may write before it has to go the other way once; up to date while held.
    """

    __slots__ = ("_rows", "_segment", "rows_left", "write")

    def __init__(self) -> None:
        self._rows = RowWriter()
        self._segment: Segment | None = None
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

    def open(self, segment: Segment, keys: tuple[str, ...], number: int) -> "Lane":
        """The calling thread's lane, for rows of `keys` from the end of `segment` on; this lane is held.

        A lane has one owner for good. Another thread gets another lane, and this one stays closed: its owner may have
        found itself to be the owner a moment ago, and must not be let into somebody else's.
        """
        lane = self
        if self._rows.owner not in (0, get_ident()):
            self.leave()
            lane = Lane()
            lane.rows_left = self.rows_left
        lane._rows.aim(keys, segment.row_head(number, len(keys)), segment.words, segment.reals)
        lane._segment = segment
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
        if self._segment is not None:
            self.rows_left -= self._segment.advance(rows.end, rows.width)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def release(self) -> None:
        """Lets the owner in again, as far as there is room."""
        segment, rows = self._segment, self._rows
        if segment is not None:
            end = segment.end // 8
            limit = min(segment.last_row_start(rows.width) + 1, end + (rows.width + 3) * max(self.rows_left, 0))
            rows.end = end  # nothing is called in between: an interruption may write rows as soon as there is a limit
            rows.limit = limit
