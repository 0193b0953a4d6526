"""SQLite as an engine: one file, a lock file beside it, and space reserved for when the disk is full.

Owns the file, its lock and its settings; must not know rows except those of `meta`.
"""

import contextlib
import fcntl
import os
import sqlite3
import time
from collections.abc import Collection
from pathlib import Path

from recis_server.errors import StoreError, StoreLost
from recis_server.store.engines import meta
from recis_server.store.engines.engine import Anchor, Connection, Engine
from recis_server.store.engines.files import NO_STORE, Files, Inside, inode_of
from recis_server.store.engines.reserve import Reserve
from recis_server.store.engines.schema import (
    COMPATIBLE_FROM,
    MIGRATIONS,
    SCHEMA_VERSION,
    TABLES,
    check_version,
    statements,
)

__all__ = ["SqliteEngine", "migrate"]

_READER_KIB = 8192
"""Page cache of a reading connection: holds the cells and the directory of a series of a hundred million points."""
_PATIENCE_S = 10.0
_OWNER_PAUSE_S, _PAUSE_S = 0.001, 0.02
"""How long a writer waits for another one, and the pause between attempts of the server and of any other process."""
_NO_STORE = (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_ERROR)
"""Errors for a file that is not a database, is damaged, or has other tables."""
_DAMAGED = (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT)
LOG_PAGES = 4000
"""Pages (4 KiB) after which the log is checkpointed: a longer log keeps the duration of commits even."""
_FREED_PAGES = 64
"""The most pages (4 KiB) freed at once."""
INSPECTED_PAGES = 8192
"""A file of up to this many pages (4 KiB) is inspected as a whole, which takes some tenths of a second."""
INSPECTION_SHARE = 0.05
"""The largest share of time spent on inspections, however often they are requested."""


