"""The training thread's end of the outbox: append reports and records, begin segments, and keep to the bound.

Owns how a report becomes rows, and the loss policy (oldest segment first, counted in `dropped`); must not know frames
that are sent (`outbox_reader`), sockets or time.
"""

import logging
import struct
from array import array
from collections.abc import Callable, Collection
from itertools import count
from pathlib import Path
from typing import NamedTuple, Self

import msgspec

from recis.bridge.fast_path import FastPath
from recis.bridge.records import MOST_LAYOUTS, ROW_VALUES, RowLayout
from recis.bridge.segment import Segment
from recis.bridge.segment_queue import SegmentQueue, exclusive
from recis.wire.codec import encode
from recis.wire.messages import FrameRecord

__all__ = ["MEMORY_SEGMENTS", "SEGMENT_BYTES", "OutboxWriter"]

SEGMENT_BYTES = 2 << 20
"""Size of a segment, and thereby of the largest frame: a frame never spans two segments."""
MEMORY_SEGMENTS = 16
"""Most segments in memory while none can be created in the folder."""

_records = msgspec.msgpack.Decoder(FrameRecord)
_logger = logging.getLogger(__name__)


class _Form(NamedTuple):
    """How reports of the same names are written to the current segment.

    Attributes:
        width: number of names.
        size: size of the rows in bytes.
        packs: for each row, a function of step, values and time.
        layouts: for each row, its layout.
    """

    width: int
    size: int
    packs: tuple[Callable[..., bytes], ...]
    layouts: tuple[RowLayout, ...] = ()

    @classmethod
    def of(cls, keys: tuple[str, ...]) -> Self:
        """Return the form of reports of `keys`, without layouts."""
        structs = [struct.Struct(f"=q{len(part)}dq") for part in _parts_of(keys)]
        return cls(len(keys), sum(8 + row.size for row in structs), tuple(row.pack for row in structs))

    def rows(self, values: Collection[float], step: int, time_ns: int) -> list[bytes]:
        """Return the rows of a report, without their heads."""
        if len(self.packs) == 1:
            return [self.packs[0](step, *values, time_ns)]
        if len(values) != self.width:
            raise struct.error(f"expected {self.width} values, got {len(values)}")
        numbers = tuple(values)
        parts = (numbers[first : first + ROW_VALUES] for first in range(0, self.width, ROW_VALUES))
        return [pack(step, *part, time_ns) for pack, part in zip(self.packs, parts, strict=True)]


