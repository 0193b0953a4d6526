"""Disk space reserved beside a database, so that data can be removed from it when the disk is full.

Owns the file that holds the space. Must not know SQL or what is removed.
"""

import contextlib
import os
from pathlib import Path
from typing import BinaryIO

__all__ = ["Reserve"]

RESERVE_BYTES = 24 << 20
"""The database's growth when its whole log is checkpointed (`sqlite.LOG_PAGES`), and half as much again for the log of
a removal."""
WORTH_BYTES = 4 << 20
"""Smaller databases, including their log, have no reserve: a removal would free hardly any space."""
START_BYTES = 1 << 20
"""What a server needs to start; if less is free, it comes out of the reserve."""


class Reserve:
    """A file of `RESERVE_BYTES` beside a database, given up when the disk is full.

    Args:
        database: the path of the database; the reserve lies beside it as `….reserve`.
    """

    def __init__(self, database: Path) -> None:
        self._database = database
        self._log = database.with_name(database.name + "-wal")
        self._path = database.with_name(database.name + ".reserve")

    def hold(self) -> None:
        """Reserve the space if the database is large enough and half as much again is free."""
        with contextlib.suppress(OSError):
            if (
                _size(self._path) >= RESERVE_BYTES
                or _size(self._database) + _size(self._log) < WORTH_BYTES
                or self._free() < RESERVE_BYTES * 3 // 2
            ):
                return
            with self._path.open("ab") as file:
                _allocate(file, RESERVE_BYTES)

    def release(self) -> bool:
        """Release all of it; return whether there was any."""
        try:
            self._path.unlink()
        except OSError:
            return False
        return True

    def let_start(self) -> None:
        """Release as much as a start needs if the disk has less."""
        with contextlib.suppress(OSError):
            if self._path.exists() and self._free() < START_BYTES:
                os.truncate(self._path, max(0, self._path.stat().st_size - START_BYTES))

    def _free(self) -> int:
        found = os.statvfs(self._database.parent)
        return found.f_bavail * found.f_frsize


def _allocate(file: BinaryIO, size: int) -> None:
    """Extend a file that is open for appending."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
    else:  # not on macOS
        file.write(bytes(size - os.fstat(file.fileno()).st_size))


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
