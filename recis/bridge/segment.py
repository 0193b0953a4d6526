"""One file of the spool: a preallocated, memory-mapped stretch of records that survives the process.

Owns the layout on disk and the recovery of what a killed process left; must not know when a frame is cut or sent
(`outbox`, `client`), nor what a record means.

Segment file: a header (`RECISSPL`, u32 layout version, u32 segment number, u64 number of the last frame before it, so
that numbering goes on when all earlier segments are gone), then records, then zeros. All in words of 8 bytes, in the
byte order of the machine. A record begins with its head: u32 bytes of the whole record, u16 row layout, u8 kind, u8 0.

- A row of numbers: i64 step, one f64 a value, i64 time, which is never zero. At most `ROW_KEYS` values.
- Everything else (names, wire records, cuts, longer rows): u32 CRC-32 of the payload, u32 its length, payload, padding.

The head is written last, and pages of a mapped file outlive the process: after a kill a record is there whole or not
at all. After a crash of the machine each sector of the disk is there or not: a row lies in two at most, its head in the
first and its time in the last, so it is whole when neither is zero; all else has its checksum.
"""

import contextlib
import mmap
import os
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Self
from zlib import crc32

import numpy as np

__all__ = [
    "CUT",
    "CUT_BYTES",
    "HEADER",
    "KEYS",
    "RECORD",
    "ROW",
    "ROW_KEYS",
    "WIDE_ROW",
    "FrameSpan",
    "Item",
    "Segment",
    "items_of",
]

MAGIC = b"RECISSPL"
LAYOUT_VERSION = 2
HEADER = struct.Struct("=8sIIQ")
CHECK = struct.Struct("=II")
"""CRC-32 and length of the payload."""
CUT_PAYLOAD = struct.Struct("=QQ")
"""Frame number, points that the writer has dropped so far."""
CUT_BYTES = 8 + CHECK.size + CUT_PAYLOAD.size
AHEAD_BYTES = 64 << 10
"""What `prefault` prepares: three seconds of 200 reports of ten values each."""
ROW_KEYS = 61
"""Most values in a row without a checksum: with head, step and time as long as a sector of 512 bytes."""

KEYS, ROW, WIDE_ROW, RECORD, CUT = range(1, 6)
"""Kinds: the names of a row layout, a row of numbers, a longer one, an encoded wire record, the end of a frame."""

_MADV_POPULATE_WRITE = 23  # not in the mmap module
_HEAD = struct.Struct("=IHBx")
_HEAD_WORD = struct.Struct("=q")
_FEW_ROWS = 8
"""So many are looked at one by one: where other rows lie between them, that is less than one look at many."""


@dataclass(frozen=True, slots=True)
class FrameSpan:
    """Where the records of frame `n` lie in their segment, as byte offsets; `points` is how many values they hold."""

    n: int
    start: int
    stop: int
    points: int
    dropped: int


