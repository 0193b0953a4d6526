"""Hold the segments of one writer, oldest first, and the state that both ends of an outbox share: frame numbers, losses
and the lock.

Owns which segments exist and who may use them; must not know how a report is packed (`outbox_writer`) or what a frame
contains (`outbox_reader`).
"""

import functools
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from recis.bridge.fast_path import INTERRUPTION, FastPath
from recis.bridge.records import FrameSpan
from recis.bridge.segment import Segment
from recis.bridge.set_aside import SetAside

__all__ = ["SegmentQueue", "exclusive"]


class SegmentQueue:
    """All attributes are protected by `lock`, except that `last_frame` and `dropped` may be read without it.

    Args:
        segments: what a stopped process left, oldest first; numbering continues after it.
        set_aside: account of what cannot be sent.

    Attributes:
        closed: segments that are no longer written, oldest first.
        current: the segment that is written, if there is one.
        last_frame: number of the newest frame.
        acked: all frames up to this number are stored by the server.
        dropped: number of points lost before they could be put into a frame, or with a segment dropped at the bound.
        fast_path: lets one thread write to the current segment without the lock.
        lock: held by whoever uses the segments; reentrant, for a signal handler that reports in the middle of a report.
        writing: held by the writing thread, so that such a report is refused instead of causing a deadlock.
    """

    def __init__(self, segments: Sequence[Segment], set_aside: SetAside) -> None:
        self.closed: deque[Segment] = deque(segments)  # bounded by OutboxWriter._roll
        self.current: Segment | None = None
        self.last_frame = max((segment.last_frame for segment in segments), default=0)
        self.acked = 0
        self.dropped = max((segment.dropped for segment in segments), default=0)
        self.set_aside = set_aside
        self.fast_path = FastPath()
        self.lock = threading.RLock()
        self.writing = threading.Lock()

    def segments(self) -> list[Segment]:
        """Return all segments, oldest first."""
        return [*self.closed, self.current] if self.current is not None else [*self.closed]

    def next_number(self) -> int:
        """Return the number of the next frame."""
        return max(self.last_frame, self.acked) + 1

    def unacknowledged(self) -> list[FrameSpan]:
        """Return the frames that the server has not acknowledged."""
        return [span for segment in self.segments() for span in segment.frames if span.n > self.acked]

    def seal(self) -> None:
        """Seal a frame of everything written since the last one, if there is anything."""
        segment = self.current
        if segment is not None and segment.has_tail:
            self.last_frame = self.next_number()
            segment.seal(self.last_frame, self.dropped)

    def close_current(self, *, is_final: bool) -> None:
        """Stop writing to the current segment; `is_final` states that no other one follows."""
        segment = self.current
        if segment is None:
            return
        self.fast_path.leave()  # before the segment is unmapped: the fast path writes to its memory
        segment.close(self.last_frame, self.dropped, is_final=is_final)
        # The order matters: an exception from a signal handler can interrupt this anywhere, and the call is then
        # repeated.
        if not self.closed or self.closed[-1] is not segment:
            self.closed.append(segment)
        self.current = None

    def drop_oldest(self) -> None:
        """Delete the oldest closed segment and count the points in it as lost."""
        segment = self.closed.popleft()
        self.dropped += sum(span.points for span in segment.frames if span.n > self.acked)
        self.discard(segment)

    def discard(self, segment: Segment) -> None:
        """Delete a segment that is no longer needed, or keep its file for inspection."""
        if (segment.damage or segment.is_kept) and segment.path is not None:
            self.set_aside.keep(segment.path)
        else:
            segment.remove()


class _HasQueue(Protocol):
    _queue: SegmentQueue


P = ParamSpec("P")
S = TypeVar("S", bound=_HasQueue)
T = TypeVar("T")


def exclusive(method: Callable[Concatenate[S, P], T]) -> Callable[Concatenate[S, P], T]:
    """Run a method exclusively, because it writes or counts what was written: hold the lock and suspend the fast path.

    Raises `RuntimeError` if the caller has interrupted a report on its own thread, as a signal handler can.
    """

    @functools.wraps(method)
    def call(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        queue = self._queue
        # Before taking the lock: its holder may be waiting for the row that the caller has interrupted.
        queue.fast_path.refuse_interruption()
        with queue.lock:
            if queue.writing.locked():  # by this thread, which the caller has interrupted
                raise RuntimeError(INTERRUPTION)
            with queue.writing, queue.fast_path:
                return method(self, *args, **kwargs)

    return call
