"""What the training process said and the server has not acknowledged: rows and records in segments, cut into frames.

Owns the order of records, the numbering of frames, the bound and its loss policy (oldest segment first, counted); must
not know sockets, threads or time. Rows that are like the one before come in by the `lane`, without a lock; whoever
writes otherwise takes the lock and holds the lane. All methods may be called from any thread.
"""

import functools
import logging
import struct
import sys
import threading
from array import array
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

import msgspec
import numpy as np

from recis.bridge.lane import INTERRUPTION, Lane
from recis.bridge.segment import HEADER, KEYS, RECORD, ROW, ROW_KEYS, WIDE_ROW, FrameSpan, Segment, items_of
from recis.wire.codec import encode
from recis.wire.messages import Frame, FrameRecord, Points

__all__ = ["MAX_ROW_KEYS", "TIME_NS", "Outbox"]

SEGMENT_BYTES = 2 << 20
"""Also the largest frame: a frame never spans two segments."""
MEMORY_SEGMENTS = 16
"""Most segments in memory while the folder takes none."""
TIME_NS = 1000
"""Rows are sent with times in whole microseconds: what is below says nothing, and is half of a time's bytes on disk."""
FEW_WORDS = 4096
"""Numbers of one layout in a frame up to which numpy is not asked: used four times a second it is never in the cache,
and takes a tenth of a millisecond of the training's to get there."""
MAX_ROW_KEYS = 2048
"""Most values in one row; keys of 512 characters still fit a segment."""

P = ParamSpec("P")
T = TypeVar("T")
_records = msgspec.msgpack.Decoder(FrameRecord)
_key_lists = msgspec.msgpack.Decoder(tuple[str, ...])
_encoder = msgspec.msgpack.Encoder()
_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Layout:
    number: int
    row: struct.Struct  # step, values, time


def _alone(method: Callable[Concatenate["Outbox", P], T]) -> Callable[Concatenate["Outbox", P], T]:
    """For a method that writes, or counts what was written: nobody else does meanwhile, and the lane is held."""

    @functools.wraps(method)
    def call(outbox: "Outbox", /, *args: P.args, **kwargs: P.kwargs) -> T:
        # Before the lock: whoever has it may be waiting for the row that the caller has interrupted.
        outbox.lane.refuse_interruption()
        with outbox._lock:  # noqa: SLF001 - of the same class
            if outbox._writing.locked():  # noqa: SLF001 - by this very thread, whom the caller has interrupted
                raise RuntimeError(INTERRUPTION)
            with outbox._writing, outbox.lane:  # noqa: SLF001
                return method(outbox, *args, **kwargs)

    return call


