"""SQLite's files while they are open: whether each is still where it was, and what it was.

A process that has a file open hears nothing of its removal: what it writes goes on into a file that nobody finds again.
Owns what is remembered of the database, its log and the log's index; must not know connections or SQL.
"""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from recis_server.errors import StoreLost

__all__ = ["NO_STORE", "Files", "Inode", "Inside", "inode_of"]

Inode = tuple[int, int]
"""Device and number: what tells a file from another one that has taken its name."""
Inside = tuple[int, int]
"""What a database file says by itself, without its log: which store it is, and up to which commit it has come."""
NO_STORE: Inside = (0, -1)
"""What is in a file that is none of this program's, or empty."""
LOOK_S = 0.5
"""How often what is in the database file is looked at, at most."""
ODD_LOOKS, ODD_PAUSE_S = 3, 0.05
"""Looks in a row at a file that makes no sense: a single one may have met a log that was being copied into it."""


class Files:
    """See the module; used by any thread.

    Args:
        database: the path of the database.
        read_inside: reads the database file without its log; None where that says nothing: a disk that was full may
            have stopped a log from being copied into it halfway.
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
        """Whether `remember` was called."""
        return bool(self._known)

    @property
    def are_overwritten(self) -> bool:
        """Whether something else was written into the database file."""
        return self._is_overwritten

    @property
    def inode(self) -> Inode:
        """Of the database that was remembered."""
        return self._known[self._database]

    def may_be(self, identity: int) -> bool:
        """Whether the database file says of itself that it is this store, or says nothing."""
        inside = self._read_inside()
        return inside is None or inside[0] == identity

    def remember(self) -> None:
        """Takes the files as they are now; while a connection is open that has read.

        Raises:
            OSError: one of them is not there.
        """
        log = [self._database.with_name(self._database.name + end) for end in ("-wal", "-shm")]
        self._known = {path: _inode(path.stat()) for path in (self._database, *log)}

    def forget(self) -> None:
        """All connections are closed."""
        self._known = {}
        self._mark = self._inside = None

    def check(self) -> None:
        """Takes some microseconds: before and after every transaction.

        Raises:
            StoreLost: a file is gone, or another one has its name, until it is back; or it was written over.
        """
        self._look_in_time()
        for path, known in self._known.items():
            try:
                found = _inode(path.stat())
            except OSError as error:
                raise StoreLost(
                    f"the store's {self._name(path)} was removed or moved while the server ran; put it back, or start"
                    " the server again",
                    detail=f"{path}: {error.strerror}",
                ) from error
            if found != known:
                raise StoreLost(
                    f"the store's {self._name(path)} was replaced while the server ran; start the server again",
                    detail=f"{path} is another file than the one that was opened",
                )
        if self._is_overwritten:
            raise StoreLost(
                "the store's file was overwritten while the server ran; stop the server, put the file in its place"
                " anew without the -wal and -shm beside it, and start the server",
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
        """Reads what lies in the database file itself, without its log, where that has changed; whether it makes sense.

        It only ever gets newer, as the log is copied into it. What does not has been written over it: another store, or
        an older copy of this one. A newer copy changes nothing, for all that came since is in the log.
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
    """That of the file at the path, None where there is none."""
    try:
        return _inode(path.stat())
    except OSError:
        return None


def _inode(found: os.stat_result) -> Inode:
    return found.st_dev, found.st_ino
