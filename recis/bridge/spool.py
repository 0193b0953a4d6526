"""A writer's folder of segments: who it is, the lock that its owner holds, and where such folders are found.

Owns the folder and its lock; must not know what is in a segment (`segment`) or when it is sent (`outbox`, `client`).
"""

import contextlib
import fcntl
import json
import logging
import os
import shutil
import weakref
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from recis.bridge.segment import Segment

__all__ = ["SpoolFolder", "find_left_over", "is_local"]

_NETWORK_FILE_SYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "lustre", "ceph", "glusterfs", "beegfs", "gpfs", "afs"}
    | {"fuse.sshfs", "fuse.s3fs", "fuse.gcsfuse"}
)
_logger = logging.getLogger(__name__)


class SpoolFolder:
    """One writer's folder: `writer.json` (who it is), its segments, and a lock that its owner holds while it lives."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.aside = 0
        """Files that `segments` could not read, and left where they are."""
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
        for path in sorted(self.path.glob("*.seg")):
            try:
                found.append(Segment.recover(path))
            except ValueError as error:
                self.aside += 1
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
    """Folders of writers below `root` (or `root` itself) that have something to send, in the order of their starts."""
    if (root / "writer.json").is_file():
        return [root]
    found: list[tuple[int, Path]] = []
    for path in root.glob("*/writer.json"):
        with contextlib.suppress(FileNotFoundError):  # sent in between
            found.append((_start_ns(path), path.parent))
    return [path for _, path in sorted(found)]


def _start_ns(writer: Path) -> int:
    """As the writer noted it: files and folders change when a part of them is sent, and are copied in any order."""
    try:
        return int(json.loads(writer.read_bytes())["started_ns"])
    except (ValueError, TypeError, KeyError):
        return writer.stat().st_mtime_ns


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
