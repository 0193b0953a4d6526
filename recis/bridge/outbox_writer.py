"""The training thread's end of the outbox: append reports and records, begin segments, and keep to the bound.

Owns how a report becomes rows, and the loss policy (oldest segment first, counted in `dropped`); must not know frames
that are sent (`outbox_reader`), sockets or time.
"""

import logging
import struct
from collections.abc import Collection
from itertools import count
from pathlib import Path
from typing import NamedTuple

import msgspec

from recis.bridge.fast_path import FastPath
from recis.bridge.records import MOST_LAYOUTS, RowLayout
from recis.bridge.row_writer import MOST_VALUES
from recis.bridge.segment import Segment
from recis.bridge.segment_queue import SegmentQueue, exclusive
from recis.wire.codec import encode
from recis.wire.messages import FrameRecord

__all__ = ["MAX_ROW_KEYS", "MEMORY_SEGMENTS", "SEGMENT_BYTES", "OutboxWriter"]

SEGMENT_BYTES = 2 << 20
"""Also the largest frame: a frame never spans two segments."""
MEMORY_SEGMENTS = 16
"""Most segments in memory while the folder takes none."""
MAX_ROW_KEYS = 2048
"""Most values in one row; keys of 512 characters still fit a segment."""

_records = msgspec.msgpack.Decoder(FrameRecord)
_logger = logging.getLogger(__name__)


class _Form(NamedTuple):
    layout: RowLayout
    row: struct.Struct  # step, values, time


class OutboxWriter:
    """All methods may be called from any thread, but not from inside a report that they interrupt: `RuntimeError`.

    Args:
        queue: the segments.
        folder: where new segments are created; None keeps them in memory, as does a folder without room for a while.
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
        # One number per attempt to make a segment: the sender may be making a spare while the training thread, out of
        # room, makes its own.
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
        """Append one report.

        Args:
            keys: the names, at least one.
            values: as many numbers.
            step: the training step.
            time_ns: Unix nanoseconds.
            open_fast_path: let the calling thread write further reports of these names by its fast path.

        Raises:
            struct.error, TypeError, OverflowError: a value or the step is no number that fits; nothing is added.
        """
        form = self._forms.get(keys) or self._new_form(keys)
        row = form.row.pack(step, *values, time_ns)
        segment = self._queue.current
        if segment is None or segment.room() < len(row):
            form, segment = self._new_form(keys), self._queue.current
        assert segment is not None
        segment.append_row(row, form.layout)
        if open_fast_path and len(keys) <= MOST_VALUES:
            before = self._queue.fast_path
            self._queue.fast_path = before.open(segment, form.layout)
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
    def quota_is_spent(self, rows: int) -> bool:
        """Count a report on the slow path; if the fast path's quota is spent, grant `rows` more and return True."""
        fast_path = self._queue.fast_path
        fast_path.rows_left -= 1
        if fast_path.rows_left >= 0:
            return False
        fast_path.rows_left = rows
        return True

    @exclusive
    def force_slow_path(self) -> None:
        """Force the next report onto the slow path, where `quota_is_spent` is True for it."""
        self._queue.fast_path.rows_left = 0

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
            return  # _roll meets the same error when it matters, and reports it
        with self._queue.lock:
            # A segment made meanwhile has a higher number: the spare would stand before it, with later frames.
            if self._queue.current is not None and self._queue.current.number < number:
                self._spare = spare
                return
        spare.remove()

    @exclusive
    def close(self) -> None:
        """Seal what is left and unmap the current segment; nothing is appended after this."""
        self._queue.seal()
        if self._spare is not None:
            self._spare.remove()
            self._spare = None
        self._forms.clear()
        self._queue.close_current(is_final=True)

    # --- inside the lock

    def _new_form(self, keys: tuple[str, ...]) -> _Form:
        """Write the names of rows to a segment with room for at least one of them."""
        row = struct.Struct(f"=q{len(keys)}dq")
        segment = self._queue.current
        if (
            segment is None
            or segment.room() < Segment.room_for_names(keys) + row.size
            or len(segment.layouts) >= MOST_LAYOUTS
        ):
            segment = self._roll()
        form = self._forms[keys] = _Form(segment.add_layout(keys), row)
        return form

    def _roll(self) -> Segment:
        """Begin the next segment; at the bound the oldest is dropped first."""
        queue = self._queue
        # First, so that the next segment's header has the count even if the process is killed now.
        while len(queue.segments()) >= self._max_segments:
            queue.drop_oldest()
        segment, self._spare = self._spare or self._new_segment(), None
        if queue.current is not None and queue.current.has_tail:
            queue.last_frame = queue.next_number()
        # Before the current one is closed, which says that another one follows.
        segment.begin(max(queue.last_frame, queue.acked), queue.dropped)
        self._forms.clear()
        queue.close_current(is_final=False)
        queue.current = segment
        return segment

    def _new_segment(self) -> Segment:
        """Create a segment in the folder, or in memory if that fails: a server that is there still gets everything.

        With `MEMORY_SEGMENTS` in memory the oldest is dropped, wherever it is: on a full disk that makes room.
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
                    _logger.warning("no room in the spool, going on in memory: %s", error)
                self._is_full = True
            if sum(segment.path is None for segment in self._queue.closed) < MEMORY_SEGMENTS:
                return Segment.create(number, SEGMENT_BYTES, None, self._writer)
            self._queue.drop_oldest()
