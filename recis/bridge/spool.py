"""Manage a writer's folder of segments: its identity, its owner's lock, and finding such folders.

Owns the folder and its lock; must not know what is in a segment (`segment`) or when it is sent (`sender`).
"""

import contextlib
import logging
import re
import shutil
import socket
import weakref
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from recis.bridge.files import read_checked, write_checked
from recis.bridge.records import tag_of
from recis.bridge.segment import AnotherVersionError, Segment
from recis.bridge.set_aside import FOLDER, SetAside
from recis.system import after_fork_in_child, is_process_alive, try_lock

__all__ = ["SpoolFolder", "find_left_over", "is_local", "writer_lives"]

_NETWORK_FILE_SYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "lustre", "ceph", "glusterfs", "beegfs", "gpfs", "afs"}
    | {"fuse.sshfs", "fuse.s3fs", "fuse.gcsfuse"}
)
_folder_name = re.compile(r".+-\d+-[^-]{1,8}", re.DOTALL).fullmatch
"""Folder names, as `opening` creates them: run, rank and first characters of the writer."""
_logger = logging.getLogger(__name__)


class SpoolFolder:
    """One writer's folder: `writer.json` (its identity), its segments, and a lock that its owner holds while it lives.

    Attributes:
        path: the folder.
        set_aside: account of what cannot be sent.
        num_kept: number of files that `segments` left in place because they are unreadable now or of another version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.set_aside = SetAside(path)
        self.num_kept = 0
        self._unusable: list[Path] = []
        self._lock: BinaryIO | None = None
        self._lingers = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def create(self, identity: dict[str, Any]) -> None:
        """Create and lock the folder; raise `OSError` if that fails."""
        self.path.mkdir(parents=True, mode=0o700)
        (self.path / "lock").touch(0o600)
        if not self.acquire():
            raise OSError(f"expected to be the only user of {self.path}, but another process holds its lock")
        # Last, because a folder without this file has nothing to send.
        write_checked(self.path / "writer.json", identity)

    def acquire(self) -> bool:
        """Take the lock; return False if a living process has it. The kernel releases it however that process ends.

        Raises:
            FileNotFoundError: the folder is gone: its owner, or another process that took it over, has deleted it.
        """
        lock = self.path / "lock"
        if not lock.exists() and writer_lives(self.path):
            return False  # its owner still holds the lock on the deleted file
        file = lock.open("a+b")  # creates the file: a copied folder may lack it
        if not try_lock(file):
            file.close()
            return False
        self._lock = file
        _locked.add(self)
        return True

    def identity(self) -> dict[str, Any]:
        """Return what was passed to `create`.

        Raises:
            FileNotFoundError: the folder has nothing to send, not yet or no longer.
            OSError, ValueError: the file is unreadable or damaged.
        """
        try:
            identity: dict[str, Any] = read_checked(self.path / "writer.json")
        except FileNotFoundError:
            if not any(self.path.glob("*.seg")):
                raise
            raise ValueError(
                f"expected {self.path / 'writer.json'}, without which the run of the segments beside it is unknown"
            ) from None
        return identity

    def segments(self) -> list[Segment]:
        """Recover all segments of this writer, in order; other files are reported, and stay until `remove`."""
        try:
            writer = tag_of(self.identity()["writer"])
        except (OSError, ValueError, TypeError, KeyError):
            writer = None
        found: dict[int, Segment] = {}
        for path in sorted(self.path.glob("*.seg")):
            try:
                segment = Segment.recover(path)
                if writer is not None and segment.writer not in (writer, 0):
                    raise ValueError(f"expected a segment of this folder's writer in {path}, got one of another writer")
                if segment.number in found:
                    raise ValueError(
                        f"expected one file per segment, got {path}, a copy of {found[segment.number].path}"
                    )
                found[segment.number] = segment
            except AnotherVersionError as error:
                self.num_kept += 1
                _logger.warning("leaving %s in place: %s", path, error)
            except (ValueError, FileNotFoundError, IsADirectoryError) as error:
                self._unusable.append(path)
                self.set_aside.note(path.name, 0, 0, 0, f"the whole file: {error}")
            except OSError as error:
                self.num_kept += 1
                _logger.warning("leaving %s in place: %s", path, error)
        segments = [segment for _, segment in sorted(found.items())]
        if writer is not None and segments and not any(segment.writer for segment in segments):
            why = "empty, although every run starts with a record; how much was lost is unknown"
            self.set_aside.note(segments[0].name, 0, 0, 0, why)
        return segments

    def remove(self) -> None:
        """Delete the folder, and its parent if that is empty; what was set aside stays for inspection."""
        for path in self._unusable:
            self.set_aside.keep(path)
        if len(self.set_aside):
            # First, because without this file the folder has nothing to send.
            self.set_aside.keep(self.path / "writer.json")
        self._delete()
        # Windows does not delete open files.
        self._lingers = self._lock is not None and (self.path / "lock").exists()

    def _delete(self) -> None:
        if len(self.set_aside):
            for path in self.path.iterdir():
                if path.name != FOLDER:
                    with contextlib.suppress(*((PermissionError,) if path.name == "lock" else ())):
                        _delete(path)
            return
        _delete(self.path)
        with contextlib.suppress(OSError):  # other writers are still there
            self.path.parent.rmdir()

    def close(self) -> None:
        """Release the lock; in a forked child close only this process's handle. Safe to call twice."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None
            if self._lingers:
                self._delete()


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _let_go() -> None:
    """Close the locks in a forked child: a child that outlives its parent must not keep the folder from being sent."""
    for folder in list(_locked):
        folder.close()