def _parts_of(keys: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Split the names of a report into those of its rows."""
    if len(keys) <= ROW_VALUES:
        return [keys]
    return [keys[first : first + ROW_VALUES] for first in range(0, len(keys), ROW_VALUES)]


class OutboxWriter:
    """All methods may be called from any thread, but not from inside a report that they interrupt: `RuntimeError`.

    Args:
        queue: the segments.
        folder: where new segments are created; None keeps them in memory. While a folder has no room, they are in
            memory too.
        max_bytes: bound on all segments together.
        writer: identifier of the writer.
    """

    def __init__(self, queue: SegmentQueue, folder: Path | None, max_bytes: int, writer: str) -> None:
        self._queue = queue
        self._folder = folder
        self._writer = writer
        self._max_segments = max(2, max_bytes // SEGMENT_BYTES)
        self._forms: dict[tuple[str, ...], _Form] = {}  # of the current segment
        self._spare: Segment | None = None
        # One number per attempt to create a segment: the sender may be creating a spare while the training thread, out
        # of room, creates its own.
        self._numbers = count(queue.closed[-1].number + 1 if queue.closed else 1)
        self._is_full = False

    @property
    def fast_path(self) -> FastPath:
        """The fast path of the thread that reported last."""
        return self._queue.fast_path

    @exclusive
    def append_report(
        self,
        keys: tuple[str, ...],
        values: Collection[float],
        step: int,
        time_ns: int,
        *,
        open_fast_path: bool = False,
    ) -> None:
        """Append the values of one report, `ROW_VALUES` to a row.

        Args:
            keys: the names, at least one.
            values: as many numbers.
            step: the training step.
            time_ns: Unix nanoseconds.
            open_fast_path: let the calling thread write further reports of these names by its fast path.

        Raises:
            struct.error, TypeError, OverflowError: a value or the step is no number that fits; nothing is added.
        """
        form, segment = self._forms.get(keys), self._queue.current
        if form is None or segment is None or segment.room() < form.size:
            form, segment = self._new_form(keys), self._queue.current
        if form is None:
            self._append_in_parts(keys, values, step, time_ns)
            return
        assert segment is not None
        for layout, row in zip(form.layouts, form.rows(values, step, time_ns), strict=True):
            segment.append_row(row, layout)
        if open_fast_path:
            before = self._queue.fast_path
            self._queue.fast_path = before.open(segment, keys, form.layouts)
            if self._queue.fast_path is not before:
                self._queue.fast_path.release()

    @exclusive
    def append(self, record: FrameRecord) -> None:
        """Append any other record.

        Raises:
            ValueError, TypeError, OverflowError: the record is too large for a segment, or violates the protocol.
        """
        payload = encode(record)
        if len(payload) > SEGMENT_BYTES // 2:
            raise ValueError(f"expected a record of at most {SEGMENT_BYTES // 2} bytes, got {len(payload)}")
        _records.decode(payload)  # fail here, where the caller can be told
        segment = self._queue.current
        if segment is None or segment.room() < len(payload):
            segment = self._roll()
        segment.append(payload)

    @exclusive
    def quota_is_spent(self, reports: int) -> bool:
        """Count a report on the slow path; if the fast path's quota is spent, grant `reports` more and return True."""
        fast_path = self._queue.fast_path
        fast_path.reports_left -= 1
        if fast_path.reports_left >= 0:
            return False
        fast_path.reports_left = reports
        return True

    @exclusive
    def force_slow_path(self) -> None:
        """Force the next report onto the slow path, where `quota_is_spent` is True for it."""
        self._queue.fast_path.reports_left = 0

    def is_interrupted(self) -> bool:
        """Return whether the caller has interrupted a report on its own thread, so that nothing else can be called."""
        queue = self._queue
        if queue.fast_path.is_interrupted():
            return True
        if not queue.lock.acquire(blocking=False):
            return False
        try:
            return queue.writing.locked()
        finally:
            queue.lock.release()

    def share_used(self) -> float:
        """Return the share of the bound that the segments take; acknowledged parts of a segment count as well."""
        with self._queue.lock:
            return len(self._queue.segments()) / self._max_segments

    def count_lost(self, points: int) -> None:
        """Count points that were lost before they could be appended; the next frame reports them."""
        self._queue.fast_path.refuse_interruption()
        with self._queue.lock:
            self._queue.dropped += points

    def prepare(self) -> None:
        """Allocate the next segment and pages on the sender's thread, so that the training thread need not."""
        with self._queue.lock:
            current = self._queue.current
            if current is not None:
                current.prefault()
            if self._spare is not None or current is None:
                return
            number = next(self._numbers)
        try:
            spare = Segment.create(number, SEGMENT_BYTES, self._folder, self._writer)
        except OSError:
            return  # _roll gets the same error when the segment is needed, and reports it
        with self._queue.lock:
            # A segment created meanwhile has a higher number: the spare would precede it, with later frames.
            if self._queue.current is not None and self._queue.current.number < number:
                self._spare = spare
                return
        spare.remove()

    @exclusive
    def close(self) -> None:
        """Seal what is left and unmap the current segment; nothing is appended after this."""
        self._queue.seal()
        if self._spare is not None and self._spare is not self._queue.current:
            self._spare.remove()
        self._spare = None
        self._forms.clear()
        self._queue.close_current(is_final=True)

    # --- inside the lock

    def _new_form(self, keys: tuple[str, ...]) -> _Form | None:
        """Write the names of a report to a segment that has room for at least one such report.

        Returns:
            None if no segment has that much room.
        """
        form, parts = _Form.of(keys), _parts_of(keys)
        needed = form.size + sum(map(Segment.room_for_names, parts))
        segment = self._queue.current
        if segment is None or segment.room() < needed or len(segment.layouts) + len(parts) > MOST_LAYOUTS:
            if needed > Segment.room_of(SEGMENT_BYTES):
                return None
            segment = self._roll()
        form = self._forms[keys] = form._replace(layouts=tuple(map(segment.add_layout, parts)))
        return form

    def _append_in_parts(self, keys: tuple[str, ...], values: Collection[float], step: int, time_ns: int) -> None:
        """Append a report that fits no segment, row by row to several."""
        numbers = array("d", values)  # all of them, before the first row is written
        if len(numbers) != len(keys):
            raise struct.error(f"expected {len(keys)} values, got {len(numbers)}")
        for part in _parts_of(keys):
            form = self._new_form(part)
            assert form is not None
            assert self._queue.current is not None
            [row] = form.rows(numbers[: len(part)], step, time_ns)
            del numbers[: len(part)]
            self._queue.current.append_row(row, form.layouts[0])

    def _roll(self) -> Segment:
        """Begin the next segment; at the bound the oldest is dropped first."""
        queue = self._queue
        # First, so that the next segment's header has the count even if the process is killed now.
        while len(queue.segments()) >= self._max_segments:
            queue.drop_oldest()
        # The order matters: an exception from a signal handler can interrupt this anywhere, and the call is then
        # repeated.
        if self._spare is None or self._spare is queue.current:
            self._spare = self._new_segment()
        segment = self._spare
        if queue.current is not None and queue.current.has_tail:
            queue.last_frame = queue.next_number()
        # Before the current segment is closed, which states that another one follows.
        segment.begin(max(queue.last_frame, queue.acked), queue.dropped)
        self._forms.clear()
        queue.close_current(is_final=False)
        queue.current = segment
        self._spare = None
        return segment

    def _new_segment(self) -> Segment:
        """Create a segment in the folder, or in memory if that fails: a connected server still receives everything.

        With `MEMORY_SEGMENTS` in memory, the oldest segment is dropped, in memory or on disk: on a full disk that makes
        room.
        """
        while True:
            number = next(self._numbers)
            try:
                segment = Segment.create(number, SEGMENT_BYTES, self._folder, self._writer)
                self._is_full = False
                return segment
            except FileExistsError:
                continue  # a file that was renamed
            except OSError as error:
                if not self._is_full:
                    _logger.warning("no room in the spool, continuing in memory: %s", error)
                self._is_full = True
            if sum(segment.path is None for segment in self._queue.closed) < MEMORY_SEGMENTS:
                return Segment.create(number, SEGMENT_BYTES, None, self._writer)
            self._queue.drop_oldest()
