"""The sender's end of the outbox: seal frames, read them, and discard what the server has acknowledged.

Owns which frame is next; must not know how reports are written (`outbox_writer`), sockets or time. Reading never fails
permanently, whatever a spool contains: data that cannot be sent is accounted for in the queue's `set_aside`.
"""

import errno
import logging
from collections.abc import Callable, Mapping

from recis.bridge.frame_reader import FrameReader
from recis.bridge.records import FrameSpan, RowLayout
from recis.bridge.segment import Segment
from recis.bridge.segment_queue import SegmentQueue, exclusive
from recis.wire.messages import Event, Frame

__all__ = ["OutboxReader"]

_TEMPORARY = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR, errno.EAGAIN})
"""Temporary errors that are not caused by the file."""
_logger = logging.getLogger(__name__)


class OutboxReader:
    """All methods may be called from any thread.

    Args:
        queue: the segments.
        report: called with an event for the run's page when something cannot be sent.
    """

    def __init__(self, queue: SegmentQueue, report: Callable[[Event], None]) -> None:
        self._queue = queue
        self._frames = FrameReader(queue.set_aside, report)

    @exclusive
    def seal(self) -> int:
        """Seal a frame of everything appended since the last one, if there is anything; return the newest frame's
        number.
        """
        self._queue.seal()
        return self._queue.last_frame

    @property
    def newest_frame(self) -> int:
        """Number of the last sealed frame."""
        return self._queue.last_frame

    def first_frame(self) -> int:
        """Return the lowest number of a frame that is not acknowledged, or of the next one to be sealed."""
        with self._queue.lock:
            left = self._queue.unacknowledged()
            return left[0].n if left else self._queue.next_number()

    def frame(self, after: int) -> Frame | None:
        """Return the sendable content of the first frame above `after` that has any, or None.

        Raises:
            OSError: the frame cannot be read now, for a temporary reason.
        """
        queue = self._queue
        while after < queue.last_frame:
            with queue.lock:
                found = self._find(after)
                if found is None:
                    return None
                segment, span = found
                # Copy only the frame's bytes of a mapped segment, whatever is before it; read a file, which no longer
                # changes, without the lock that the training thread needs.
                data = segment.read(span.start, span.stop) if segment.is_mapped else None
                layouts = segment.layouts
            frame = self._read(segment, span, data, layouts)
            if frame is not None:
                return frame
            with queue.lock:
                if span in segment.frames:
                    segment.frames.remove(span)
        return None

    def ack(self, n: int) -> None:
        """Note that the server has stored all frames up to `n`, and delete segments that hold nothing newer.

        The newest segment stays until the outbox is closed: it carries the numbering across a crash.
        """
        queue = self._queue
        with queue.lock:
            queue.acked = max(queue.acked, n)
            self._frames.forget(queue.acked)
            while len(queue.closed) > (queue.current is None) and not queue.closed[0].holds_after(queue.acked):
                queue.discard(queue.closed.popleft())

    def refused(self, n: int, why: str) -> None:
        """Leave the likely cause out of frame `n`, which the server has refused permanently."""
        with self._queue.lock:
            self._frames.refused(n, why)

    @exclusive
    def pending(self) -> tuple[int, int]:
        """Return the number of unacknowledged frames, counting unsealed records as one frame, and of the points in
        them.
        """
        spans, current = self._queue.unacknowledged(), self._queue.current
        frames, points = len(spans), sum(span.points for span in spans)
        return (frames + current.has_tail, points + current.points) if current is not None else (frames, points)

    # --- inside

    def _find(self, after: int) -> tuple[Segment, FrameSpan] | None:
        for segment in self._queue.segments():
            if segment.frames and segment.frames[-1].n > after:
                return segment, next(span for span in segment.frames if span.n > after)
        return None

    def _read(
        self, segment: Segment, span: FrameSpan, data: bytes | None, layouts: Mapping[int, RowLayout]
    ) -> Frame | None:
        """Read the sendable content of a frame, whatever is wrong with it; with `data` None, read the file."""
        why = ""
        try:
            if data is None:
                data, layouts = segment.read(span.start, span.stop), self._frames.layouts_of(segment)
            return self._frames.read(segment, span, data, layouts)
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno in _TEMPORARY:
                raise
            why = str(error)
        except Exception as error:  # boundary: one frame must not keep the others from being sent
            _logger.exception("cannot read frame %d", span.n)
            why = repr(error)
        with self._queue.lock:
            if segment not in self._queue.segments():
                return None  # dropped at the bound meanwhile
        return self._frames.read(segment, span, b"", {}, why)
