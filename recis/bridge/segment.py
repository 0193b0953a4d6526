"""One file of the spool: a preallocated, memory-mapped sequence of records that survives the process.

Owns the file and writing to it; must not know when a frame is sealed or sent (`outbox_reader`, `sender`), or what a
record means. `records` defines the format; `recovery` reads what remains after a kill or damage.

Layout: header, records with a seal after each frame, zeros; at the end, growing downwards, a copy of the header and of
all names and seals. Many records depend on those; with the copies, damage at one place costs no more than the records
at that place.

The head of a record is written last, and the pages of a mapped file outlive the process: after a kill a record is
either complete or absent. Checksums detect everything else that can happen to the file.
"""

import contextlib
import mmap
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from zlib import crc32

import msgspec

from recis.bridge.files import read_regular
from recis.bridge.records import (
    COPIED_NAMES_BYTES,
    HEADER_BYTES,
    MAGIC,
    NAMES,
    NAMES_COPY,
    RECORD,
    SEAL,
    SEAL_BYTES,
    SEAL_COPY,
    VERSION,
    FrameSpan,
    Header,
    RowLayout,
    record_bytes,
    row_head,
    seed_of,
    tag_of,
)
from recis.bridge.recovery import Damage, find_header, recover
from recis.system import OPEN_FLAGS, allocate

__all__ = ["AnotherVersionError", "Segment"]

AHEAD_BYTES = 64 << 10
"""Bytes that `prefault` prepares: three seconds of 200 reports of ten values each."""

_MADV_POPULATE_WRITE = 23  # not in the mmap module
_SEALS_BYTES = 2 * SEAL_BYTES
_encoder = msgspec.msgpack.Encoder()


class AnotherVersionError(ValueError):
    """The segment was written by another version of this program."""


