"""What a store is to everybody above it: the calls and the values that pass through them.

Two engines stand behind it (SQLite, PostgreSQL); nobody above this file may know which. Knows no HTTP and no socket.
All methods are awaited on the server's event loop and never block it. Times are nanoseconds since the Unix epoch.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, NamedTuple, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from recis.wire.messages import Frame, Hello
from recis_server.store.buckets import Buckets
from recis_server.store.codec import load

__all__ = [
    "ChartRead",
    "ChartSeries",
    "CommandRow",
    "Commit",
    "ControlRow",
    "EventRow",
    "MetricRow",
    "PassRow",
    "PointsSlice",
    "RankResult",
    "RunMark",
    "RunPage",
    "RunRow",
    "RunsWanted",
    "Store",
    "StoredFrame",
    "StreamRow",
    "TokenRow",
    "TraceRow",
    "Versioned",
]

CommandState = Literal["pending", "delivered", "applied", "rejected", "expired"]
RankState = Literal["pending", "delivered", "applied", "rejected"]
TraceState = Literal["uploading", "ready", "lost"]


@dataclass(frozen=True, slots=True)
class StreamRow:
    """One writer as the store knows it; `acked` is its highest committed frame number.

    `attempt` counts from 1 in the order of first greetings, `started_ns` is when that attempt began: of two attempts
    the one with the greater `order` is the newer.
    """

    run: str
    writer: str
    rank: int
    attempt: int
    acked: int
    started_ns: int

    @property
    def order(self) -> tuple[int, int]:
        """The attempt's place in time."""
        return self.started_ns, self.attempt


@dataclass(frozen=True, slots=True)
class StoredFrame:
    """A frame on its way into the store, with the writer that it came from."""

    stream: StreamRow
    frame: Frame
    received_ns: int


@dataclass(frozen=True, slots=True)
class Commit:
    """One durable transaction of frames; `number` rises by one per commit for the life of the data folder."""

    number: int
    frames: tuple[StoredFrame, ...]


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run; `state` is what its ranks said (`running`, `finished`, `failed`), silence is judged above the store.

    Whatever changes anything of it raises `updated_ns`.
    """

    id: str
    project: str
    name: str
    state: str
    created_ns: int
    updated_ns: int
    ranks: tuple[int, ...]
    world_size: int
    attempts: int
    last_step: int | None
    summary: dict[str, float]
    tags: tuple[str, ...]
    notes: str
    config_json: str
    points: int
    missing: int
    dropped: int
    message: str = ""

    @property
    def config(self) -> Any:
        """The configuration as values; read from JSON each time, because lists of runs have no use for it."""
        return load(self.config_json)


class Versioned(Protocol):
    """What somebody keeps of a run; it is still right while the run's `updated_ns` is this one."""

    @property
    def updated_ns(self) -> int:
        """Of the row that it was made of."""


S_co = TypeVar("S_co", covariant=True)
S = TypeVar("S", bound=Versioned)


class RunMark(NamedTuple):
    """What decides whether a run is shown: `state` is what its ranks said."""

    id: str
    state: str
    updated_ns: int


@dataclass(frozen=True, slots=True)
class RunsWanted:
    """Which runs, and what of them; None is all.

    `text` has words, all of which are looked for in id, project, name and tags. `said` is a state as ranks say it.
    `accept` decides further; it is called on another thread. `sort` is a field, `-` in front for descending; `cursor`
    is that of the page before, with the same `sort`. `keys` are the metrics in the summaries.
    """

    project: str | None = None
    text: str | None = None
    said: str | None = None
    accept: Callable[[RunMark], bool] | None = None
    sort: str = "-created_at"
    limit: int = 500
    cursor: str | None = None
    keys: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class RunPage(Generic[S_co]):
    """Runs in the asked order, and the cursor of the next page, None on the last.

    All of them as they were after one commit. There may be fewer than asked for although more follow.
    """

    runs: tuple[S_co, ...]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class MetricRow:
    """One series name of a run over all its ranks."""

    key: str
    ranks: tuple[int, ...]
    count: int
    first_step: int
    last_step: int
    last_value: float
    nan_count: int


@dataclass(frozen=True, slots=True)
class PointsSlice:
    """Points of one series on one rank, after newer values have replaced older ones of the same step; steps rise.

    Arrays have length n: `steps` int64, `times` int64 ns, `values` float64, `attempts` int32 (which attempt won).
    `attempt` is the newest of `attempts`. With `superseded` these are points of one attempt that a newer attempt has
    gone back behind: it has reported this series at their step or before.
    """

    key: str
    rank: int
    steps: npt.NDArray[np.int64]
    times: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]
    attempts: npt.NDArray[np.int32]
    attempt: int
    superseded: bool = False


