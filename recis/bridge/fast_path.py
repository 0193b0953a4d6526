"""The single-writer fast path into a segment: reports of known names from one thread, without a lock.

Owns the hand-over between the thread that has the fast path and all others; must not know how a row is written
(`row_writer`), frames, folders or the server.
"""

import time
from _thread import get_ident
from collections.abc import Sequence
from types import TracebackType

from recis.bridge.records import RowLayout
from recis.bridge.row_writer import RowWriter
from recis.bridge.segment import Segment

__all__ = ["INTERRUPTION", "FastPath"]

INTERRUPTION = "expected no report from inside another report, such as from a signal handler that interrupts one"
SUSPEND_PAUSE_S = 1e-5


class FastPath:
    """Closed until `open`. Then the thread that opened it, its owner, may write reports of the names it was opened for,
    until the segment is full or `reports_left` reports are written. The owner then has to take the slow path once.

    All other threads hold the outbox's lock and suspend the fast path by entering it as a context manager. The owner
    takes no lock: it sets `busy` before it reads the limit, and the others set the limit to zero before they read
    `busy`. Therefore either the owner finds the fast path suspended, or the others find it busy and wait for the
    report.

    Attributes:
        write: `RowWriter.write`, for the owner.
        reports_left: how many reports the owner may write before it has to take the slow path once; up to date while
            suspended.
    """

    __slots__ = ("_granted", "_segment", "_writer", "reports_left", "write")

    def __init__(self) -> None:
        self._writer = RowWriter()
        self._segment: Segment | None = None
        self._granted = 0  # `reports_left` at the last release
        self.write = self._writer.write
        self.reports_left = 1

    def is_interrupted(self) -> bool:
        """Return whether the caller has interrupted a report of the owner, on the owner's thread."""
        return bool(self._writer.busy and self._writer.owner == get_ident())

    def refuse_interruption(self) -> None:
        """Raise `RuntimeError` in such an interruption. Call it before waiting for a lock."""
        if self.is_interrupted():
            raise RuntimeError(INTERRUPTION)

    def open(self, segment: Segment, keys: tuple[str, ...], rows: Sequence[RowLayout]) -> "FastPath":
        """Return the calling thread's fast path, extended to reports of `keys`, from the end of `segment` on.

        Call it while the fast path is suspended. The owner of a fast path never changes. Another thread gets a new one,
        and this one stays closed: its owner may have just passed the ownership check, and must not write through
        another thread's fast path.
        """
        path = self
        if self._writer.owner not in (0, get_ident()):
            self.leave()
            path = FastPath()
            path.reports_left = self.reports_left
        if path._segment is not segment:
            path._writer.aim(segment.words)
            path._writer.position, path._granted = (segment.end // 8, 0, 0), 0  # not where the last segment ended
            path._segment = segment
        path._writer.learn(keys, tuple((row.head, row.salt) for row in rows))
        return path

    def leave(self) -> None:
        """Close the fast path because its segment is full or closed. Call it while the fast path is suspended."""
        self._segment = None
        self._writer.leave()

    def __enter__(self) -> None:
        """Suspend the fast path, and bring the segment up to date with the reports that the owner has written."""
        writer = self._writer
        writer.limit = 0
        while writer.busy:
            time.sleep(SUSPEND_PAUSE_S)
        # The order matters: an exception from a signal handler can interrupt this anywhere, and the call is then
        # repeated.
        end, left, num_values = writer.position
        if self._segment is not None and 8 * end > self._segment.end:
            self.reports_left -= self._granted - left
            self._segment.advance(end, num_values)
        self._granted = left

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def release(self) -> None:
        """Resume the fast path, limited to the room left."""
        segment, writer = self._segment, self._writer
        if segment is not None:
            stop, self._granted = segment.rows_stop, max(self.reports_left, 0)
            writer.position = segment.end // 8, self._granted, 0
            writer.limit = stop  # last: as soon as there is a limit, an interrupting handler may write reports