@dataclass(slots=True, eq=False)
class Segment:
    """One file, mapped while it is written; without a path it lives in memory only.

    Attributes:
        number: sequence number.
        size: size of the file in bytes.
        path: the file, None in memory.
        writer: `tag_of` the writer.
        seed: initial value of the checksums.
        view, words: the contents as bytes and as int64, while mapped.
        layouts: layouts of the rows by number, while mapped.
        end: offset of the next record.
        top: offset of the copies at the end.
        points: number of values that are in no frame yet.
        records: number of other records that are in no frame yet.
        frames: frames that can be sent, in order.
        last_before: number of the last frame before this segment.
        last_frame: highest frame number up to the end of this segment.
        dropped: points that the writer had dropped at its bound by then.
        damage: losses found in this segment.
        is_continued: whether another segment has to follow this one.
        is_kept: whether to keep the file for inspection even without damage.
    """

    number: int
    size: int
    path: Path | None
    writer: int = 0
    seed: int = 0
    view: memoryview | None = None
    words: "memoryview[int] | None" = None
    layouts: dict[int, RowLayout] = field(default_factory=dict)
    end: int = HEADER_BYTES
    top: int = 0
    points: int = 0
    records: int = 0
    frames: list[FrameSpan] = field(default_factory=list)
    last_before: int = 0
    last_frame: int = 0
    dropped: int = 0
    damage: list[Damage] = field(default_factory=list)
    is_continued: bool = False
    is_kept: bool = False
    _header: Header | None = None
    _unsealed: int = HEADER_BYTES
    _is_closed: bool = False
    _map: mmap.mmap | None = None

    @classmethod
    def create(cls, number: int, size: int, folder: Path | None, writer: str = "") -> Self:
        """Create a new, empty, fully allocated segment; `size` is a multiple of 8.

        Raises:
            OSError: no room or no right to write; nothing is left behind. The file is allocated in advance because a
                sparse one would cause a SIGBUS in the training process on a full disk.
        """
        if folder is None:
            mapped, path = mmap.mmap(-1, size), None
        else:
            path = folder / f"{number:08d}.seg"
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | OPEN_FLAGS, 0o600)
            try:
                try:
                    allocate(descriptor, size)
                    mapped = mmap.mmap(descriptor, size)
                finally:
                    os.close(descriptor)
            except BaseException:  # also one from a signal handler, such as KeyboardInterrupt
                path.unlink()
                raise
        view, tag = memoryview(mapped), tag_of(writer)
        segment = cls(number, size, path, tag, seed_of(tag, number), view, view.cast("q"), _map=mapped)
        segment.begin(0, 0)
        return segment

    def begin(self, last_before: int, dropped: int) -> None:
        """Store the last frame number and the points dropped so far, when this becomes the segment to write to."""
        self.last_before = self.last_frame = last_before
        self.dropped, self.top = dropped, self.size - HEADER_BYTES
        self._header = Header(self.number, self.writer, last_before, dropped, 0, self.size)
        self._write_header(self._header)

    @classmethod
    def recover(cls, path: Path) -> Self:
        """Recover the frames of a stopped process from a file, which is not modified.

        Raises:
            AnotherVersionError: the file was written by another version.
            ValueError: nothing in the file can be verified.
            OSError: the file cannot be read.
        """
        data = read_regular(path)
        if data.count(0) == len(data):  # the process was killed while creating it
            return cls(int(path.stem) if path.stem.isdecimal() else 0, len(data), path)
        header = find_header(data, path.stem)
        if header is None:
            version = int.from_bytes(data[8:12], sys.byteorder)
            if data[:8] == MAGIC and version != VERSION:
                raise AnotherVersionError(
                    f"expected spool format {VERSION}, got {version} in {path}: "
                    "it was written by another version of recis-monitor, which can send it"
                )
            raise ValueError(f"expected a segment with a header that matches its checksum, got {data[:8]!r} in {path}")
        found = recover(data, header)
        return cls(
            header.number,
            header.size,
            path,
            header.writer,
            seed_of(header.writer, header.number),
            frames=found.frames,
            last_before=header.last_before,
            last_frame=found.last_frame,
            dropped=max([header.dropped, *(span.dropped for span in found.frames)]),
            damage=found.damage,
            is_continued=bool(header.end and not header.is_final),
        )

    @property
    def name(self) -> str:
        """Name for messages."""
        return self.path.name if self.path is not None else f"segment {self.number} in memory"

    @property
    def is_mapped(self) -> bool:
        """Whether the contents are in memory."""
        return self.view is not None

    def loss(self) -> tuple[int, int, str]:
        """Return the number of values and of other records lost, and the reason. Requires some damage."""
        first = self.damage[0]
        why = f"frame {first.n}: {first.why}" if first.n else first.why
        more = f", and {len(self.damage) - 1} more" if len(self.damage) > 1 else ""
        values, records = sum(loss.values for loss in self.damage), sum(loss.records for loss in self.damage)
        return values, records, why + more

    @property
    def has_tail(self) -> bool:
        """Whether there are records that are in no frame yet."""
        return self.points > 0 or self.records > 0

    def holds_after(self, n: int) -> bool:
        """Return whether there is, or will be, a frame with a number above `n`."""
        return self.has_tail or (bool(self.frames) and self.frames[-1].n > n)

    def room(self) -> int:
        """Return how many bytes of row words or record payload still fit, with room reserved for a seal."""
        return self.top - self.end - _SEALS_BYTES - 24

    @staticmethod
    def room_of(size: int) -> int:
        """Return the `room` of an empty segment of this size in bytes."""
        return size - 2 * HEADER_BYTES - _SEALS_BYTES - 24

    @staticmethod
    def room_for_names(keys: tuple[str, ...]) -> int:
        """Return how much of `room` a call of `add_layout` takes."""
        names = _encoder.encode(keys)
        return (len(names) + 24) * (2 if len(names) <= COPIED_NAMES_BYTES else 1)

    def add_layout(self, keys: tuple[str, ...]) -> RowLayout:
        """Write the names of the rows that follow; the caller has checked `room` and `MOST_LAYOUTS`."""
        names = _encoder.encode(keys)
        layout = RowLayout(len(self.layouts), keys, crc32(names, self.seed))
        self._write(record_bytes(NAMES, names, self.seed, self.end // 8, layout.number))
        if len(names) <= COPIED_NAMES_BYTES:
            self._write_copy(NAMES_COPY, names, layout.number)
        self.layouts[layout.number] = layout
        return layout

    def append(self, payload: bytes) -> None:
        """Write an encoded record; the caller has checked `room`."""
        self._write(record_bytes(RECORD, payload, self.seed, self.end // 8))
        self.records += 1

    def append_row(self, row: bytes, layout: RowLayout) -> None:
        """Write a row, given its step, values and time; the caller has checked `room`."""
        assert self.view is not None
        assert self.words is not None
        start, place = self.end, self.end // 8
        stop = start + 8 + len(row)
        self.view[start + 8 : stop] = row
        self.words[place] = row_head(row, layout, place)
        # Last: if a signal handler raises before this line, the next row overwrites this one.
        self.end = stop
        self.points += len(layout.keys)

    @property
    def rows_stop(self) -> int:
        """Index of the word at which rows have to stop, with room reserved for a seal."""
        return (self.top - _SEALS_BYTES) // 8

    def advance(self, end_word: int, num_values: int) -> None:
        """Record that the fast path has written rows up to this word, with this number of values in total."""
        self.points += num_values
        self.end = 8 * end_word

    def prefault(self) -> None:
        """Make the next pages writable in advance: a page fault costs more than a report."""
        # If the last frame fills the segment to the last byte, there is no next page.
        if self._map is not None and self.end < self.size and sys.platform == "linux":
            start = self.end - self.end % mmap.PAGESIZE
            with contextlib.suppress(OSError):  # before Linux 5.14
                self._map.madvise(_MADV_POPULATE_WRITE, start, min(AHEAD_BYTES, self.size - start))

    def seal(self, n: int, dropped: int) -> None:
        """End frame `n` and write its checksum: from now on this number always means the same records."""
        assert self.view is not None
        crc = crc32(self.view[self._unsealed : self.end], self.seed)
        span = self._end_frame(n, dropped, crc)
        self._write(record_bytes(SEAL, span.pack(), self.seed, self.end // 8))
        self._write_copy(SEAL_COPY, span.pack())
        self._unsealed = self.end

    def close(self, n: int, dropped: int, *, is_final: bool) -> None:
        """Store the totals and unmap the file, which can still be read.

        Records that are in no frame yet become frame `n`, without a checksum over the frame: the training thread calls
        this, and each record has its own checksum. `is_final` states that no other segment follows. The call can be
        repeated if an exception from a signal handler, such as KeyboardInterrupt, interrupted it.
        """
        assert self._header is not None
        if not self._is_closed:
            if self.has_tail:
                self._end_frame(n, dropped, None)
            tail = self.frames[-1] if self.frames and self.frames[-1].crc is None else None
            header = self._header._replace(
                last_frame=self.last_frame,
                end=self.end,
                unsealed=self._unsealed,
                points=tail.points if tail else 0,
                records=tail.records if tail else 0,
                all_points=sum(span.points for span in self.frames),
                all_records=sum(span.records for span in self.frames),
                is_final=int(is_final),
            )
            self._write_header(header)
            self._is_closed = True
        if self.path is not None:
            self._release()

    def read(self, start: int = 0, stop: int | None = None) -> bytes:
        """Return the bytes from `start` to `stop`."""
        if self.view is not None:
            return bytes(self.view[start:stop])
        assert self.path is not None
        return read_regular(self.path, start, self.size if stop is None else stop)

    def remove(self) -> None:
        """Unmap the segment and delete its file."""
        self._release()
        if self.path is not None:
            self.path.unlink(missing_ok=True)

    # --- inside

    def _end_frame(self, n: int, dropped: int, crc: int | None) -> FrameSpan:
        # Unless an exception from a signal handler, such as KeyboardInterrupt, interrupted this.
        if not self.frames or self.frames[-1].stop != self.end:
            self.frames.append(FrameSpan(n, dropped, self._unsealed, self.end, self.points, self.records, crc))
        span = self.frames[-1]
        self.last_frame, self.dropped = span.n, dropped
        self.points = self.records = 0
        return span

    def _write(self, record: bytes) -> None:
        self._write_at(self.end, record)
        self.end += len(record)

    def _write_copy(self, kind: int, payload: bytes, layout: int = 0) -> None:
        place = self.top - 16 - len(payload) - -len(payload) % 8
        self._write_at(place, record_bytes(kind, payload, self.seed, place // 8, layout))
        self.top = place

    def _write_at(self, start: int, record: bytes) -> None:
        assert self.view is not None
        assert self.words is not None
        self.view[start + 8 : start + len(record)] = record[8:]
        self.words[start // 8] = int.from_bytes(record[:8], sys.byteorder, signed=True)

    def _write_header(self, header: Header) -> None:
        """Write both copies, one after the other: a kill in between leaves one of them intact."""
        assert self.view is not None
        for start in (0, self.size - HEADER_BYTES):
            self.view[start : start + HEADER_BYTES] = header.pack()

    def _release(self) -> None:
        for view in (self.words, self.view):
            if view is not None:
                view.release()
        if self._map is not None:
            self._map.close()
            self.layouts = {}
        self.words = self.view = self._map = None