class SqliteEngine(Engine):
    """A SQLite database file as an `engine.Engine`.

    Args:
        path: the database file; its folder is created if missing.
    """

    failures: tuple[type[Exception], ...] = (sqlite3.Error,)
    is_shared = False
    server_name = ""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock: int | None = None
        self._lock_path = _lock_path(path)
        self._reserve = Reserve(path)
        self._files = Files(path, self._read_inside)
        self._owner: sqlite3.Connection | None = None
        self._is_damaged = False
        self._next_inspection = 0.0

    def open(self, *, exclusive: bool, anchor: Anchor | None = None) -> Anchor:
        try:
            if anchor is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
            elif inode_of(self._path) != anchor.file or not self._files.may_be(anchor.identity):
                raise StoreLost("the store's file was removed or replaced", detail=f"{self._path} is not what it was")
            if exclusive:
                self._lock = _take_lock(self._path)
                self._reserve.let_start()
            self._owner = self.connect_writer()
            migrate(self._owner, str(self._path))
            identity = _identify(self._owner)
            if exclusive or anchor is not None:
                # So that the file itself identifies the store.
                self._copy_log(self._owner)
                self._files.remember()
                self._files.check()
        except sqlite3.DatabaseError as error:
            self.close()
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in _NO_STORE:
                raise StoreError(
                    f"expected a store of this program, {self._path} is another file or damaged: {error}"
                ) from error
            raise self._unwritable(error) from error
        except OSError as error:
            self.close()
            raise self._unwritable(error) from error
        except (StoreError, StoreLost):
            self.close()
            raise
        if not self._files.are_known:
            self._release_owner()
        return Anchor(identity, self._files.inode if self._files.are_known else ())

    def _unwritable(self, error: Exception) -> StoreError:
        return StoreError(f"expected a writable data folder, got {self._path.parent}: {error}")

    def _release_owner(self) -> None:
        owner, self._owner = self._owner, None
        if owner is not None:
            owner.close()

    def close(self) -> None:
        self._release_owner()
        self._files.forget()
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)

    def connect_writer(self) -> sqlite3.Connection:
        """Return the first connection, open since `open` so that the log stays the same file, then new ones."""
        owner, self._owner = self._owner, None
        return owner or self._connect()

    def _connect(self) -> sqlite3.Connection:
        # Once a store was opened, never create another one in its place.
        mode = "rw" if self._files.are_known else "rwc"
        uri = f"{self._path.absolute().as_uri()}?mode={mode}"
        connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=_PATIENCE_S)
        # FULL: an acknowledged frame has passed an fsync. Freed pages stay in the file until `give_back`, so that no
        # commit has to move pages. The cache holds the pages that a thousand runs write to, and a transaction of large
        # frames.
        try:
            for pragma in (
                "auto_vacuum=INCREMENTAL",
                "journal_mode=WAL",
                "synchronous=FULL",
                f"wal_autocheckpoint={LOG_PAGES}",
                "cache_size=-8192",
                "journal_size_limit=67108864",
            ):
                connection.execute(f"PRAGMA {pragma}")
        except BaseException:
            connection.close()
            raise
        return connection

    def connect_reader(self) -> sqlite3.Connection:
        uri = f"{self._path.absolute().as_uri()}?mode=ro"
        connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=_PATIENCE_S)
        connection.execute(f"PRAGMA cache_size=-{_READER_KIB}")
        return connection

    def begin_write(self, connection: Connection, runs: Collection[str] = ()) -> None:
        """See `Engine.begin_write`; there is one writer at a time.

        SQLite's busy handler retries ever more rarely and would never succeed between two transactions of the
        maintenance worker. Here the server retries often and the worker rarely, so the server waits for at most one
        transaction.
        """
        self.check()
        self._check_lock()
        pause_s = _OWNER_PAUSE_S if self._lock is not None else _PAUSE_S
        deadline = time.monotonic() + _PATIENCE_S
        connection.execute("PRAGMA busy_timeout = 0")
        try:
            while True:
                try:
                    connection.execute("BEGIN IMMEDIATE")
                    return
                except sqlite3.OperationalError as error:
                    if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                        raise
                time.sleep(pause_s)
        finally:
            connection.execute(f"PRAGMA busy_timeout = {int(_PATIENCE_S * 1000)}")

    def other_servers(self, connection: Connection) -> frozenset[str]:
        """Return nothing: the store has one server."""
        del connection
        return frozenset()

    def try_lease(self, connection: Connection, name: str) -> bool:
        """Return True: the store has one server and one worker."""
        del connection, name
        return True

    def end_lease(self, connection: Connection, name: str) -> None:
        """Do nothing, see `try_lease`."""

    def is_alive(self, connection: Connection) -> bool:
        """Return True: a connection is to a file."""
        del connection
        return True

    def begin_read(self, connection: Connection) -> None:
        self.check()
        connection.execute("BEGIN")

    def check(self) -> None:
        self._files.check()

    def let_go(self, connection: Connection) -> None:
        """See `Engine.let_go`.

        SQLite would apply the log to any file with the database's name. It is therefore checkpointed into the file that
        it belongs to, wherever that is now; it stays if the database was overwritten in place.
        """
        try:
            self.check()
        except StoreLost:
            if not self._files.are_overwritten:
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _check_lock(self) -> None:
        """Check that the lock file was not replaced; a removed one still holds, a new one does not."""
        if self._lock is None or _is_at(self._lock, self._lock_path):
            return
        try:
            lock = _take_lock(self._path)
        except (StoreError, OSError) as error:
            raise StoreLost("another server has taken over the store", detail=str(error)) from error
        os.close(self._lock)
        self._lock = lock

    def _read_inside(self) -> Inside | None:
        uri = f"{self._path.absolute().as_uri()}?mode=ro&immutable=1"
        try:
            with contextlib.closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as alone:
                numbers = meta.read(alone)
        except sqlite3.Error as error:
            # Not a database, or one without that table.
            is_other = getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)
            return NO_STORE if is_other else None
        number = numbers.get(meta.COMMIT_NUMBER)
        return None if number is None else (numbers.get(meta.IDENTITY, 0), number)

    def inspect(self, connection: Connection) -> None:
        if self._is_damaged:
            raise sqlite3.DatabaseError("an earlier statement has found that the file is damaged")
        for table in TABLES:
            connection.execute(f"SELECT * FROM {table} LIMIT 1").fetchone()  # noqa: S608 - names of ours
        connection.execute("SELECT * FROM frame ORDER BY id DESC LIMIT 1").fetchone()
        (num_pages,) = connection.execute("PRAGMA page_count").fetchone()
        began = time.monotonic()
        if num_pages <= INSPECTED_PAGES and began >= self._next_inspection:
            (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if found != "ok":
                self._is_damaged = True
                raise sqlite3.DatabaseError(found)
            self._next_inspection = began + (time.monotonic() - began) / INSPECTION_SHARE

    def explain(self, error: Exception) -> str:
        """See `Engine.explain`; SQLite's own messages name no path."""
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED:
            # Damage is permanent, and not every statement encounters it.
            self._is_damaged = True
        return str(error)

    def rollback(self, connection: Connection) -> None:
        # A full disk rolls the transaction back implicitly; then there is nothing left to do.
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")

    def give_back(self, connection: Connection) -> bool:
        self.check()
        (free,) = connection.execute("PRAGMA freelist_count").fetchone()
        if not free:
            self._reserve.hold()
            return False
        assert isinstance(connection, sqlite3.Connection)
        # A script, because the statement reports a row for every page without having one and would end after the first.
        try:
            connection.executescript(f"PRAGMA incremental_vacuum({_FREED_PAGES})")
        except sqlite3.Error:
            if not self.make_room(connection, reserve=False):
                raise
            connection.executescript(f"PRAGMA incremental_vacuum({_FREED_PAGES // 16})")
        if free > _FREED_PAGES:
            return True
        # The file itself shrinks at the next checkpoint.
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        return False

    def make_room(self, connection: Connection, *, reserve: bool) -> bool:
        try:
            self.check()
        except StoreLost:
            return False
        made = reserve and self._reserve.release()
        # The log restarts once all of it is checkpointed, which makes room for what follows. SQLite does so only when
        # the log is long, which never happens on a full disk.
        return self._copy_log(connection) or made

    def _copy_log(self, connection: Connection) -> bool:
        """Checkpoint the log as far as readers permit; return whether all of it was."""
        with contextlib.suppress(sqlite3.Error):
            _, log, copied = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            return bool(log == copied)
        return False


def _lock_path(database: Path) -> Path:
    return database.with_name(database.name + ".lock")


def _take_lock(database: Path) -> int:
    """Lock the file beside the database as long as the returned descriptor is open; a kill releases the lock."""
    path = _lock_path(database)
    while True:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = os.read(lock, 32).decode(errors="replace").strip() or "unknown"
            os.close(lock)
            raise StoreError(
                f"expected a data folder for this server alone, {database} is in use by process {owner}"
            ) from error
        if _is_at(lock, path):
            break
        os.close(lock)  # removed between the two calls: somebody else may have made another one
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return lock


def _is_at(descriptor: int, path: Path) -> bool:
    """Return whether the open file is the one at the path."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False


def _identify(connection: sqlite3.Connection) -> int:
    """Return the store's identity; 0 if it has none yet and there is no space to assign one."""
    known = meta.read(connection).get(meta.IDENTITY)
    if known is not None:
        return known
    try:
        connection.execute("BEGIN IMMEDIATE")
        known = meta.identify(connection)
        connection.execute("COMMIT")
    except sqlite3.OperationalError:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        return 0
    return known


def migrate(connection: sqlite3.Connection, place: str) -> None:
    """Migrate the tables to `SCHEMA_VERSION`, one transaction per migration; `PRAGMA user_version` counts them.

    Raises:
        StoreError: the store was written by a newer version of this program that this one cannot share it with.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    check_version(connection, version, place)
    if 0 < version < 2:
        # Changing `auto_vacuum` of a file with tables requires rewriting all of it.
        connection.execute("VACUUM")
    for number, parts in enumerate(MIGRATIONS[version:], start=version + 1):
        connection.execute("BEGIN IMMEDIATE")
        for part in parts:
            if callable(part):
                part(connection)
                continue
            # Statement by statement: the driver's function for scripts would commit the transaction first.
            for statement in statements(part):
                connection.execute(statement)
        if number == SCHEMA_VERSION:
            meta.write(connection, meta.COMPATIBLE_FROM, COMPATIBLE_FROM)
        connection.execute(f"PRAGMA user_version = {number}")
        connection.execute("COMMIT")
