"""The interface of a store: its calls, and the values that pass through them.

Two engines implement it (SQLite, PostgreSQL); nothing above this file may know which. Knows neither HTTP nor sockets.
All methods are awaited on the server's event loop and never block it. Times are nanoseconds since the Unix epoch.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Literal, Protocol

from recis.wire.messages import Hello
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
    S,
    StoredFrame,
    StreamRow,
    TokenRow,
    TraceRow,
)

__all__ = ["Store"]


class Store(Protocol):
    """Points, runs, events, commands. See `docs/architecture.md` for the guarantees of each call."""

    @property
    def identity(self) -> int:
        """The identity of the open store; a copy has the same one."""

    @property
    def server_name(self) -> str:
        """The name of this server among all servers that share the store."""

    async def other_servers(self) -> frozenset[str]:
        """Return the names of the others that have the store open now, as far as they can be seen."""

    def subscribe(self, listener: Callable[[Commit], None]) -> None:
        """Call `listener` on the event loop after every commit, in order of their numbers, before `append` returns."""

    async def open(self) -> None:
        """Create or migrate the tables; raise `StoreError` for a newer schema or an unusable location."""

    async def close(self) -> None:
        """Drain the writer and close all connections; safe to call twice."""

    async def probe(self) -> None:
        """Return if the store can be written and read now.

        Raises:
            StoreUnavailable: it cannot; the message names no host, path or user.
        """

    def lease(self, name: str) -> AbstractAsyncContextManager[bool]:
        """Take a lease for a block; the value is False if it is taken, by another server or this one.

        Raises:
            StoreUnavailable: the engine cannot be asked.
        """

    # --- ingest

    async def register(self, hello: Hello, received_ns: int) -> StreamRow:
        """Register run, attempt and writer (idempotent) and return the writer's committed state."""

    def append(self, frame: StoredFrame) -> Awaitable[Commit]:
        """Return after the frame is committed, together with others that arrive within a few milliseconds.

        In one transaction, the commit stores points, passes, lines and events, declares controls, sets results of
        commands (`command_rank`) and states of ranks, and updates the writer's acknowledged number and the run's
        counters. A frame whose number is already committed is a no-op. Skipped numbers are added to the run's
        `missing`, unless the writer reports new drops in the same frame, which then account for them.

        Raises:
            StoreUnavailable: the engine could not commit (full disk, closing); nothing of the batch is stored.
            InvalidValue: a value of the frame does not fit its column; nothing of the frame is stored.
        """

    # --- runs and series

    async def runs(self, wanted: RunsWanted) -> RunPage[RunRow]:
        """Return a page of runs; raise `InvalidValue` for an invalid sort key or cursor."""

    async def runs_anew(self, wanted: RunsWanted, known: Mapping[str, S], show: Callable[[RunRow], S]) -> RunPage[S]:
        """Return a page of `show(row)`, reading a run only if its entry in `known` is outdated.

        Both are used on another thread. `known` has earlier results by id, made with the same `wanted.keys`.
        """

    async def run(self, run: str) -> RunRow | None:
        """Return one run, None if there is none."""

    async def has_run(self, run: str) -> bool:
        """Return whether the run exists; reads far less than `run`, whose summary may have very many names."""

    async def changes(self, runs: Sequence[str]) -> dict[str, tuple[int, int]]:
        """Return what has changed in each of these runs that exists, if servers share the store.

        The first number is the version, see `Commit.versions`. The second one counts the other changes: of commands,
        traces, and events of a server.
        """

    async def versions_since(self, version: int) -> dict[str, int]:
        """Return the version of each run that has this one or a higher one."""

    async def runs_named(self, runs: Sequence[str], keys: Collection[str] | None = None) -> tuple[RunRow, ...]:
        """Return those of the runs that exist, each once, with these metrics in the summary, None for all."""

    async def update_run(
        self,
        run: str,
        *,
        name: str | None = None,
        tags: Sequence[str] | None = None,
        notes: str | None = None,
        archived: bool | None = None,
    ) -> RunRow | None:
        """Change what is not None and return the run, None if there is none.

        A name or tags that were set once are no longer changed by the greetings of the run's processes.
        """

    async def delete_run(self, run: str) -> list[str]:
        """Remove all rows of the run, hidden or not, and return the blobs that it had."""

    async def hide_run(self, run: str, final_ns: int) -> bool:
        """Make the run invisible, and refuse its writers, until `restore_run` or `delete_run`; False if there is none.

        The caller deletes it at `final_ns`; until then nothing of it is removed.
        """

    async def restore_run(self, run: str) -> RunRow | None:
        """Undo `hide_run` and return the run, None if it is not hidden."""

    async def hidden_runs(self) -> tuple[HiddenRun, ...]:
        """Return the hidden runs in the order in which they are to be deleted."""

    async def metrics(self, run: str) -> tuple[MetricRow, ...]:
        """Return the run's series names, in order of first appearance."""

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
        """Return the points of `start <= step < stop` for each of the ranks (None: all), and their commit number.

        With `superseded`, points superseded by a later attempt follow those of each rank, attempt by attempt.
        """

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
        """Return the points of `start <= step < stop` in buckets, in the given order of keys and by rank.

        `buckets.fit_width` determines their width; at width 1, each point is a bucket of its own. Points superseded by
        a later attempt are omitted; with `superseded` they follow those of each rank, attempt by attempt.

        Args:
            run: the run.
            keys: series names, each once.
            ranks: these, None for all, "lowest" for the lowest that has points, key by key.
            start: the first step.
            stop: the step after the last.
            points: the most buckets per series, 0 for every point.
            superseded: whether to return superseded points.

        Raises:
            InvalidValue: every point was requested, and they are too many for one answer.
        """

    def export(self, run: str, keys: Sequence[str] | None, *, superseded: bool = True) -> AsyncIterator[PointsSlice]:
        """Yield all points of the run, series after series, in increasing ranges of steps; memory use is constant.

        Within a range, current points precede superseded ones, which are separated by attempt, and omitted without
        `superseded`.
        """

    async def export_size(self, run: str, keys: Sequence[str] | None) -> ExportSize:
        """Return the size of an export of these keys (None: all), superseded points included."""

    # --- hash tables, events, log lines

    async def passes(
        self, run: str, table: str | None, rank: int | None, start: int | None, stop: int | None
    ) -> tuple[PassRow, ...]:
        """Return filter passes in order of step, at most the latest 10,000."""

    async def events(self, run: str, limit: int = 1000) -> tuple[EventRow, ...]:
        """Return the latest events, oldest first. If there are more than `limit`, each kind gets an equal share."""

    async def events_after(self, run: str, event_id: int, limit: int) -> tuple[EventRow, ...]:
        """Return the latest `limit` of the events with a higher id, of any kind, oldest first."""

    async def lines(self, run: str, wanted: LinesWanted) -> LinePage:
        """Return lines of the run's log."""

    async def attempts(self, run: str) -> tuple[AttemptRow, ...]:
        """Return the attempts of a run in order of their start."""

    async def processes(self, run: str, attempt: int, limit: int) -> tuple[ProcessRow, ...]:
        """Return the processes of an attempt's lowest `limit` ranks, with what they say about themselves."""

    async def add_event(self, run: str, event: EventRow, *, repeated_ns: int = 0) -> EventRow:
        """Store an event of the server (a connection lost, an attempt begun) and return it with its `id`.

        If an event of the same kind, rank and attempt is less than `repeated_ns` old, update that one instead: its text
        and `times` in its data count the occurrences, and `last` is the time of the last. The event of a deleted run is
        dropped; its `id` is 0.
        """

    async def trimmed(self) -> dict[str, int]:
        """Return how many log lines, events and filter passes were removed beyond the bounds of a run, by table."""

    async def upkeep_failures(self) -> int:
        """Return how often maintenance has set a run aside after a failure."""

    # --- control

    async def controls(self, run: str) -> tuple[ControlRow, ...]:
        """Return the declared controls, by control and rank."""

    async def add_command(
        self,
        command: CommandRow,
        actor: str,
        *,
        supersedes: Mapping[str, Collection[int]] | None = None,
        held: Collection[str] = (),
    ) -> CommandRow:
        """Add the command and its audit row in one transaction; return the existing command for a known `id`.

        `supersedes` names the ranks on which earlier commands have not taken effect and end with this one. Those `held`
        have no step; if another server has chosen one meanwhile, they take effect before this one.
        """

    async def schedule_command(
        self, run: str, command: str, step: int | None, seen: Collection[int], *, again: bool = False
    ) -> CommandRow | None:
        """Schedule a command held by the ranks `seen`; return None if there is no such command.

        A command that has a step already, which another server has chosen, keeps it unless `again`.
        """

    async def command_delivered(self, run: str, command: str, rank: int) -> CommandRow | None:
        """Record that the rank has received the command; return None if there is no such command."""

    async def conclude_command(self, run: str, command: str, away: Collection[int]) -> CommandRow | None:
        """Set the state of a command that is open on absent ranks only; their parts stay open."""

    async def expire_command(
        self, run: str, command: str, ranks: Collection[int] | None = None, message: str = ""
    ) -> CommandRow | None:
        """Expire the open parts of a command, on these ranks or on all; return None if there are none."""

    async def supersede_command(self, run: str, command: str, ranks: Collection[int], by: str) -> CommandRow | None:
        """End the open parts of a command on these ranks in favour of a newer one; return None if there are none."""

    async def commands(
        self, run: str, limit: int = 200, *, before: int | None = None, after: int | None = None
    ) -> tuple[CommandRow, ...]:
        """Return the latest commands whose `seq` is below `before`, or the first ones above `after`, oldest first."""

    async def open_commands(self, run: str) -> tuple[CommandRow, ...]:
        """Return the commands that some rank may still answer, oldest first."""

    async def steps_of_open_commands(self) -> dict[tuple[str, str], int | None]:
        """Return the step of each command that has not ended, by run and id."""

    async def runs_with_open_commands(self) -> tuple[str, ...]:
        """Return the runs that have such commands."""

    async def command(self, run: str, command: str) -> CommandRow | None:
        """Return one command, None if there is none."""

    # --- traces, tokens

    async def put_trace(self, trace: TraceRow) -> None:
        """Insert or replace a trace's row.

        Raises:
            StoreUnavailable: its run was deleted.
        """

    async def update_trace(self, trace: TraceRow) -> bool:
        """Replace a trace's row; return False if it is gone."""

    async def delete_trace(self, trace: TraceRow) -> None:
        """Remove a trace's row."""

    async def traces(self, run: str) -> tuple[TraceRow, ...]:
        """Return the run's traces, newest first."""

    async def trace(self, trace: str) -> TraceRow | None:
        """Return one trace, None if there is none."""

    async def find_trace(self, run: str, rank: int, name: str, sha256: str) -> TraceRow | None:
        """Return the ready trace with this content, rank and name, None if there is none."""

    async def unfinished_traces(self) -> tuple[TraceRow, ...]:
        """Return the traces of all runs that are `uploading`."""

    async def traces_to_summarise(self, last_run: str, most_bytes: int | None, limit: int) -> tuple[TraceRow, ...]:
        """Return the first of the ready traces whose summary is pending.

        Args:
            last_run: the run that had the last turn; runs take turns.
            most_bytes: the largest size of a file, None for any.
            limit: the highest number of traces.
        """

    async def attempt(self, run: str, attempt: str) -> int | None:
        """Return the number of an attempt, None if no process of it has registered."""

    async def add_token(self, token: TokenRow) -> None:
        """Store a token."""

    async def note_token_use(self, used_ns: Mapping[str, int]) -> None:
        """Store when tokens were last used, by their digest; an earlier time than the stored one changes nothing."""

    async def tokens(self) -> tuple[TokenRow, ...]:
        """Return all tokens."""

    async def delete_token(self, token: str) -> bool:
        """Remove a token; return False if there was none."""
