"""SQLite's files while they are open: whether each is still where it was, and what it was.

A process that has a file open hears nothing of its removal: what it writes goes on into a file that nobody finds again.
Owns what is remembered of the database, its log and the log's index; must not know connections that write.
"""

import os
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

from recis_server.errors import StoreLost
from recis_server.store import meta

__all__ = ["Files", "Inode", "inode_of"]

Inode = tuple[int, int]
"""Device and number: what tells a file from another one that has taken its name."""
LOOK_S = 0.5
"""How often what is in the database file is looked at, at most."""
ODD_LOOKS, ODD_PAUSE_S = 3, 0.05
"""Looks in a row at a file that makes no sense: a single one may have met a log that was being copied into it."""


class Files:
    """See the module; used by any thread.

    Args:
        database: the path of the database.
    """

    def __init__(self, database: Path) -> None:
        self._database = database
        self._known: dict[Path, Inode] = {}
        self._mark: tuple[int, int, int] | None = None
        self._inside: tuple[int, int] | None = None
        self._is_overwritten = False
        self._looking = threading.Lock()
        self._next_look = 0.0

    @property
    def are_known(self) -> bool:
        """Whether `remember` was called."""
        return bool(self._known)

    @property
    def inode(self) -> Inode:
        """Of the database that was remembered."""
        return self._known[self._database]

    def may_be(self, identity: int) -> bool:
        """Whether the database file says of itself that it is this store, or says nothing yet."""
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
        if self._inside is not None and (inside is None or inside[0] != self._inside[0] or inside[1] < self._inside[1]):
            return False
        self._mark, self._inside = mark, inside
        return True

    def _read_inside(self) -> tuple[int, int] | None:
        """Identity and number of the newest commit as the file alone has them; None where it has none."""
        uri = f"{self._database.absolute().as_uri()}?immutable=1"
        try:
            with closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as alone:
                numbers = meta.read(alone)
                return numbers[meta.IDENTITY], numbers[meta.COMMIT_NUMBER]
        except (sqlite3.Error, KeyError):
            return None

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
