"""What the training process said and the server has not acknowledged: rows and records in segments, sealed into frames.

Owns the order of records, the numbering of frames, the bound and its loss policy (oldest segment first, counted); must
not know sockets, threads or time. Rows that are like the one before come in by the `lane`, without a lock; whoever
writes otherwise takes the lock and holds the lane. All methods may be called from any thread.

Whatever a spool contains, reading it never fails: what cannot be sent is accounted for in `set_aside`.
"""

import errno
import functools
import logging
import struct
import threading
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Concatenate, NamedTuple, ParamSpec, TypeVar

import msgspec

from recis.bridge.frame_reader import FrameReader
from recis.bridge.lane import INTERRUPTION, Lane
from recis.bridge.records import MOST_LAYOUTS, FrameSpan, Layout
from recis.bridge.recovery import Damage
from recis.bridge.rows import MOST_VALUES
from recis.bridge.segment import Segment
from recis.bridge.set_aside import SetAside
from recis.wire.codec import encode
from recis.wire.messages import Frame, FrameRecord

__all__ = ["MAX_ROW_KEYS", "Outbox"]

SEGMENT_BYTES = 2 << 20
"""Also the largest frame: a frame never spans two segments."""
MEMORY_SEGMENTS = 16
"""Most segments in memory while the folder takes none."""
MAX_ROW_KEYS = 2048
"""Most values in one row; keys of 512 characters still fit a segment."""

P = ParamSpec("P")
T = TypeVar("T")
_records = msgspec.msgpack.Decoder(FrameRecord)
_PASSING = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR, errno.EAGAIN})
"""Errors that are temporary and not the file's."""
_logger = logging.getLogger(__name__)


