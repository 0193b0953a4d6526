"""The files that hold what is not acknowledged yet: a row of preallocated, memory-mapped segments per writer.

Owns the layout on disk, recovery of what a killed process left, and the writer's folder with its lock; must not know
when a frame is cut or sent (`outbox`, `client`), nor what a record means.

Segment file, little-endian: `RECISSPL`, u32 layout version, u32 segment number, u64 number of the last frame before
it (so that numbering goes on when all earlier segments are gone), then records. Record: u32 payload
length, u32 CRC-32 of the payload, payload. The length is written last, so a record is there whole or not at all:
pages of a mapped file outlive the process. A length of zero, or a wrong checksum, ends the segment.
"""

import contextlib
import fcntl
import functools
import json
import logging
import mmap
import os
import shutil
import struct
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self
from zlib import crc32

import numpy as np

__all__ = [
    "CUT",
    "KEYS",
    "RECORD",
    "ROW",
    "FrameSpan",
    "Segment",
    "SpoolFolder",
    "find_left_over",
    "is_local",
    "records_of",
    "runs_of",
]

MAGIC = b"RECISSPL"
LAYOUT_VERSION = 1
HEADER = struct.Struct("<8sIIQ")
RECORD_HEADER = struct.Struct("<II")
CUT_PAYLOAD = struct.Struct("<BQQ")
"""Kind, frame number, points that the writer has dropped so far."""
CUT_BYTES = RECORD_HEADER.size + CUT_PAYLOAD.size

KEYS, ROW, RECORD, CUT = range(4)
"""First byte of a payload: names of a row layout, a row of numbers, an encoded wire record, the end of a frame."""

_NETWORK_FILE_SYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "lustre", "ceph", "glusterfs", "beegfs", "gpfs", "afs"}
    | {"fuse.sshfs", "fuse.s3fs", "fuse.gcsfuse"}
)
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FrameSpan:
    """Where the records of frame `n` lie in their segment, as byte offsets; `points` is how many values they hold."""

    n: int
    start: int
    stop: int
    points: int
    dropped: int