@dataclass(frozen=True, slots=True)
class ChartSeries:
    """One series of a chart; `rank` is None for an envelope over ranks, `attempt` the newest that its points are of.

    With `superseded` these are points of one attempt that a newer attempt has gone back behind. `first` and `last` are
    the first and the last step of its points in the range.
    """

    key: str
    rank: int | None
    attempt: int
    buckets: Buckets
    superseded: bool = False
    first: int = 0
    last: int = 0


@dataclass(frozen=True, slots=True)
class ChartRead:
    """Series on one grid of `width` steps per bucket, as of one commit; series without points are left out.

    `firsts` tells of every key and rank that was asked for, with points in the range or not, the first step that each
    attempt has ever reported.
    """

    commit: int
    width: int
    series: tuple[ChartSeries, ...]
    firsts: Mapping[tuple[str, int], Mapping[int, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PassRow:
    """One filter pass over one table on one rank; fields as in the wire record `pass`."""

    step: int
    time_ns: int
    rank: int
    attempt: int
    table: str
    interval: int | None
    rows_before: int
    evicted: int
    rows_after: int
    admitted: int
    milliseconds: float
    bytes: int


@dataclass(frozen=True, slots=True)
class EventRow:
    """Something that happened to a run and is drawn on its charts; `id` rises in order of arrival."""

    id: int
    kind: str
    level: str
    time_ns: int
    step: int | None
    rank: int | None
    text: str
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ControlRow:
    """A control as one rank declared it last."""

    control: str
    rank: int
    type: str
    value: Any
    step: int | None
    minimum: float | None
    maximum: float | None
    nullable: bool
    unit: str
    description: str


@dataclass(frozen=True, slots=True)
class RankResult:
    """How a command stands on one rank."""

    state: RankState
    old: Any = None
    new: Any = None
    step: int | None = None
    time_ns: int | None = None
    message: str = ""


@dataclass(frozen=True, slots=True)
class CommandRow:
    """One line of the ledger; `ranks` has the ranks that it is meant for."""

    id: str
    run: str
    control: str
    value: Any
    state: CommandState
    requested_by: str
    requested_ns: int
    reason: str
    apply_at_step: int | None
    ranks: dict[int, RankResult] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TraceRow:
    """One profiler trace; the bytes lie in the blobs under `blob`."""

    id: str
    run: str
    name: str
    rank: int
    attempt: int
    step: int
    size: int
    sha256: str
    state: TraceState
    created_ns: int
    blob: str
    summary: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class TokenRow:
    """An access token, kept as the hex SHA-256 of its text."""

    id: str
    name: str
    scope: str
    digest: str
    created_ns: int


class Store(Protocol):
    """Points, runs, events, commands. See `docs/architecture.md` for the promises behind each call."""

    def subscribe(self, listener: Callable[[Commit], None]) -> None:
        """Calls `listener` on the event loop after every commit, in order of their numbers, before `append` returns."""

    async def open(self) -> None:
        """Creates or migrates the tables; raises `StoreError` for a newer schema, a locked or an unwritable place."""

    async def close(self) -> None:
        """Drains the writer and closes all connections; safe to call twice."""

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

        Each point is a bucket of its own where no series has more than `points`, or `points` is 0; else the width is
        `choose_width` over the range that they cover. It is wider where the store no longer has single points. Points
        that a newer attempt has gone back behind are left out; with `superseded` they stand apart, after each rank's,
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

    def export(self, run: str, keys: Sequence[str] | None) -> AsyncIterator[PointsSlice]:
        """All points of the run, series after series, the superseded ones of each attempt apart."""

    # --- hash tables, events, log lines

    async def passes(
        self, run: str, table: str | None, rank: int | None, start: int | None, stop: int | None
    ) -> tuple[PassRow, ...]:
        """Filter passes in order of step; at most the newest 10,000."""

    async def events(self, run: str, limit: int = 1000) -> tuple[EventRow, ...]:
        """The newest events, oldest first."""

    async def add_event(self, run: str, event: EventRow) -> EventRow:
        """Stores an event of the server's own (a connection lost, an attempt begun); its `id` is given here."""

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
        """Inserts or replaces a trace's row."""

    async def traces(self, run: str) -> tuple[TraceRow, ...]:
        """The run's traces, newest first."""

    async def trace(self, trace: str) -> TraceRow | None:
        """One trace."""

    async def add_token(self, token: TokenRow) -> None:
        """Keeps a token."""

    async def tokens(self) -> tuple[TokenRow, ...]:
        """All tokens."""

    async def delete_token(self, token: str) -> bool:
        """Removes a token; False when there was none."""
