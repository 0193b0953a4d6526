"""The store on an SQL database: one write thread, a few readers, the same calls for every engine.

Owns which thread runs what. `interface.Store` documents the calls, `engines.engine` the engines.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Concatenate, Literal, ParamSpec, TypeVar

from recis.wire.messages import Hello
from recis_server.errors import StoreLost, StoreUnavailable
from recis_server.store.engines import meta
from recis_server.store.engines.engine import Connection, Engine
from recis_server.store.engines.failures import FailureLog
from recis_server.store.interface import Store
from recis_server.store.leases import Leases
from recis_server.store.points import chart, export_windows, series
from recis_server.store.probe import Probe
from recis_server.store.reader import Reader
from recis_server.store.tables import (
    controls,
    deletion,
    ledger,
    lines,
    passes,
    process_info,
    registration,
    rows,
    traces,
)
from recis_server.store.tables.attempts import attempt_number
from recis_server.store.tables.frames import FrameBatch
from recis_server.store.tables.keyset_cache import KeySetCache
from recis_server.store.tables.runs import count_change, read_changes, read_page, read_rows, read_run
from recis_server.store.upkeep.supervisor import MaintenanceSupervisor
from recis_server.store.upkeep.trim import read_trimmed
from recis_server.store.values import (
    AttemptRow,
    ChartRead,
    CommandRow,
    Commit,
    ControlRow,
    EventRow,
    ExportSize,
    HiddenRun,
    LinePage,
    LinesWanted,
    MetricRow,
    PassRow,
    PointsSlice,
    ProcessRow,
    RunPage,
    RunRow,
    RunsWanted,
    StoredFrame,
    StreamRow,
    TokenRow,
    TraceRow,
    Versioned,
)
from recis_server.store.writer import Writer

__all__ = ["SqlStore"]

P = ParamSpec("P")
T = TypeVar("T")
S = TypeVar("S", bound=Versioned)


class SqlStore(Store):
    """A `Store` in the database of an engine, with a write thread and a pool of readers.

    Args:
        engine: the database.
        exclusive: whether this process is a server of this database. Tools beside a running server pass False; they
            may read, and write single rows, but must not append frames.
        observe: called after each commit with its duration in seconds.
        upkeep: maintains the store while it is open; None leaves frames as they are.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        exclusive: bool = True,
        observe: Callable[[float, Commit], None] = lambda seconds, commit: None,
        upkeep: MaintenanceSupervisor | None = None,
    ) -> None:
        self._upkeep = upkeep
        self._engine = engine
        self._exclusive = exclusive
        self._observe = observe
        self._listeners: list[Callable[[Commit], None]] = []
        self._batch = FrameBatch(engine.failures, shared=engine.is_shared)
        failure_log = FailureLog(engine.explain)
        self._writer = Writer(engine, self._batch, failure_log, self._on_commit)
        self._reader = Reader(engine, failure_log)
        self._probe = Probe(engine, self._writer, failure_log)
        self._leases = Leases(engine, failure_log)
        self._keyset_cache = KeySetCache()

    @property
    def identity(self) -> int:
        return self._anchor.identity

    @property
    def server_name(self) -> str:
        return self._engine.server_name

    async def other_servers(self) -> frozenset[str]:
        return await self._read(self._engine.other_servers)

    def subscribe(self, listener: Callable[[Commit], None]) -> None:
        self._listeners.append(listener)

    def _on_commit(self, commit: Commit, seconds: float) -> None:
        self._observe(seconds, commit)
        for listener in self._listeners:
            listener(commit)

    # --- open and close

    async def open(self) -> None:
        try:
            self._anchor = await asyncio.to_thread(self._engine.open, exclusive=self._exclusive)
            await self._writer.open()
            self._reader.open()
            await self._leases.open()
            if self._upkeep is not None:
                self._upkeep.open(self._anchor)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        if self._upkeep is not None:
            await self._upkeep.close()
        await self._probe.close()
        await self._leases.close()
        # The writer last, so that it leaves a file without a log. But first if another file has taken its place,
        # because the log does not belong to that one.
        ends = [self._reader.close, self._writer.close]
        for end in ends if self._is_there() else reversed(ends):
            await end()
        self._engine.close()

    def _is_there(self) -> bool:
        try:
            self._engine.check()
        except StoreLost:
            return False
        return True

    async def probe(self) -> None:
        await self._probe.ask()

    async def _read(self, action: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._reader.call(lambda connection: action(connection, *args, **kwargs))

    async def _write(
        self, run: str, action: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        def change(connection: Connection) -> T:
            result = action(connection, *args, **kwargs)
            if self._engine.is_shared:
                count_change(connection, run)
            return result

        return await self._writer.call(change, run=run)

    def lease(self, name: str) -> AbstractAsyncContextManager[bool]:
        return self._leases.lease(name)

    # --- ingest

    async def register(self, hello: Hello, received_ns: int) -> StreamRow:
        def action(connection: Connection) -> StreamRow:
            row = registration.register(connection, hello, received_ns)
            self._batch.forget_run(hello.run)
            return row

        return await self._writer.call(action, run=hello.run)

    def append(self, frame: StoredFrame) -> "asyncio.Future[Commit]":
        return self._writer.append(frame)

    # --- runs and series

    async def runs(self, wanted: RunsWanted) -> RunPage[RunRow]:
        return await self.runs_anew(wanted, {}, lambda row: row)

    async def runs_anew(self, wanted: RunsWanted, known: Mapping[str, S], show: Callable[[RunRow], S]) -> RunPage[S]:
        return await self._read(read_page, self._keyset_cache, wanted, known, show)

    async def run(self, run: str) -> RunRow | None:
        return await self._read(read_run, self._keyset_cache, run)

    async def has_run(self, run: str) -> bool:
        sql = "SELECT 1 FROM run WHERE run_id = ?"
        return await self._read(lambda connection: connection.execute(sql, (run,)).fetchone() is not None)

    async def changes(self, runs: Sequence[str]) -> dict[str, tuple[int, int]]:
        return await self._read(read_changes, runs)

    async def versions_since(self, version: int) -> dict[str, int]:
        sql = "SELECT run_id, updated_ns FROM run WHERE updated_ns >= ?"
        return await self._read(lambda connection: dict(connection.execute(sql, (version,)).fetchall()))

    async def runs_named(self, runs: Sequence[str], keys: Collection[str] | None = None) -> tuple[RunRow, ...]:
        return await self._read(lambda connection: tuple(read_rows(connection, self._keyset_cache, runs, keys)))

    async def update_run(
        self,
        run: str,
        *,
        name: str | None = None,
        tags: Sequence[str] | None = None,
        notes: str | None = None,
        archived: bool | None = None,
    ) -> RunRow | None:
        def action(connection: Connection) -> None:
            registration.update_run(connection, run, name, tags, notes, archived)
            self._batch.forget_run(run)

        await self._writer.call(action, run=run)
        return await self.run(run)

    async def hide_run(self, run: str, final_ns: int) -> bool:
        def action(connection: Connection) -> bool:
            self._batch.forget_run(run)
            return deletion.hide_run(connection, run, time.time_ns(), final_ns)

        return await self._writer.call(action, run=run, removes=True)

    async def restore_run(self, run: str) -> RunRow | None:
        if not await self._writer.call(partial(deletion.restore_run, run_id=run), run=run):
            return None
        return await self.run(run)

    async def hidden_runs(self) -> tuple[HiddenRun, ...]:
        return await self._read(deletion.read_hidden)

    async def delete_run(self, run: str) -> list[str]:
        def action(connection: Connection) -> list[str]:
            blobs = deletion.delete_run(connection, run, time.time_ns())
            self._batch.forget_run(run)
            return blobs

        blobs = await self._writer.call(action, run=run, removes=True)
        # In slices, so that frames of other runs are committed in between. The run is already invisible, and the
        # maintenance worker finishes what a kill or a full disk interrupts.
        with contextlib.suppress(StoreUnavailable):
            while await self._writer.call(partial(deletion.delete_slice, run_id=run), run=run, removes=True):
                pass
        return blobs

    async def metrics(self, run: str) -> tuple[MetricRow, ...]:
        return await self._read(rows.read_metrics, self._keyset_cache, run)

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
        def action(connection: Connection) -> tuple[int, tuple[PointsSlice, ...]]:
            return meta.commit_number(connection), series.read_points(
                connection, run, key, ranks, start, stop, superseded=superseded
            )

        return await self._read(action)

    async def chart(
        self,
        run: str,
        keys: Sequence[str],
        ranks: Sequence[int] | Literal["lowest"] | None,
        start: int | None,
        stop: int | None,
        points: int,
        *,
        superseded: bool = False,
    ) -> ChartRead:
        return await self._read(chart.read_buckets, run, keys, ranks, start, stop, points, superseded=superseded)

    async def export(
        self, run: str, keys: Sequence[str] | None, *, superseded: bool = True
    ) -> AsyncIterator[PointsSlice]:
        wanted = None if keys is None else frozenset(keys)
        for group in await self._read(export_windows.groups, run, wanted):
            ranges: list[tuple[int | None, int | None]] = [(None, None)]
            if group.is_long:
                ranges = await self._read(export_windows.windows, run, group.series[0][0])
            for start, stop in ranges:
                found = await self._read(series.read_series, run, group.series, start, stop, superseded=superseded)
                for one in found:
                    yield one

    async def export_size(self, run: str, keys: Sequence[str] | None) -> ExportSize:
        wanted = None if keys is None else frozenset(keys)
        return await self._read(export_windows.export_size, run, wanted)

    # --- hash tables, events, log lines

    async def passes(
        self, run: str, table: str | None, rank: int | None, start: int | None, stop: int | None
    ) -> tuple[PassRow, ...]:
        return await self._read(passes.read_passes, run, table, rank, start, stop)

    async def events(self, run: str, limit: int = 1000) -> tuple[EventRow, ...]:
        return await self._read(rows.read_events, run, limit)

    async def events_after(self, run: str, event_id: int, limit: int) -> tuple[EventRow, ...]:
        return await self._read(rows.read_events_after, run, event_id, limit)

    async def lines(self, run: str, wanted: LinesWanted) -> LinePage:
        return await self._read(lines.read_lines, run, wanted)

    async def attempts(self, run: str) -> tuple[AttemptRow, ...]:
        return await self._read(process_info.read_attempts, run)

    async def processes(self, run: str, attempt: int, limit: int) -> tuple[ProcessRow, ...]:
        return await self._read(process_info.read_processes, run, attempt, limit)

    async def add_event(self, run: str, event: EventRow, *, repeated_ns: int = 0) -> EventRow:
        return await self._write(run, rows.write_event, run, event, repeated_ns)

    async def trimmed(self) -> dict[str, int]:
        return await self._read(read_trimmed)

    async def upkeep_failures(self) -> int:
        return (await self._read(meta.read)).get(meta.UPKEEP_FAILURES, 0)

    # --- control

    async def controls(self, run: str) -> tuple[ControlRow, ...]:
        return await self._read(controls.read_controls, run)

    async def add_command(
        self,
        command: CommandRow,
        actor: str,
        *,
        supersedes: Mapping[str, Collection[int]] | None = None,
        held: Collection[str] = (),
    ) -> CommandRow:
        return await self._write(command.run, ledger.add, command, actor, supersedes or {}, held)

    async def schedule_command(
        self, run: str, command: str, step: int | None, seen: Collection[int], *, again: bool = False
    ) -> CommandRow | None:
        return await self._write(run, ledger.schedule, run, command, step, seen, again=again)

    async def command_delivered(self, run: str, command: str, rank: int) -> CommandRow | None:
        return await self._write(run, ledger.delivered, run, command, (rank,))

    async def conclude_command(self, run: str, command: str, away: Collection[int]) -> CommandRow | None:
        return await self._write(run, ledger.conclude, run, command, away)

    async def expire_command(
        self, run: str, command: str, ranks: Collection[int] | None = None, message: str = ""
    ) -> CommandRow | None:
        return await self._write(run, ledger.expire, run, command, ranks, message)

    async def supersede_command(self, run: str, command: str, ranks: Collection[int], by: str) -> CommandRow | None:
        return await self._write(run, ledger.supersede, run, command, ranks, by)

    async def commands(
        self, run: str, limit: int = 200, *, before: int | None = None, after: int | None = None
    ) -> tuple[CommandRow, ...]:
        return await self._read(ledger.read_many, run, limit, before, after)

    async def open_commands(self, run: str) -> tuple[CommandRow, ...]:
        return await self._read(ledger.read_open, run)

    async def steps_of_open_commands(self) -> dict[tuple[str, str], int | None]:
        return await self._read(ledger.steps_of_open)

    async def runs_with_open_commands(self) -> tuple[str, ...]:
        return await self._read(ledger.runs_with_open)

    async def command(self, run: str, command: str) -> CommandRow | None:
        return await self._read(ledger.read, run, command)

    # --- traces, tokens

    async def put_trace(self, trace: TraceRow) -> None:
        await self._write(trace.run, traces.write_trace, trace)

    async def update_trace(self, trace: TraceRow) -> bool:
        return await self._write(trace.run, traces.update_trace, trace)

    async def delete_trace(self, trace: TraceRow) -> None:
        await self._writer.call(partial(traces.delete_trace, trace=trace), run=trace.run, removes=True)

    async def traces(self, run: str) -> tuple[TraceRow, ...]:
        return await self._read(traces.read_traces, run)

    async def trace(self, trace: str) -> TraceRow | None:
        return await self._read(traces.read_trace, trace)

    async def find_trace(self, run: str, rank: int, name: str, sha256: str) -> TraceRow | None:
        return await self._read(traces.find_trace, run, rank, name, sha256)

    async def unfinished_traces(self) -> tuple[TraceRow, ...]:
        return await self._read(traces.read_unfinished)

    async def traces_to_summarise(self, last_run: str, most_bytes: int | None, limit: int) -> tuple[TraceRow, ...]:
        return await self._read(traces.read_waiting, last_run, most_bytes, limit)

    async def attempt(self, run: str, attempt: str) -> int | None:
        return await self._read(attempt_number, run, attempt)

    async def add_token(self, token: TokenRow) -> None:
        values = (token.id, token.name, token.scope, token.digest, token.created_ns, token.expires_ns)
        insert = "INSERT INTO token (token_id, name, scope, digest, created_ns, expires_ns) VALUES (?, ?, ?, ?, ?, ?)"
        await self._writer.call(lambda connection: connection.execute(insert, values).rowcount)

    async def note_token_use(self, used_ns: Mapping[str, int]) -> None:
        values = [(time_ns, digest, time_ns) for digest, time_ns in sorted(used_ns.items())]
        await self._writer.call(
            lambda connection: connection.executemany(
                "UPDATE token SET used_ns = ? WHERE digest = ? AND (used_ns IS NULL OR used_ns < ?)", values
            )
        )

    async def tokens(self) -> tuple[TokenRow, ...]:
        return await self._read(rows.read_tokens)

    async def delete_token(self, token: str) -> bool:
        return await self._writer.call(
            lambda connection: connection.execute("DELETE FROM token WHERE token_id = ?", (token,)).rowcount > 0
        )