_locked: "weakref.WeakSet[SpoolFolder]" = weakref.WeakSet()
after_fork_in_child(_let_go)


def writer_lives(path: Path) -> bool:
    """Return whether the process that created the folder is alive, as far as this host can tell."""
    try:
        identity = SpoolFolder(path).identity()
        pid, is_here = int(identity["pid"]), bool(identity["host"] == socket.gethostname())
    except (OSError, ValueError, TypeError, KeyError):
        return False
    return is_here and is_process_alive(pid)


def find_left_over(root: Path) -> list[Path]:
    """Return the folders of writers below `root` (or `root` itself) that have something to send, oldest start first.

    Includes folders that are unreadable, or that have segments but no `writer.json`, so that they are reported.

    Raises:
        OSError: `root` cannot be read.
    """
    if (root / "writer.json").is_file():
        return [root]
    try:
        found = [path for path in root.iterdir() if path.name != FOLDER and _is_writers(path)]
    except FileNotFoundError:
        return []
    if not found and _is_writers(root.absolute()):
        return [root]
    return sorted(found, key=lambda path: (_start_ns(path), path))


def _is_writers(path: Path) -> bool:
    is_ours = _folder_name(path.name) is not None
    try:
        return (path / "writer.json").exists() or (is_ours and any(each.suffix == ".seg" for each in path.iterdir()))
    except (FileNotFoundError, NotADirectoryError):
        return False  # sent meanwhile
    except OSError:
        return is_ours


def _start_ns(folder: Path) -> int:
    """Return the start time from `writer.json`: the times of files change when a part is sent or they are copied."""
    try:
        return int(read_checked(folder / "writer.json")["started_ns"])
    except (OSError, ValueError, TypeError, KeyError):
        with contextlib.suppress(OSError):
            return folder.stat().st_mtime_ns
        return 0


def is_local(path: Path, mounts: Path = Path("/proc/mounts")) -> bool:
    """Return whether `path` is on a local file system: a mapped file over the network can stall or kill the process."""
    target = path.resolve()
    best, kind = "", ""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return True  # no list of mounts on this system: assume the common case
    for line in lines:
        _, place, file_system, *_ = [*line.split(" "), "", "", ""]
        if target.is_relative_to(place) and len(place) >= len(best):
            best, kind = place, file_system
    return kind not in _NETWORK_FILE_SYSTEMS