class _Form(NamedTuple):
    layout: Layout
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
        writer: identifier of the writer.
        set_aside: account of what cannot be sent; by default that of `folder`.
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
        self._writer = writer
        self._max_segments = max(2, max_bytes // SEGMENT_BYTES)
        # Two locks, so that a report from a signal handler in the middle of another one is refused and not a deadlock.
        self._lock = threading.RLock()
        self._writing = threading.Lock()
        self._forms: dict[tuple[str, ...], _Form] = {}
        self._closed: deque[Segment] = deque(segments)  # bounded by _max_segments in _roll
        self._segment: Segment | None = None
        self._spare: Segment | None = None
        # One number per attempt to make a segment: the sender may be making a spare while the training thread, out of
        # room, makes its own.
        self._numbers = count(segments[-1].number + 1 if segments else 1)
        self._full = False
        self._last_frame = max((segment.last_frame for segment in segments), default=0)
        self._acked = 0
        self._dropped = max((segment.dropped for segment in segments), default=0)  # to the bound
        self.set_aside = set_aside if set_aside is not None else SetAside(folder)
        self._reader = FrameReader(self.set_aside, self.append)
        self.lane = Lane()
        self._note_damage()

    @property
    def dropped(self) -> int:
        """Number of points lost so far: dropped at the bound, or impossible to send."""
        return self._dropped + self.set_aside.values

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
        form = self._forms.get(keys) or self._new_form(keys)
        row = form.row.pack(step, *values, time_ns)
        segment = self._segment
        if segment is None or segment.room() < len(row):
            form, segment = self._new_form(keys), self._segment
        assert segment is not None
        segment.append_row(row, form.layout)
        if open_lane and len(keys) <= MOST_VALUES:
            lane = self.lane.open(segment, form.layout)
            if lane is not self.lane:
                lane.release()
                self.lane = lane

    @_alone
    def append(self, record: FrameRecord) -> None:
        """Adds any other record.

        Raises:
            ValueError, TypeError, OverflowError: the record is too large for a segment, or violates the protocol.
        """
        payload = encode(record)
        if len(payload) > SEGMENT_BYTES // 2:
            raise ValueError(f"expected a record of at most {SEGMENT_BYTES // 2} bytes, got {len(payload)}")
        _records.decode(payload)  # fail here, where the caller can be told
        segment = self._segment
        if segment is None or segment.room() < len(payload):
            segment = self._roll()
        segment.append(payload)

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
            self._dropped += points

    def prepare(self) -> None:
        """Allocates the next segment and the next pages ahead, so that the training thread need not."""
        with self._lock:
            if self._segment is not None:
                self._segment.prefault()
            if self._spare is not None or self._segment is None:
                return
            number = next(self._numbers)
        try:
            spare = Segment.create(number, SEGMENT_BYTES, self._folder, self._writer)
        except OSError:
            return  # _roll meets the same error when it matters, and says so
        with self._lock:
            # A segment made meanwhile has a higher number: the spare would stand before it, with later frames.
            if self._segment is not None and self._segment.number < number:
                self._spare = spare
                return
        spare.remove()

    @_alone
    def seal(self) -> int:
        """Makes a frame of what is not in one yet, if anything; returns the number of the newest frame."""
        self._seal()
        return self._last_frame

    @property
    def newest_frame(self) -> int:
        """The number of the frame that was sealed last."""
        return self._last_frame

    def ack(self, n: int) -> None:
        """All frames up to `n` are safe elsewhere: forgets segments that hold nothing newer.

        The newest segment stays until `close`: it carries the numbering across a crash.
        """
        with self._lock:
            self._acked = max(self._acked, n)
            self._reader.forget(self._acked)
            while len(self._closed) > (self._segment is None) and not self._closed[0].holds_after(self._acked):
                self._discard(self._closed.popleft())

    def first_frame(self) -> int:
        """The lowest frame number that is still held and not acknowledged, or the next one to be sealed."""
        with self._lock:
            for segment in self._all():
                for span in segment.frames:
                    if span.n > self._acked:
                        return span.n
            return max(self._last_frame, self._acked) + 1

    def frame(self, after: int) -> Frame | None:
        """Return what can be sent of the first frame above `after` of which anything can, or None.

        Raises:
            OSError: the frame cannot be read now, for a temporary reason.
        """
        while after < self._last_frame:
            with self._lock:
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
            with self._lock:
                if span in segment.frames:
                    segment.frames.remove(span)
        return None

    def refused(self, n: int, why: str) -> None:
        """Leave out of frame `n`, which the server has refused for good, what may be the reason."""
        with self._lock:
            self._reader.refused(n, why)

    @_alone
    def pending(self) -> tuple[int, int]:
        """Frames not acknowledged, what is in none yet counted as one; and the points in them."""
        spans = [span for segment in self._all() for span in segment.frames if span.n > self._acked]
        segment = self._segment
        points = segment.points if segment is not None else 0
        return len(spans) + (segment is not None and segment.has_tail), sum(span.points for span in spans) + points

    @_alone
    def close(self) -> bool:
        """Seals the last frame and unmaps; True when everything was acknowledged and the segments are gone."""
        self._seal()
        if self._spare is not None:
            self._spare.remove()
            self._spare = None
        self._close_segment(is_final=True)
        left = [segment for segment in self._closed if segment.holds_after(self._acked)]
        if left:
            if self._folder is not None and any(segment.path is None for segment in left):
                _logger.warning("what was reported while the spool had no room is lost")
            return False
        while self._closed:
            self._discard(self._closed.popleft())
        return True

    # --- inside the lock

    def _all(self) -> list[Segment]:
        return [*self._closed, self._segment] if self._segment is not None else [*self._closed]

    def _find(self, after: int) -> tuple[Segment, FrameSpan] | None:
        for segment in self._all():
            if segment.frames and segment.frames[-1].n > after:
                return segment, next(span for span in segment.frames if span.n > after)
        return None

    def _new_form(self, keys: tuple[str, ...]) -> _Form:
        """Write the names of rows to a segment with room for at least one of them."""
        row = struct.Struct(f"=q{len(keys)}dq")
        segment = self._segment
        if (
            segment is None
            or segment.room() < Segment.room_for_names(keys) + row.size
            or len(segment.layouts) >= MOST_LAYOUTS
        ):
            segment = self._roll()
        form = self._forms[keys] = _Form(segment.add_layout(keys), row)
        return form

    def _roll(self) -> Segment:
        """Starts the next segment; at the bound the oldest goes first."""
        # First, so that the next segment's header has the count even if the process is killed now.
        while len(self._closed) + (self._segment is not None) >= self._max_segments:
            self._drop_oldest()
        segment, self._spare = self._spare or self._new_segment(), None
        if self._segment is not None and self._segment.has_tail:
            self._last_frame = self._next_number()
        # Before the old one is closed, which says that another one follows.
        segment.begin(max(self._last_frame, self._acked), self._dropped)
        self._close_segment(is_final=False)
        self._segment = segment
        return segment

    def _close_segment(self, *, is_final: bool) -> None:
        segment = self._segment
        if segment is None:
            return
        self._forms.clear()
        self.lane.leave()  # before the segment goes, which the lane's rows lie in
        segment.close(self._last_frame, self._dropped, is_final=is_final)
        self._closed.append(segment)
        self._segment = None

    def _new_segment(self) -> Segment:
        """In the folder; where that takes none, in memory, so that a server that is there still gets everything.

        With `MEMORY_SEGMENTS` in memory the oldest goes, wherever it lies: on a full disk that makes room.
        """
        while True:
            number = next(self._numbers)
            try:
                segment = Segment.create(number, SEGMENT_BYTES, self._folder, self._writer)
                self._full = False
                return segment
            except FileExistsError:
                continue  # a file that was renamed
            except OSError as error:
                if not self._full:
                    _logger.warning("no room in the spool, going on in memory: %s", error)
                self._full = True
            if sum(segment.path is None for segment in self._closed) < MEMORY_SEGMENTS:
                return Segment.create(number, SEGMENT_BYTES, None, self._writer)
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        segment = self._closed.popleft()
        self._dropped += sum(span.points for span in segment.frames if span.n > self._acked)
        self._discard(segment)

    def _discard(self, segment: Segment) -> None:
        """Delete a segment that is not needed any more, or keep its file for inspection."""
        if (segment.damage or segment.is_kept) and segment.path is not None:
            self.set_aside.keep(segment.path)
        else:
            segment.remove()

    def _next_number(self) -> int:
        return max(self._last_frame, self._acked) + 1

    def _seal(self) -> None:
        segment = self._segment
        if segment is not None and segment.has_tail:
            self._last_frame = self._next_number()
            segment.seal(self._last_frame, self._dropped)

    # --- damage

    def _note_damage(self) -> None:
        begun = [segment for segment in self._closed if segment.last_frame]
        if begun and begun[-1].is_continued:
            begun[-1].damage.append(Damage(0, 0, 0, "the next file is missing or empty; how much was lost is unknown"))
        last = 0
        has_empty = False
        for segment in self._closed:
            has_empty = has_empty or not segment.writer
            # Files that are missing before the first one were acknowledged, or dropped at the bound.
            if (last or has_empty) and segment.last_before > last:
                why = f"frames {last + 1} to {segment.last_before}, before this file, are missing"
                segment.damage.append(Damage(0, 0, 0, why))
            last = max(last, segment.last_frame)
            if segment.damage:
                self.set_aside.note(segment.name, 0, *segment.loss())
        event = self.set_aside.news()
        if event is not None:
            self.append(event)

    def _read(
        self, segment: Segment, span: FrameSpan, data: bytes | None, layouts: Mapping[int, Layout]
    ) -> Frame | None:
        """Read what can be sent of a frame, whatever is wrong with it; with `data` None, from the file."""
        why = ""
        try:
            if data is None:
                data, layouts = segment.read(span.start, span.stop), self._reader.layouts_of(segment)
            return self._reader.read(segment, span, data, layouts)
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno in _PASSING:
                raise
            why = str(error)
        except Exception as error:  # border: one frame must not keep the others from being sent
            _logger.exception("cannot read frame %d", span.n)
            why = repr(error)
        with self._lock:
            if segment not in self._all():
                return None  # dropped at the bound meanwhile
        return self._reader.read(segment, span, b"", {}, why)