class Outbox:
    """See the module; `folder` None keeps everything in memory, as does a folder that takes nothing for a while.

    Args:
        folder: where the segments lie, an existing folder of this writer alone.
        max_bytes: bound over all segments; beyond it the oldest goes and its points are counted in `dropped`.
        segments: what a stopped process left, oldest first; numbering goes on after it.
    """

    def __init__(self, folder: Path | None, max_bytes: int = 1 << 30, segments: Sequence[Segment] = ()) -> None:
        self._folder = folder
        self._max_segments = max(2, max_bytes // SEGMENT_BYTES)
        # Two locks, so that a report from a signal handler in the middle of another one is refused and not a deadlock.
        self._lock = threading.RLock()
        self._writing = threading.Lock()
        self._layouts: dict[tuple[str, ...], _Layout] = {}
        self._names: dict[int, tuple[str, ...]] = {}  # of the layouts, by number
        self._closed: deque[Segment] = deque(segments)  # bounded by _max_segments in _roll
        self._segment: Segment | None = None
        self._spare: Segment | None = None
        # One number per attempt to make a segment: the sender may be making a spare while the training thread, out of
        # room, makes its own.
        self._numbers = count(segments[-1].number + 1 if segments else 1)
        self._full = False
        self._last_frame = max((segment.last_frame for segment in segments), default=0)
        self._acked = 0
        self.lane = Lane()
        self.dropped = max((span.dropped for segment in segments for span in segment.frames), default=0)
        """Points lost to the bound so far."""
        self._cut_recovered_tails()

    # --- training thread

    @_alone
    def append_row(
        self, keys: tuple[str, ...], values: Collection[float], step: int, time_ns: int, *, open_lane: bool = False
    ) -> None:
        """Adds one report of `len(keys)` values.

        Args:
            keys: the names, at least one.
            values: as many.
            step: the training step.
            time_ns: Unix nanoseconds.
            open_lane: the calling thread is going to report these names again, by its lane.

        Raises:
            struct.error, TypeError, OverflowError: a value or the step is no number that fits; nothing is added.
        """
        layout = self._layouts.get(keys) or self._new_layout(keys)
        row = layout.row.pack(step, *values, time_ns or 1)
        segment = self._segment
        if segment is None or segment.room() < len(row):
            layout, segment = self._new_layout(keys), self._segment
        assert segment is not None
        if len(keys) > ROW_KEYS:
            segment.append(WIDE_ROW, row, layout.number, len(keys))
            return
        segment.append_row(row, layout.number, len(keys))
        if open_lane:
            lane = self.lane.open(segment, keys, layout.number)
            if lane is not self.lane:
                lane.release()
                self.lane = lane

    @_alone
    def append(self, record: FrameRecord) -> None:
        """Adds any other record; one that is larger than a segment is refused with a `ValueError`."""
        payload = encode(record)
        if len(payload) > SEGMENT_BYTES // 2:
            raise ValueError(f"expected a record of at most {SEGMENT_BYTES // 2} bytes, got {len(payload)}")
        segment = self._segment
        if segment is None or segment.room() < len(payload):
            segment = self._roll()
        segment.append(RECORD, payload)

    @_alone
    def lane_is_used_up(self, rows: int) -> bool:
        """Counts one report that does not come by the lane; when no more may, lets `rows` of them and returns True."""
        self.lane.rows_left -= 1
        if self.lane.rows_left >= 0:
            return False
        self.lane.rows_left = rows
        return True

    # --- sender thread

    @_alone
    def interrupt(self) -> None:
        """Has the next report go the other way, by `lane_is_used_up`."""
        self.lane.rows_left = 0

    def is_interrupted(self) -> bool:
        """Whether the caller has interrupted a report on its own thread: none of the other methods can be called."""
        if self.lane.is_interrupted():
            return True
        if not self._lock.acquire(blocking=False):
            return False
        try:
            return self._writing.locked()
        finally:
            self._lock.release()

    def count_lost(self, points: int) -> None:
        """Adds points that were lost before they came here; the next frame says so."""
        self.lane.refuse_interruption()
        with self._lock:
            self.dropped += points

    def prepare(self) -> None:
        """Allocates the next segment and the next pages ahead, so that the training thread need not."""
        with self._lock:
            if self._segment is not None:
                self._segment.prefault()
            if self._spare is not None or self._segment is None:
                return
            number = next(self._numbers)
        try:
            spare = Segment.create(number, SEGMENT_BYTES, self._folder)
        except OSError:
            return  # _roll meets the same error when it matters, and says so
        with self._lock:
            # A segment made meanwhile has a higher number: the spare would stand before it, with later frames.
            if self._segment is not None and self._segment.number < number:
                self._spare = spare
                return
        spare.remove()

    @_alone
    def cut(self) -> int:
        """Makes a frame of what is not in one yet, if anything; returns the number of the newest frame."""
        self._cut()
        return self._last_frame

    @property
    def newest_frame(self) -> int:
        """The number of the frame that was cut last."""
        return self._last_frame

    def ack(self, n: int) -> None:
        """All frames up to `n` are safe elsewhere: forgets segments that hold nothing newer.

        The newest segment stays until `close`: it carries the numbering across a crash.
        """
        with self._lock:
            self._acked = max(self._acked, n)
            while len(self._closed) > (self._segment is None) and self._closed[0].last_frame <= self._acked:
                self._closed.popleft().remove()

    def first_frame(self) -> int:
        """The lowest frame number that is still held and not acknowledged, or the next one to be cut."""
        with self._lock:
            for segment in self._all():
                for span in segment.frames:
                    if span.n > self._acked:
                        return span.n
            return max(self._last_frame, self._acked) + 1

    def frame(self, after: int) -> Frame | None:
        """The first frame with a number above `after`, None when there is no such frame."""
        while after < self._last_frame:
            with self._lock:
                found = self._find(after)
                if found is None:
                    return None
                segment, span = found
                is_newest = segment is self._segment
                # Of the newest its own bytes and the names that are known: a frame costs what is in it, however many
                # are before it. A file that no longer changes is read without holding up the training thread.
                start, names = (span.start, self._names) if is_newest else (0, None)
                data = segment.read(start, span.stop) if is_newest or segment.path is None else None
            try:
                data = segment.read(start, span.stop) if data is None else data
            except FileNotFoundError:
                continue  # dropped at the bound in between
            return _whole_frame(data, span) if names is None else _frame(data, 0, span, names)
        return None

    @_alone
    def pending(self) -> tuple[int, int]:
        """Frames not acknowledged, what is not cut yet counted as one; and the points in them."""
        spans = [span for segment in self._all() for span in segment.frames if span.n > self._acked]
        has_tail = self._segment is not None and self._segment.end > self._segment.first_uncut
        uncut = self._segment.points if self._segment is not None else 0
        return len(spans) + has_tail, sum(span.points for span in spans) + uncut

    @_alone
    def close(self) -> bool:
        """Cuts the tail and unmaps; True when everything was acknowledged and the segments are gone."""
        self._cut()
        if self._spare is not None:
            self._spare.remove()
            self._spare = None
        if self._segment is not None:
            self._forget_layouts()
            self._segment.unmap()
            self._closed.append(self._segment)
            self._segment = None
        left = [segment for segment in self._closed if segment.last_frame > self._acked]
        if left:
            if self._folder is not None and any(segment.path is None for segment in left):
                _logger.warning("what was reported while the spool had no room is lost")
            return False
        while self._closed:
            self._closed.popleft().remove()
        return True

    # --- inside the lock

    def _all(self) -> list[Segment]:
        return [*self._closed, self._segment] if self._segment is not None else [*self._closed]

    def _find(self, after: int) -> tuple[Segment, FrameSpan] | None:
        for segment in self._all():
            if segment.frames and segment.frames[-1].n > after:
                return segment, next(span for span in segment.frames if span.n > after)
        return None

    def _new_layout(self, keys: tuple[str, ...]) -> _Layout:
        """A layout for `keys`, its names written in a segment with room for one row of it."""
        names = _encoder.encode(keys)
        row = struct.Struct(f"=q{len(keys)}dq")
        segment = self._segment
        if segment is None or segment.room() < len(names) + row.size + 64 or len(self._layouts) > 0xFFFE:
            segment = self._roll()
        layout = _Layout(len(self._names), row)
        segment.append(KEYS, names, layout.number)
        self._names[layout.number] = keys
        self._layouts[keys] = layout
        return layout

    def _forget_layouts(self) -> None:
        self._layouts.clear()
        self._names = {}  # a new one: the sender may still be reading frames by the old
        self.lane.leave()  # before the segment goes, which the lane's rows lie in

    def _roll(self) -> Segment:
        """Starts the next segment; at the bound the oldest goes first."""
        # Before the cut: what is lost is then in the spool, also when this process is killed next.
        while len(self._closed) + (self._segment is not None) >= self._max_segments:
            self._drop_oldest()
        self._forget_layouts()
        if self._segment is not None:
            self._cut()
            self._segment.unmap()
            self._closed.append(self._segment)
            self._segment = None
        segment, self._spare = self._spare or self._new_segment(), None
        segment.begin(max(self._last_frame, self._acked))
        self._segment = segment
        return segment

    def _new_segment(self) -> Segment:
        """In the folder; where that takes none, in memory, so that a server that is there still gets everything.

        With `MEMORY_SEGMENTS` in memory the oldest goes, wherever it lies: on a full disk that makes room.
        """
        while True:
            number = next(self._numbers)
            try:
                segment = Segment.create(number, SEGMENT_BYTES, self._folder)
                self._full = False
                return segment
            except OSError as error:
                if not self._full:
                    _logger.warning("no room in the spool, going on in memory: %s", error)
                self._full = True
            if sum(segment.path is None for segment in self._closed) < MEMORY_SEGMENTS:
                return Segment.create(number, SEGMENT_BYTES, None)
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        segment = self._closed.popleft()
        self.dropped += sum(span.points for span in segment.frames if span.n > self._acked)
        segment.remove()

    def _cut(self) -> None:
        segment = self._segment
        if segment is not None and segment.end > segment.first_uncut:
            self._last_frame = max(self._last_frame, self._acked) + 1
            segment.cut(self._last_frame, self.dropped)

    def _cut_recovered_tails(self) -> None:
        """Records after the last cut were never sent: they become one more frame of their segment."""
        for segment in self._closed:
            if segment.end > segment.first_uncut:
                self._last_frame += 1
                segment.cut(self._last_frame, self.dropped)


def _whole_frame(data: bytes, span: FrameSpan) -> Frame:
    """The wire record of one span in the bytes of its segment from the first on."""
    view = memoryview(data)
    items = items_of(view, HEADER.size, span.stop)
    names = {item.layout: _key_lists.decode(item.payload(view)) for item in items if item.kind == KEYS}
    return _frame(data, span.start, span, names)


def _frame(data: bytes, start: int, span: FrameSpan, names: Mapping[int, tuple[str, ...]]) -> Frame:
    """The wire record of the span whose bytes begin at `start`: rows of one layout become columns.

    Args:
        data: bytes of a segment, to the end of the span.
        start: where in `data` the span begins.
        span: the frame.
        names: of the segment's row layouts, by number.
    """
    rows: dict[int, list[memoryview]] = {}
    records: list[FrameRecord] = []
    view = memoryview(data)
    for item in items_of(view, start, len(data)):
        if item.kind in (ROW, WIDE_ROW):
            rows.setdefault(item.layout, []).append(view[item.start : item.stop])
        elif item.kind == RECORD:
            records.append(_records.decode(item.payload(view)))
    points = [_points(names[number], b"".join(group)) for number, group in rows.items()]
    return Frame(n=span.n, records=(*points, *records), dropped=span.dropped)


def _points(keys: tuple[str, ...], rows: bytes) -> Points:
    """Rows of one layout as columns: a row ends with step, values and time, whatever is before them."""
    num_values = len(keys)
    width = num_values + (4 if num_values > ROW_KEYS else 3)
    if len(rows) <= 8 * FEW_WORDS and sys.byteorder == "little":
        words = memoryview(rows).cast("q")
        step, *values, time = (words[place::width] for place in range(width - 2 - num_values, width))
        return Points(
            keys=keys,
            steps=step.tobytes(),
            times=array("q", [moment // TIME_NS * TIME_NS for moment in time]).tobytes(),
            values=b"".join([column.tobytes() for column in values]),
        )
    return _points_of_many(keys, rows, width)


def _points_of_many(keys: tuple[str, ...], rows: bytes, width: int) -> Points:
    """The same for rows of `width` numbers, with numpy."""
    num_values = len(keys)
    words = np.frombuffer(rows, np.int64).reshape(-1, width)
    values = words[:, -1 - num_values : -1].view(np.float64)
    return Points(
        keys=keys,
        steps=words[:, -2 - num_values].astype("<i8").tobytes(),
        times=(words[:, -1] // TIME_NS * TIME_NS).astype("<i8").tobytes(),
        values=values.T.astype("<f8", order="C").tobytes(),
    )