class Item(NamedTuple):
    """A record, or neighbouring rows of one layout, at the bytes `start` to `stop`; `width` bytes each."""

    kind: int
    layout: int
    start: int
    stop: int
    width: int

    def payload(self, data: memoryview) -> memoryview:
        """What a record that is no row carries."""
        _, length = CHECK.unpack_from(data, self.start + 8)
        return data[self.start + 16 : self.start + 16 + length]

    def points(self) -> int:
        """How many values its rows hold."""
        head_and_ends = {ROW: 3, WIDE_ROW: 4}.get(self.kind)
        return (self.width // 8 - head_and_ends) * (self.stop - self.start) // self.width if head_and_ends else 0


@dataclass(slots=True)
class Segment:
    """One file, mapped while it is written; without a path it lives in memory only.

    `end` is where the next record goes, `size` the room there is; the last `CUT_BYTES` are kept for the cut. `points`
    counts the values that are in no frame yet.
    """

    number: int
    size: int
    path: Path | None
    view: memoryview | None = None
    words: "memoryview[int] | None" = None
    reals: "memoryview[float] | None" = None
    end: int = HEADER.size
    last_before: int = 0
    points: int = 0
    frames: list[FrameSpan] = field(default_factory=list)
    _map: mmap.mmap | None = None

    @classmethod
    def create(cls, number: int, size: int, folder: Path | None) -> Self:
        """A new, empty, fully allocated segment; `size` is a multiple of 8.

        Raises:
            OSError: no room or no right to write; nothing is left behind. A sparse file would be a SIGBUS in the
                training process on a full disk, hence the allocation ahead.
        """
        if folder is None:
            mapped, path = mmap.mmap(-1, size), None
        else:
            path = folder / f"{number:08d}.seg"
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, size)
                mapped = mmap.mmap(descriptor, size)
            except OSError:
                path.unlink()
                raise
            finally:
                os.close(descriptor)
        view = memoryview(mapped)
        segment = cls(number, size, path, view, view.cast("q"), view.cast("d"), _map=mapped)
        segment.begin(0)
        return segment

    def begin(self, last_before: int) -> None:
        """Notes the last frame number before this segment; called when the segment becomes the one that is written."""
        assert self.view is not None
        self.last_before = last_before
        HEADER.pack_into(self.view, 0, MAGIC, LAYOUT_VERSION, self.number, last_before)

    @classmethod
    def recover(cls, path: Path) -> Self:
        """What a stopped process left in `path`, with the spans of its frames.

        Raises:
            ValueError: the file is no segment of this layout.
        """
        data = path.read_bytes()
        if data == bytes(len(data)):  # killed while it was being made
            return cls(int(path.stem), len(data), path)
        if len(data) < HEADER.size or data[:8] != MAGIC:
            raise ValueError(f"expected a segment that starts with {MAGIC!r}, got {data[:8]!r} in {path}")
        _, version, number, last_before = HEADER.unpack_from(data)
        if version != LAYOUT_VERSION:
            raise ValueError(
                f"expected spool layout {LAYOUT_VERSION}, got {version} in {path}: "
                "another version of recis-monitor wrote it, and can send it"
            )
        segment = cls(number, len(data), path, last_before=last_before)
        view = memoryview(data)
        for item in items_of(view, HEADER.size, len(data)):
            if item.kind == CUT:
                n, dropped = CUT_PAYLOAD.unpack(item.payload(view))
                segment.frames.append(FrameSpan(n, segment.first_uncut, item.start, segment.points, dropped))
                segment.points = 0
            else:
                segment.points += item.points()
            segment.end = item.stop
        return segment

    @property
    def last_frame(self) -> int:
        """The highest frame number up to the end of this segment."""
        return self.frames[-1].n if self.frames else self.last_before

    @property
    def first_uncut(self) -> int:
        """Where the records that belong to no frame yet begin."""
        return self.frames[-1].stop + CUT_BYTES if self.frames else HEADER.size

    def room(self) -> int:
        """Payload bytes that still fit in one record, the cut's place left free."""
        return self.size - self.end - CUT_BYTES - 8 - CHECK.size

    def append(self, kind: int, payload: bytes, layout: int = 0, points: int = 0) -> None:
        """Writes one record; the caller has checked `room` (a cut may use the place that is kept for it)."""
        assert self.view is not None
        record = _checked(kind, payload, layout)
        self._write(record)
        self.points += points

    def append_row(self, row: bytes, layout: int, points: int) -> None:
        """Writes a row of at most `ROW_KEYS` values: step, values and time, for which the caller has checked `room`."""
        self._write(_HEAD.pack(8 + len(row), layout, ROW) + row)
        self.points += points

    @property
    def rows_stop(self) -> int:
        """The word behind the last one that a row may take: from there on is the cut's place."""
        return (self.size - CUT_BYTES) // 8

    def row_head(self, layout: int, num_values: int) -> int:
        """The first word of a row, as a number."""
        return int.from_bytes(_HEAD.pack(8 * (num_values + 3), layout, ROW), sys.byteorder)

    def advance(self, end_word: int, num_rows: int) -> None:
        """Takes note of so many rows, each with a head, a step and a time, that were written up to this word."""
        self.points += end_word - self.end // 8 - 3 * num_rows
        self.end = 8 * end_word

    def prefault(self) -> None:
        """Has the system make the next pages writable, which costs a thread more the first time than a report does."""
        # Where the last cut has filled it to the last byte there is no next page.
        if self._map is not None and self.end < self.size and sys.platform == "linux":
            start = self.end - self.end % mmap.PAGESIZE
            with contextlib.suppress(OSError):  # before Linux 5.14
                self._map.madvise(_MADV_POPULATE_WRITE, start, min(AHEAD_BYTES, self.size - start))

    def _write(self, record: bytes) -> None:
        assert self.view is not None
        assert self.words is not None
        start, stop = self.end, self.end + len(record)
        self.view[start + 8 : stop] = record[8:]
        self.words[start // 8] = int.from_bytes(record[:8], sys.byteorder, signed=True)
        self.end = stop

    def cut(self, n: int, dropped: int) -> None:
        """Ends frame `n` here: from now on the same number always means the same records."""
        span = FrameSpan(n, self.first_uncut, self.end, self.points, dropped)
        record = _checked(CUT, CUT_PAYLOAD.pack(n, dropped))
        if self.view is not None:
            self._write(record)
        else:  # of a stopped process: not mapped, written through the file
            assert self.path is not None
            with self.path.open("r+b") as file:
                file.truncate(self.end)  # first: what is left of a torn record must not be read as one behind the cut
                file.seek(self.end)
                file.write(record)
            self.end += len(record)
        self.points = 0
        self.frames.append(span)

    def read(self, start: int, stop: int) -> bytes:
        """The bytes from `start` to `stop`, which is at most `end`."""
        if self.view is not None:
            return bytes(self.view[start:stop])
        assert self.path is not None
        with self.path.open("rb") as file:
            file.seek(start)
            return file.read(stop - start)

    def unmap(self) -> None:
        """Gives the memory back; a segment with a file can still be read. Safe to call twice."""
        if self.path is not None:
            self._release()

    def remove(self) -> None:
        """Forgets the segment and its file."""
        self._release()
        if self.path is not None:
            self.path.unlink(missing_ok=True)

    def _release(self) -> None:
        for view in (self.words, self.reals, self.view):
            if view is not None:
                view.release()
        if self._map is not None:
            self._map.close()
        self.words = self.reals = self.view = self._map = None


def _checked(kind: int, payload: bytes, layout: int = 0) -> bytes:
    padding = -len(payload) % 8
    head = _HEAD.pack(8 + CHECK.size + len(payload) + padding, layout, kind)
    return head + CHECK.pack(crc32(payload), len(payload)) + payload + bytes(padding)


def items_of(data: memoryview, start: int, stop: int) -> Iterator[Item]:
    """The whole records in `data[start:stop]`, neighbouring rows of one layout as one item; ends at the first torn one.

    A loop over every row would keep the interpreter from the training thread for as long as it takes.
    """
    while start + 16 <= stop:
        size, layout, kind = _HEAD.unpack_from(data, start)
        if size < 24 or size % 8 or start + size > stop:
            return
        if kind == ROW:
            item = Item(kind, layout, start, start + size * _count_alike(data, start, stop, size), size)
        else:
            item = Item(kind, layout, start, start + size, size)
            checksum, length = CHECK.unpack_from(data, start + 8)
            if not 0 < length <= size - 16 or crc32(item.payload(data)) != checksum:
                return
        if item.stop == start:
            return
        yield item
        start = item.stop


def _count_alike(data: memoryview, start: int, stop: int, size: int) -> int:
    """How many rows from `start` on have the size and the layout of the first, and a time: those are whole."""
    most, width = (stop - start) // size, size // 8
    head = _HEAD_WORD.unpack_from(data, start)
    no_time = (0,)
    for count in range(min(most, _FEW_ROWS)):
        place = start + count * size
        if _HEAD_WORD.unpack_from(data, place) != head or _HEAD_WORD.unpack_from(data, place + size - 8) == no_time:
            return count
    count, window = min(most, _FEW_ROWS), 8 * _FEW_ROWS
    while count < most:
        length = min(window, most - count)
        rows = np.frombuffer(data, np.int64, length * width, start + count * size).reshape(length, width)
        others = (rows[:, 0] != head[0]) | (rows[:, -1] == 0)
        if others.any():
            return count + int(others.argmax())
        count += length
        window *= 8
    return count
