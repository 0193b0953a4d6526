"""Hold what the training process reported and the server has not acknowledged: a writer's end, a reader's end, a queue.

Owns opening and closing, and the account of missing and damaged data in the segments that a stopped process left.
`outbox_writer` owns how reports are written and bounded, `outbox_reader` how frames are sealed, read and acknowledged,
and `segment_queue` the segments between the two.
"""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from recis.bridge.outbox_reader import OutboxReader
from recis.bridge.outbox_writer import OutboxWriter
from recis.bridge.recovery import Damage
from recis.bridge.segment import Segment
from recis.bridge.segment_queue import SegmentQueue
from recis.bridge.set_aside import SetAside

__all__ = ["Outbox"]

_logger = logging.getLogger(__name__)


class Outbox:
    """The spool of one writer; without a folder everything stays in memory.

    Args:
        folder: where the segments are, an existing folder of this writer alone.
        max_bytes: bound on all segments; at the bound the oldest is dropped and its points counted in `dropped`.
        segments: what a stopped process left, oldest first; numbering continues after it.
        writer: identifier of the writer.
        set_aside: account of what cannot be sent; by default that of `folder`.

    Attributes:
        writer: the training thread's end.
        reader: the sender's end.
        set_aside: see above.
    """

    def __init__(
        self,
        folder: Path | None,
        max_bytes: int = 1 << 30,
        segments: Sequence[Segment] = (),
        *,
        writer: str = "",
        set_aside: SetAside | None = None,
    ) -> None:
        self._folder = folder
        self.set_aside = set_aside if set_aside is not None else SetAside(folder)
        self._queue = SegmentQueue(segments, self.set_aside)
        self.writer = OutboxWriter(self._queue, folder, max_bytes, writer)
        self.reader = OutboxReader(self._queue, self.writer.append)
        _note_damage(self._queue.closed, self.set_aside)
        if (event := self.set_aside.news()) is not None:
            self.writer.append(event)

    @property
    def dropped(self) -> int:
        """Number of points lost so far: dropped at the bound, or impossible to send."""
        return self._queue.dropped + self.set_aside.values

    def close(self) -> bool:
        """Seal the last frame and unmap; delete the segments and return True if everything was acknowledged."""
        self.writer.close()
        queue = self._queue
        with queue.lock:
            left = [segment for segment in queue.closed if segment.holds_after(queue.acked)]
            if left:
                if self._folder is not None and any(segment.path is None for segment in left):
                    _logger.warning("reports made while the spool had no room are lost")
                return False
            while queue.closed:
                queue.discard(queue.closed.popleft())
        return True


def _note_damage(segments: Iterable[Segment], set_aside: SetAside) -> None:
    """Account for what is missing between segments or damaged in them."""
    begun = [segment for segment in segments if segment.last_frame]
    if begun and begun[-1].is_continued:
        begun[-1].damage.append(Damage(0, 0, 0, "the next file is missing or empty; how much was lost is unknown"))
    last = 0
    has_empty = False
    for segment in segments:
        has_empty = has_empty or not segment.writer
        # Files missing before the first one were acknowledged, or dropped at the bound.
        if (last or has_empty) and segment.last_before > last:
            why = f"frames {last + 1} to {segment.last_before}, before this file, are missing"
            segment.damage.append(Damage(0, 0, 0, why))
        last = max(last, segment.last_frame)
        if segment.damage:
            set_aside.note(segment.name, 0, *segment.loss())
