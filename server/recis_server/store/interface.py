"""What a store is to everybody above it: the calls and the values that pass through them.

Two engines stand behind it (SQLite, PostgreSQL); nobody above this file may know which. Knows no HTTP and no socket.
All methods are awaited on the server's event loop and never block it. Times are nanoseconds since the Unix epoch.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Literal, Protocol

from recis.wire.messages import Hello
from recis_server.store.values import (
    ChartRead,
    CommandRow,
    Commit,
    ControlRow,
    EventRow,
    ExportSize,
    MetricRow,
    PassRow,
    PointsSlice,
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
    """Points, runs, events, commands. See `docs/architecture.md` for the promises behind each call."""

    def subscribe(self, listener: Callable[[Commit], None]) -> None:
        """Calls `listener` on the event loop after every commit, in order of their numbers, before `append` returns."""

    async def open(self) -> None:
        """Creates or migrates the tables; raises `StoreError` for a newer schema, a locked or an unwritable place."""

    async def close(self) -> None:
        """Drains the writer and closes all connections; safe to call twice."""

    async def probe(self) -> None:
        """Returns where the store can be written and read now.

        Raises:
            StoreUnavailable: it cannot; the message names no host, path or user.
        """

    # --- ingest

    async def register(self, hello: Hello, received_ns: int) -> StreamRow:
        """Makes run, attempt and writer known (idempotent) and tells what of this writer is committed."""

    def append(self, frame: StoredFrame) -> Awaitable[Commit]:
        """Ends once the frame is committed, together with others that came within the same few milliseconds.

        The commit stores points, passes, lines and events, declares controls, sets results of commands (`command_rank`)
        and states of ranks, raises the writer's acknowledged number and the run's counters, in one transaction.
        A frame whose number is already committed is a no-op. Numbers skipped are added to the run's `missing`,
        unless the writer counts new drops in the same frame: then they are known as those.

        Raises:
            StoreUnavailable: the engine could not commit (full disk, closing); nothing of the batch is stored.
        """

    # --- runs and series

    async def runs(self, wanted: RunsWanted) -> RunPage[RunRow]:
        """A page of runs; raises `InvalidValue` for a sort or a cursor that is none."""

    async def runs_anew(self, wanted: RunsWanted, known: Mapping[str, S], show: Callable[[RunRow], S]) -> RunPage[S]:
        """The same page as what `show` makes of each row, or has made: a run is read only where `known` is too old.

        Both are used on another thread. `known` has what was shown before, by id, made with the same `wanted.keys`.
        """

    async def run(self, run: str) -> RunRow | None:
        """One run."""

    async def has_run(self, run: str) -> bool:
        """Whether there is such a run; reads far less than `run`, whose summary may have very many names."""

    async def runs_named(self, runs: Sequence[str]) -> tuple[RunRow, ...]:
        """Those of some runs that there are, each named once."""

    async def update_run(
        self, run: str, *, name: str | None, tags: Sequence[str] | None, notes: str | None
    ) -> RunRow | None:
        """Changes what is not None and returns the run, None when there is no such run."""

    async def delete_run(self, run: str) -> list[str]:
        """Removes all rows of the run and returns the blobs that it had."""

    async def metrics(self, run: str) -> tuple[MetricRow, ...]:
        """The run's series names, in order of their first appearance."""

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
        """The points of `start <= step < stop` for each of the ranks (None: all), and the commit number they are of.

        With `superseded` those that a newer attempt has gone back behind are apart, after each rank's, attempt by
        attempt; without, they stand wherever nothing newer does.
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
        """The points of `start <= step < stop` in buckets, key after key in the order given, each rank by rank.

        How wide they are says `buckets.fit_width`; of width 1, each point is a bucket of its own. Points that a newer
        attempt has gone back behind are left out; with `superseded` they stand apart, after each rank's,
        attempt by attempt.

        Args:
            run: the run.
            keys: series names, each once.
            ranks: these, None for all, "lowest" for the lowest that has points, key by key.
            start: the first step.
            stop: the step after the last.
            points: the most buckets that a series may have, 0 for every point.
            superseded: whether to give what newer attempts have gone back behind.

        Raises:
            InvalidValue: every point was asked for, and they are too many for one answer.
        """

    def export(self, run: str, keys: Sequence[str] | None, *, superseded: bool = True) -> AsyncIterator[PointsSlice]:
        """All points of the run, series after series, in ranges of steps that rise; memory does not grow with them.

        Of each range those that count come first, then the superseded ones, each attempt apart; without `superseded`
        these are left out.
        """

    async def export_size(self, run: str, keys: Sequence[str] | None) -> ExportSize:
        """How much an export of these keys (None: all) holds, superseded points included."""

    # --- hash tables, events, log lines

    async def passes(
        self, run: str, table: str | None, rank: int | None, start: int | None, stop: int | None
    ) -> tuple[PassRow, ...]:
        """Filter passes in order of step; at most the newest 10,000."""

    async def events(self, run: str, limit: int = 1000) -> tuple[EventRow, ...]:
        """The newest events, oldest first."""

    async def add_event(self, run: str, event: EventRow, *, repeated_ns: int = 0) -> EventRow:
        """Stores an event of the server's own (a connection lost, an attempt begun); its `id` is given here.

        One of the same kind, rank and attempt that lies less than `repeated_ns` back becomes this one: it then says how
        often it happened, in its text and as `times` in its data, and when last. The event of a run that is gone is
        dropped; its `id` stays 0.
        """

    async def trimmed(self) -> dict[str, int]:
        """How many log lines, events and filter passes were more than a run keeps, by table, since the store began."""

    async def upkeep_failures(self) -> int:
        """How often the upkeep has set a run aside that it could not work on, since the store began."""

    # --- control

    async def controls(self, run: str) -> tuple[ControlRow, ...]:
        """What the ranks declared, by control and rank."""

    async def add_command(self, command: CommandRow, actor: str) -> CommandRow:
        """Writes the command and its audit row in one transaction; with a known `id` returns what is there."""

    async def command_delivered(self, run: str, command: str, rank: int) -> CommandRow | None:
        """Notes that the rank has seen the command; None when there is no such command."""

    async def expire_command(self, run: str, command: str) -> CommandRow | None:
        """Ends a command that nobody answered; None when it has ended already."""

    async def commands(self, run: str, limit: int = 200) -> tuple[CommandRow, ...]:
        """The newest commands, oldest first."""

    async def command(self, run: str, command: str) -> CommandRow | None:
        """One command."""

    # --- traces, tokens

    async def put_trace(self, trace: TraceRow) -> None:
        """Inserts or replaces a trace's row.

        Raises:
            StoreUnavailable: its run is gone.
        """

    async def update_trace(self, trace: TraceRow) -> bool:
        """Replaces a trace's row; False where it is gone."""

    async def delete_trace(self, trace: TraceRow) -> None:
        """Removes a trace's row."""

    async def traces(self, run: str) -> tuple[TraceRow, ...]:
        """The run's traces, newest first."""

    async def trace(self, trace: str) -> TraceRow | None:
        """One trace."""

    async def find_trace(self, run: str, rank: int, name: str, sha256: str) -> TraceRow | None:
        """The trace that is ready with this content, rank and name."""

    async def unfinished_traces(self) -> tuple[TraceRow, ...]:
        """The traces of all runs that are `uploading`."""

    async def traces_to_summarise(self, last_run: str, most_bytes: int | None, limit: int) -> tuple[TraceRow, ...]:
        """The first of the traces that are ready and whose summary is pending.

        Args:
            last_run: runs take turns; this one had the last.
            most_bytes: of files of at most this size, None for any.
            limit: at most so many.
        """

    async def attempt(self, run: str, attempt: str) -> int | None:
        """The number of an attempt; None where no process of it has said hello."""

    async def add_token(self, token: TokenRow) -> None:
        """Keeps a token."""

    async def tokens(self) -> tuple[TokenRow, ...]:
        """All tokens."""

    async def delete_token(self, token: str) -> bool:
        """Removes a token; False when there was none."""
