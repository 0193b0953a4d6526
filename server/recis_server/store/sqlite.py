"""The store on SQLite: one file beside its lock, one write thread, a few readers.

Owns opening, locking and closing; which thread runs what. What the calls promise is said in `interface`.
"""

import fcntl
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from recis.wire.messages import Hello
from recis_server.errors import StoreError
from recis_server.store import ledger, points, registration, rows
from recis_server.store.codec import dump
from recis_server.store.frames import FrameBatch
from recis_server.store.interface import (
    CommandRow,
    Commit,
    ControlRow,
    EventRow,
    MetricRow,
    PassRow,
    PointsSlice,
    RunPage,
    RunRow,
    StoredFrame,
    StreamRow,
    TokenRow,
    TraceRow,
)
from recis_server.store.reader import Reader
from recis_server.store.schema import migrate
from recis_server.store.writer import Writer

__all__ = ["SqliteStore"]

T = TypeVar("T")


class SqliteStore:
    """See the module and `interface.Store`.

    Args:
        path: the database file; its folder is created when missing.
        exclusive: whether this process is the server of this file. Tools beside a running server say no; they may read
            and write single rows but must not append frames.
        observe: called with the seconds and the number of frames of each commit.
    """

    def __init__(
        self,
        path: Path,
        *,
        exclusive: bool = True,
        observe: Callable[[float, Commit], None] = lambda seconds, commit: None,
    ) -> None:
        self._path = path
        self._exclusive = exclusive
        self._observe = observe
        self._listeners: list[Callable[[Commit], None]] = []
        self._batch = FrameBatch()
        self._writer = Writer(self._connect_writer, self._batch, self._on_commit)
        self._reader = Reader(self._connect_reader)
        self._lock: int | None = None

    def subscribe(self, listener: Callable[[Commit], None]) -> None:
        """See `Store.subscribe`."""
        self._listeners.append(listener)

    def _on_commit(self, commit: Commit, seconds: float) -> None:
        self._observe(seconds, commit)
        for listener in self._listeners:
            listener(commit)

    # --- open and close

    async def open(self) -> None:
        """See `Store.open`."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if self._exclusive:
                self._lock = _take_lock(self._path)
            connection = self._connect_writer()
            try:
                migrate(connection, str(self._path))
            finally:
                connection.close()
            await self._writer.open()
            self._reader.open()
        except (OSError, sqlite3.Error) as error:
            await self.close()
            raise StoreError(f"expected a data folder that can be written, got {self._path.parent}: {error}") from error
        except StoreError:
            await self.close()
            raise

    async def close(self) -> None:
        """See `Store.close`."""
        await self._writer.close()
        await self._reader.close()
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)

    def _connect_writer(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=10.0)
        # FULL: an acknowledged frame has passed an fsync. A larger checkpoint interval keeps commits even.
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "wal_autocheckpoint=4000",
            "journal_size_limit=67108864",
        ):
            connection.execute(f"PRAGMA {pragma}")
        return connection

    def _connect_reader(self) -> sqlite3.Connection:
        uri = f"{self._path.absolute().as_uri()}?mode=ro"
        return sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=10.0)

    async def _read(self, action: Callable[[sqlite3.Connection], T]) -> T:
        return await self._reader.call(action)

    # --- ingest

    async def register(self, hello: Hello, received_ns: int) -> StreamRow:
        """See `Store.register`."""

        def action(connection: sqlite3.Connection) -> StreamRow:
            row = registration.register(connection, hello, received_ns)
            self._batch.forget_run(hello.run)
            return row

        return await self._writer.call(action)

    async def append(self, frame: StoredFrame) -> Commit:
        """See `Store.append`.

        Raises:
            InvalidValue: a value of the frame fits in no column (a count beyond 64 bits); nothing of it is stored.
        """
        return await self._writer.append(frame)

    # --- runs and series

    async def runs(
        self, *, project: str | None, text: str | None, sort: str, limit: int, cursor: str | None
    ) -> RunPage:
        """See `Store.runs`."""
        return await self._read(
            lambda connection: rows.read_runs(
                connection, project=project, text=text, sort=sort, limit=limit, cursor=cursor
            )
        )

    async def run(self, run: str) -> RunRow | None:
        """See `Store.run`."""
        return await self._read(lambda connection: rows.read_run(connection, run))

    async def update_run(
        self, run: str, *, name: str | None, tags: Sequence[str] | None, notes: str | None
    ) -> RunRow | None:
        """See `Store.update_run`."""
        await self._writer.call(lambda connection: registration.update_run(connection, run, name, tags, notes))
        return await self.run(run)

    async def delete_run(self, run: str) -> list[str]:
        """See `Store.delete_run`."""

        def action(connection: sqlite3.Connection) -> list[str]:
            blobs = registration.delete_run(connection, run)
            self._batch.forget_run(run)
            return blobs

        return await self._writer.call(action)

    async def metrics(self, run: str) -> tuple[MetricRow, ...]:
        """See `Store.metrics`."""
        return await self._read(lambda connection: rows.read_metrics(connection, run))

    async def points(
        self,
        run: str,
        key: str,
        ranks: Sequence[int] | None,
        start: int | None,
        stop: int | None,
        *,
        superseded: bool = False,
    ) -> tuple[int, tuple[PointsSlice, ...]]:
        """See `Store.points`."""

        def action(connection: sqlite3.Connection) -> tuple[int, tuple[PointsSlice, ...]]:
            (number,) = connection.execute("SELECT value FROM meta WHERE name = 'commit_number'").fetchone()
            return number, points.read_points(connection, run, key, ranks, start, stop, superseded=superseded)

        return await self._read(action)

    async def export(self, run: str, keys: Sequence[str] | None) -> AsyncIterator[PointsSlice]:
        """See `Store.export`."""
        names = await self._read(lambda connection: points.series_names(connection, run))
        for _, rank, key in names:
            if keys is None or key in keys:
                _, found = await self.points(run, key, [rank], None, None, superseded=True)
                for one in found:
                    yield one

    # --- hash tables, events, log lines

    async def passes(
        self, run: str, table: str | None, rank: int | None, start: int | None, stop: int | None
    ) -> tuple[PassRow, ...]:
        """See `Store.passes`."""
        return await self._read(lambda connection: rows.read_passes(connection, run, table, rank, start, stop))

    async def events(self, run: str, limit: int = 1000) -> tuple[EventRow, ...]:
        """See `Store.events`."""
        return await self._read(lambda connection: rows.read_events(connection, run, limit))

    async def add_event(self, run: str, event: EventRow) -> EventRow:
        """See `Store.add_event`."""
        return await self._writer.call(lambda connection: rows.write_event(connection, run, event))

    # --- control

    async def controls(self, run: str) -> tuple[ControlRow, ...]:
        """See `Store.controls`."""
        return await self._read(lambda connection: rows.read_controls(connection, run))

    async def add_command(self, command: CommandRow, actor: str) -> CommandRow:
        """See `Store.add_command`."""
        return await self._writer.call(lambda connection: ledger.add(connection, command, actor))

    async def command_delivered(self, command: str, rank: int) -> CommandRow | None:
        """See `Store.command_delivered`."""
        return await self._writer.call(lambda connection: ledger.delivered(connection, command, rank))

    async def expire_command(self, command: str) -> CommandRow | None:
        """See `Store.expire_command`."""
        return await self._writer.call(lambda connection: ledger.expire(connection, command))

    async def commands(self, run: str, limit: int = 200) -> tuple[CommandRow, ...]:
        """See `Store.commands`."""
        return await self._read(lambda connection: ledger.read_many(connection, run, limit))

    async def command(self, run: str, command: str) -> CommandRow | None:
        """See `Store.command`."""
        row = await self._read(lambda connection: ledger.read(connection, command))
        return row if row is not None and row.run == run else None

    # --- traces, tokens

    async def put_trace(self, trace: TraceRow) -> None:
        """See `Store.put_trace`."""
        values: tuple[Any, ...] = (
            trace.id,
            trace.run,
            trace.name,
            trace.rank,
            trace.attempt,
            trace.step,
            trace.size,
            trace.sha256,
        )
        values += (trace.state, trace.created_ns, trace.blob, dump(trace.summary))
        await self._writer.call(
            lambda connection: (
                connection.execute(
                    "INSERT OR REPLACE INTO trace VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values
                ).rowcount
            )
        )

    async def traces(self, run: str) -> tuple[TraceRow, ...]:
        """See `Store.traces`."""
        return await self._read(lambda connection: rows.read_traces(connection, run))

    async def trace(self, trace: str) -> TraceRow | None:
        """See `Store.trace`."""
        return await self._read(lambda connection: rows.read_trace(connection, trace))

    async def add_token(self, token: TokenRow) -> None:
        """See `Store.add_token`."""
        values = (token.id, token.name, token.scope, token.digest, token.created_ns)
        await self._writer.call(
            lambda connection: connection.execute("INSERT INTO token VALUES (?, ?, ?, ?, ?)", values).rowcount
        )

    async def tokens(self) -> tuple[TokenRow, ...]:
        """See `Store.tokens`."""
        return await self._read(rows.read_tokens)

    async def delete_token(self, token: str) -> bool:
        """See `Store.delete_token`."""
        return await self._writer.call(
            lambda connection: connection.execute("DELETE FROM token WHERE token_id = ?", (token,)).rowcount > 0
        )


def _take_lock(path: Path) -> int:
    """Holds the file beside the database for as long as the returned descriptor is open; a kill lets go of it."""
    lock = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        owner = os.read(lock, 32).decode(errors="replace").strip() or "unknown"
        os.close(lock)
        raise StoreError(
            f"expected a data folder for this server alone, {path} is in use by process {owner}"
        ) from error
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return lock