@dataclass(slots=True)
class Segment:
    """One file, mapped while it is written; without a path it lives in memory only.

    `end` is where the next record goes, `size` the room there is; the last `CUT_BYTES` are kept for the cut.
    """

    number: int
    size: int
    path: Path | None
    view: memoryview | None = None
    end: int = HEADER.size
    last_before: int = 0
    frames: list[FrameSpan] = field(default_factory=list)
    _map: mmap.mmap | None = None

    @classmethod
    def create(cls, number: int, size: int, folder: Path | None) -> Self:
        """A new, empty, fully allocated segment.

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
        segment = cls(number, size, path, memoryview(mapped), _map=mapped)
        segment.begin(0)
        return segment

    def begin(self, last_before: int) -> None:
        """Notes the last frame number before this segment; called when the segment becomes the one that is written."""
        assert self.view is not None
        self.last_before = last_before
        HEADER.pack_into(self.view, 0, MAGIC, LAYOUT_VERSION, self.number, last_before)

    @classmethod
    def recover(cls, path: Path, row_points: dict[int, int]) -> Self:
        """What a stopped process left in `path`, with the spans of its frames.

        Args:
            path: a segment file.
            row_points: scratch space for the number of values per row layout, emptied here.

        Raises:
            ValueError: the file is no segment of this layout.
        """
        data = path.read_bytes()
        if len(data) < HEADER.size or data[:8] != MAGIC:
            raise ValueError(f"expected a segment that starts with {MAGIC!r}, got {data[:8]!r} in {path}")
        _, version, number, last_before = HEADER.unpack_from(data)
        if version != LAYOUT_VERSION:
            raise ValueError(f"expected spool layout {LAYOUT_VERSION}, got {version} in {path}")
        segment = cls(number, len(data), path, last_before=last_before)
        row_points.clear()
        start = offset = HEADER.size
        points = 0
        for offset, payload in records_of(memoryview(data), HEADER.size, len(data)):
            kind = payload[0]
            if kind == KEYS:
                row_points[int.from_bytes(payload[2:4], "little")] = int.from_bytes(payload[4:8], "little")
            elif kind == ROW:
                points += row_points.get(int.from_bytes(payload[2:4], "little"), 0)
            elif kind == CUT:
                _, n, dropped = CUT_PAYLOAD.unpack(payload)
                segment.frames.append(FrameSpan(n, start, offset, points, dropped))
                start, points = offset + CUT_BYTES, 0
            segment.end = offset + RECORD_HEADER.size + len(payload)
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
        return self.size - self.end - CUT_BYTES - RECORD_HEADER.size

    def append(self, payload: bytes) -> None:
        """Writes one record; the caller has checked `room` (a cut may use the place that is kept for it)."""
        assert self.view is not None
        start = self.end + RECORD_HEADER.size
        self.view[start : start + len(payload)] = payload
        RECORD_HEADER.pack_into(self.view, self.end, len(payload), crc32(payload))
        self.end = start + len(payload)

    def cut(self, n: int, points: int, dropped: int) -> FrameSpan:
        """Ends frame `n` here: from now on the same number always means the same records."""
        span = FrameSpan(n, self.first_uncut, self.end, points, dropped)
        self.append(CUT_PAYLOAD.pack(CUT, n, dropped))
        self.frames.append(span)
        return span

    def cut_recovered(self, n: int, points: int, dropped: int) -> None:
        """As `cut` for a segment that is not mapped, written through the file."""
        assert self.path is not None
        payload = CUT_PAYLOAD.pack(CUT, n, dropped)
        with self.path.open("r+b") as file:
            file.seek(self.end)
            file.write(RECORD_HEADER.pack(len(payload), crc32(payload)) + payload)
        self.frames.append(FrameSpan(n, self.first_uncut, self.end, points, dropped))
        self.end += CUT_BYTES

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
        if self.path is not None and self.view is not None and self._map is not None:
            self.view.release()
            self._map.close()
            self.view = self._map = None

    def remove(self) -> None:
        """Forgets the segment and its file."""
        if self.view is not None and self._map is not None:
            self.view.release()
            self._map.close()
            self.view = self._map = None
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def records_of(data: memoryview, start: int, stop: int) -> Iterator[tuple[int, memoryview]]:
    """The whole records in `data[start:stop]`, each with its offset; stops at the first that is torn."""
    offset = start
    while offset + RECORD_HEADER.size < stop:
        length, checksum = RECORD_HEADER.unpack_from(data, offset)
        payload = data[offset + RECORD_HEADER.size : offset + RECORD_HEADER.size + length]
        if length == 0 or len(payload) < length or crc32(payload) != checksum:
            return
        yield offset, payload
        offset += RECORD_HEADER.size + length


def runs_of(data: memoryview, start: int, stop: int) -> Iterator[tuple[memoryview, memoryview]]:
    """The records in `data[start:stop]`, which are known to be whole, with neighbouring rows of one layout as one item.

    A loop over every row would keep the interpreter from the training thread for as long as it takes.

    Yields:
        The first record's payload, and all bytes of the item, headers included.
    """
    offset = start
    while offset < stop:
        length, _ = RECORD_HEADER.unpack_from(data, offset)
        size = RECORD_HEADER.size + length
        count = _count_alike(data, offset, stop, size) if data[offset + RECORD_HEADER.size] == ROW else 1
        yield data[offset + RECORD_HEADER.size : offset + size], data[offset : offset + count * size]
        offset += count * size


def _count_alike(data: memoryview, offset: int, stop: int, size: int) -> int:
    """How many rows from `offset` on have the size and the layout of the first."""
    most = (stop - offset) // size
    first = np.frombuffer(data, _heads(size), 1, offset)
    count, window = 1, 1
    while count < most:
        rows = np.frombuffer(data, _heads(size), min(window, most - count), offset + count * size)
        others = (rows["length"] != first["length"]) | (rows["layout"] != first["layout"])
        if others.any():
            return count + int(others.argmax())
        count += len(rows)
        window *= 8
    return count


@functools.lru_cache(maxsize=64)
def _heads(size: int) -> np.dtype[np.void]:
    """Length, and the first four bytes of the payload, of rows that take `size` bytes each."""
    return np.dtype({"names": ["length", "layout"], "formats": ["<u4", "<u4"], "offsets": [0, 8], "itemsize": size})


class SpoolFolder:
    """One writer's folder: `writer.json` (who it is), its segments, and a lock that its owner holds while it lives."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: BinaryIO | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def create(self, identity: dict[str, Any]) -> None:
        """Makes and locks the folder; raises `OSError` where that cannot be done."""
        self.path.mkdir(parents=True, mode=0o700)
        (self.path / "lock").touch(0o600)
        if not self.acquire():
            raise OSError(f"expected to be the only user of {self.path}, but another process holds its lock")
        # Last: a folder without this file has nothing to send.
        partial = self.path / "writer.tmp"
        partial.write_text(json.dumps(identity), encoding="utf-8")
        partial.rename(self.path / "writer.json")

    def acquire(self) -> bool:
        """Takes the lock; False when a living process has it. The kernel frees it however that process ends.

        Raises:
            FileNotFoundError: the folder has gone: its owner, or another process that took it over, was done with it.
        """
        file = (self.path / "lock").open("r+b")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            return False
        self._lock = file
        _locked.add(self)
        return True

    def identity(self) -> dict[str, Any]:
        """What `create` was given; raises `OSError` or `ValueError` where it is unreadable."""
        identity: dict[str, Any] = json.loads((self.path / "writer.json").read_text(encoding="utf-8"))
        return identity

    def segments(self) -> list[Segment]:
        """All readable segments in order; unreadable ones are reported and left where they are."""
        found = []
        scratch: dict[int, int] = {}
        for path in sorted(self.path.glob("*.seg")):
            try:
                found.append(Segment.recover(path, scratch))
            except ValueError as error:
                _logger.warning("leaving %s aside: %s", path, error)
        return found

    def remove(self) -> None:
        """Deletes the folder, and its parent when that is empty."""
        shutil.rmtree(self.path, ignore_errors=True)
        with contextlib.suppress(OSError):  # other writers are still there
            self.path.parent.rmdir()

    def close(self) -> None:
        """Frees the lock, or in a forked child only this process's hold on it. Safe to call twice."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def _let_go() -> None:
    """A forked child that outlives its parent must not keep the parent's folder from being sent."""
    for folder in list(_locked):
        folder.close()


_locked: "weakref.WeakSet[SpoolFolder]" = weakref.WeakSet()
os.register_at_fork(after_in_child=_let_go)


def find_left_over(root: Path) -> list[Path]:
    """Folders of writers below `root` (or `root` itself) that have something to send, oldest first."""
    if (root / "writer.json").is_file():
        return [root]
    folders = [path.parent for path in root.glob("*/writer.json")]
    return sorted(folders, key=lambda path: path.stat().st_mtime_ns)


def is_local(path: Path, mounts: Path = Path("/proc/mounts")) -> bool:
    """Whether `path` lies on a local file system: a mapped file over the network can stall or kill the process."""
    target = path.resolve()
    best, kind = "", ""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return True  # no such list on this system: assume the common case
    for line in lines:
        _, place, file_system, *_ = [*line.split(" "), "", "", ""]
        if target.is_relative_to(place) and len(place) >= len(best):
            best, kind = place, file_system
    return kind not in _NETWORK_FILE_SYSTEMS
