"""SQLite's files while they are open: whether each is still at its path and still the same.

A process with an open file is not told of its removal: it would go on writing to a file that nobody can find. Owns what
is known of the database, its log and the log's index; must not know connections or SQL.
"""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from recis_server.errors import StoreLost

__all__ = ["NO_STORE", "Files", "Inode", "Inside", "inode_of"]

Inode = tuple[int, int]
"""Device and inode number, which distinguish a file from another one of the same name."""
Inside = tuple[int, int]
"""The content of a database file without its log: the store's identity and commit number."""
NO_STORE: Inside = (0, -1)
"""A file that is empty or was not written by this program."""
LOOK_S = 0.5
"""Shortest interval between two inspections of the database file."""
ODD_LOOKS, ODD_PAUSE_S = 3, 0.05
"""Consecutive inspections of an implausible file: a single one may coincide with a checkpoint of the log."""


class Files:
    """Checks that an open database is still the file at its path. Thread-safe.

    Args:
        database: the path of the database.
        read_inside: reads the database file without its log; None if it is inconclusive: a full disk may have
            interrupted a checkpoint.
    """

    def __init__(self, database: Path, read_inside: Callable[[], Inside | None]) -> None:
        self._database = database
        self._read_inside = read_inside
        self._known: dict[Path, Inode] = {}
        self._mark: tuple[int, int, int] | None = None
        self._inside: Inside | None = None
        self._is_overwritten = False
        self._looking = threading.Lock()
        self._next_look = 0.0

    @property
    def are_known(self) -> bool:
        """Return whether `remember` was called."""
        return bool(self._known)

    @property
    def are_overwritten(self) -> bool:
        """Return whether another program has overwritten the database file."""
        return self._is_overwritten

    @property
    def inode(self) -> Inode:
        """Return the inode of the remembered database."""
        return self._known[self._database]

    def may_be(self, identity: int) -> bool:
        """Return whether the database file identifies itself as this store, or is inconclusive."""
        inside = self._read_inside()
        return inside is None or inside[0] == identity

    def remember(self) -> None:
        """Remember the current files; call it while a connection is open that has read.

        Raises:
            OSError: one of the files does not exist.
        """
        log = [self._database.with_name(self._database.name + end) for end in ("-wal", "-shm")]
        self._known = {path: _inode(path.stat()) for path in (self._database, *log)}

    def forget(self) -> None:
        """Forget the files after all connections are closed."""
        self._known = {}
        self._mark = self._inside = None

    def check(self) -> None:
        """Check the files; takes some microseconds, before and after every transaction.

        Raises:
            StoreLost: a file was removed or replaced, until it is back; or it was overwritten.
        """
        self._look_in_time()
        for path, known in self._known.items():
            try:
                found = _inode(path.stat())
            except OSError as error:
                raise StoreLost(
                    f"the store's {self._name(path)} was removed or moved while the server ran; put it back, or"
                    " restart the server",
                    detail=f"{path}: {error.strerror}",
                ) from error
            if found != known:
                raise StoreLost(
                    f"the store's {self._name(path)} was replaced while the server ran; restart the server",
                    detail=f"{path} is another file than the one that was opened",
                )
        if self._is_overwritten:
            raise StoreLost(
                "the store's file was overwritten while the server ran; stop the server, copy the file to its"
                " place again without the -wal and -shm files beside it, and start the server",
                detail=f"{self._database} was written by something else than this server",
            )

    def _look_in_time(self) -> None:
        now = time.monotonic()
        if now < self._next_look or not self._known or not self._looking.acquire(blocking=False):
            return
        try:
            for _ in range(ODD_LOOKS):
                if self._look():
                    break
                time.sleep(ODD_PAUSE_S)
            else:
                self._is_overwritten = True
            self._next_look = now + LOOK_S
        finally:
            self._looking.release()

    def _look(self) -> bool:
        """Read the database file itself, without its log, if it has changed; return whether its content is plausible.

        Checkpoints of the log only ever make it newer. Any other content was written by something else: another store,
        or an older copy of this one. A newer copy does no harm, because all later commits are in the log.
        """
        try:
            found = self._database.stat()
        except OSError:
            return True  # for `check` to say
        mark = (found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        if mark == self._mark:
            return True
        inside = self._read_inside()
        known = self._inside
        if inside is not None and known is not None and (inside[0] != known[0] or inside[1] < known[1]):
            return False
        if inside not in (None, NO_STORE):
            self._inside = inside
        self._mark = mark
        return True

    def _name(self, path: Path) -> str:
        return "file" if path == self._database else f"file *{path.name.removeprefix(self._database.name)}"


def inode_of(path: Path) -> Inode | None:
    """Return the inode of the file at the path, None if there is none."""
    try:
        return _inode(path.stat())
    except OSError:
        return None


def _inode(found: os.stat_result) -> Inode:
    return found.st_dev, found.st_ino
