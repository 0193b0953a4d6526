"""The values that pass through a store: incoming frames, outgoing rows and series.

Times are nanoseconds since the Unix epoch. Must not know engines, HTTP or sockets.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Generic, Literal, NamedTuple, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from recis.wire.controls import settings_of
from recis.wire.messages import Frame, Pass
from recis_server.store.json_columns import load

__all__ = [
    "OPEN",
    "AttemptRow",
    "Buckets",
    "ChartRead",
    "ChartSeries",
    "CommandRow",
    "Commit",
    "ControlRow",
    "EventRow",
    "ExportSize",
    "Floats",
    "HiddenRun",
    "LinePage",
    "LineRow",
    "LinesWanted",
    "MetricRow",
    "PassRow",
    "PointsSlice",
    "ProcessRow",
    "RankResult",
    "RunMark",
    "RunPage",
    "RunRow",
    "RunsWanted",
    "StoredFrame",
    "StreamRow",
    "TokenRow",
    "TraceRow",
    "Versioned",
    "restoring_id",
]

Floats = npt.NDArray[np.float64]
CommandState = Literal["pending", "delivered", "applied", "rejected", "expired", "superseded"]
RankState = Literal["pending", "delivered", "applied", "rejected", "expired", "superseded"]
OPEN = frozenset({"pending", "delivered"})
"""States of a command, and of its part on one rank, in which it may still take effect."""
TraceState = Literal["uploading", "ready", "lost"]
SummaryState = Literal["pending", "ready", "failed"]


@dataclass(frozen=True, slots=True)
class StreamRow:
    """One writer as known to the store; `acked` is its highest committed frame number.

    `attempt` counts from 1 in the order of first greetings, `started_ns` is the start of that attempt: of two attempts
    the one with the greater `order` is the later.
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


# A struct, because one is created per frame, and a frozen dataclass takes several times as long.
class StoredFrame(Struct, frozen=True):
    """An incoming frame with its writer."""

    stream: StreamRow
    frame: Frame
    received_ns: int


@dataclass(frozen=True, slots=True)
class Commit:
    """One durable transaction of frames; `number` increases by one per commit of a sole server.

    `versions` has for each run of `frames` its version (`updated_ns`) before and after: a read with the later one, or a
    higher one, includes the commit.
    """

    number: int
    frames: tuple[StoredFrame, ...]
    versions: Mapping[str, tuple[int, int]] = field(default_factory=dict)


class RunRow(NamedTuple):
    """A run; `state` is what its ranks reported (`running`, `finished`, `failed`), silence is judged above the store.

    Every change increases `updated_ns`.
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
    archived: bool = False

    @property
    def config(self) -> Any:
        """Return the configuration as values; parsed on each access, because lists of runs do not use it."""
        return load(self.config_json)


class Versioned(Protocol):
    """A cached representation of a run, valid while the run's `updated_ns` is the same."""

    @property
    def updated_ns(self) -> int:
        """The `updated_ns` of the row that it represents."""


S_co = TypeVar("S_co", covariant=True)
S = TypeVar("S", bound=Versioned)


class RunMark(NamedTuple):
    """What decides whether a run is listed; `state` is what its ranks reported."""

    id: str
    state: str
    updated_ns: int


class HiddenRun(NamedTuple):
    """A deleted run that can be restored until its deletion becomes final."""

    id: str
    final_ns: int


@dataclass(frozen=True, slots=True)
class RunsWanted:
    """A query for runs; None is all.

    `text` has words, all of which must occur in id, project, name or tags; a run has all of the `tags`. `said` is a
    state as reported by ranks. `accept` filters further; it is called on another thread. `sort` is a sort key, prefixed
    by `-` for descending order; `cursor` is that of the previous page, with the same `sort`. `keys` are the metrics in
    the summaries.
    """

    project: str | None = None
    text: str | None = None
    said: str | None = None
    accept: Callable[[RunMark], bool] | None = None
    sort: str = "-created_at"
    limit: int = 500
    cursor: str | None = None
    keys: tuple[str, ...] | None = None
    archived: bool | None = None
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RunPage(Generic[S_co]):
    """Runs in the requested order, and the cursor of the next page, None on the last.

    All runs are as of one commit. There may be fewer than requested although more follow.
    """

    runs: tuple[S_co, ...]
    next_cursor: str | None


# A struct, for the same reason as `StoredFrame`: a run may have very many names.
class MetricRow(Struct, frozen=True):
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
    """Points of one series on one rank; of equal steps the latest value counts; steps increase.

    Arrays have length n: `steps` int64, `times` int64 ns, `values` float64, `attempts` int32 (the attempt of each
    point). `attempt` is the latest of `attempts`. With `superseded` these are points of one attempt that were
    superseded by a later attempt, which has reported this series at their step or before.
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
class Buckets:
    """Eight float64 columns of equal length, in order of `x`; empty buckets are omitted.

    `x` is the bucket's first step, `time` (seconds) and `last` belong to its last point, finite or not; `min`, `max`
    and `mean` are over finite values, NaN if there are none; `count` counts all points, `nan` those not finite.
    """

    x: Floats
    time: Floats
    min: Floats
    max: Floats
    mean: Floats
    last: Floats
    count: Floats
    nan: Floats

    def __len__(self) -> int:
        return len(self.x)

    def columns(self) -> tuple[Floats, ...]:
        """Return the columns in the order of the wire."""
        return tuple(getattr(self, column.name) for column in fields(self))

    def since(self, x: float) -> "Buckets":
        """Return the buckets from `x` on."""
        first = int(np.searchsorted(self.x, x))
        return Buckets(*(column[first:] for column in self.columns()))


@dataclass(frozen=True, slots=True)
class ChartSeries:
    """One series of a chart; `rank` is None for an envelope over ranks, `attempt` the latest of its points.

    With `superseded` these are points of one attempt superseded by a later attempt. `first` and `last` are the first
    and the last step of its points in the range.
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
    """Series on one grid of `width` steps per bucket, as of one version of the run; series without points are omitted.

    `width` is at least 2^`finest`: below that, some single points have been dropped. `firsts` has, for every key and
    rank requested, with points in the range or not, the first step that each attempt has ever reported.
    """

    version: int
    width: int
    series: tuple[ChartSeries, ...]
    firsts: Mapping[tuple[str, int], Mapping[int, int]] = field(default_factory=dict)
    finest: int = 0


@dataclass(frozen=True, slots=True)
class ExportSize:
    """The size of an export: `points` rows are in the store, of a step that was reported again perhaps several.

    Of `expired` further points only buckets remain.
    """

    points: int
    expired: int


@dataclass(frozen=True, slots=True)
class PassRow:
    """One filter pass over one hash table on one rank."""

    rank: int
    attempt: int
    record: Pass


@dataclass(frozen=True, slots=True)
class EventRow:
    """Something that happened to a run and is drawn on its charts; `id` increases in order of arrival."""

    id: int
    kind: str
    level: str
    time_ns: int
    step: int | None
    rank: int | None
    text: str
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class LinesWanted:
    """A query for lines of a run's log; None is all.

    With `after`, the first `limit` lines that have arrived after that one; otherwise the last ones before `before`, or
    of all. `words` are in lower case, and all of them must occur.
    """

    after: int | None = None
    before: int | None = None
    rank: int | None = None
    attempt: int | None = None
    stream: str | None = None
    level: str | None = None
    words: tuple[str, ...] = ()
    limit: int = 1000


class LineRow(NamedTuple):
    """A line of a run's log; `id` increases in order of arrival. `stream` is empty for a reported line."""

    id: int
    rank: int
    attempt: int
    time_ns: int
    step: int | None
    level: str
    stream: str
    text: str


@dataclass(frozen=True, slots=True)
class LinePage:
    """Lines in order of arrival, and the places of the first and last line that were looked at.

    With `more`, there are others beyond: after `last` in a forward query, before `first` otherwise. `dropped` counts
    lines that the run's writers have lost, `removed` those deleted beyond its bound.
    """

    lines: tuple[LineRow, ...]
    first: int
    last: int
    more: bool
    dropped: int
    removed: int


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """One start of a run's job."""

    number: int
    started_ns: int


@dataclass(frozen=True, slots=True)
class ProcessRow:
    """The process of one rank in one attempt; `info` is what it says about itself, empty if it says nothing."""

    rank: int
    host: str
    pid: int
    client: str
    started_ns: int
    info: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ControlRow:
    """A control as one rank last declared it.

    `desired` is the rank's value according to the command `desired_by`, which is empty if there is none.
    """

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
    choices: tuple[Any, ...] = ()
    apply: str = "together"
    confirm: str = ""
    desired: Any = None
    desired_by: str = ""


@dataclass(frozen=True, slots=True)
class RankResult:
    """The state of a command on one rank."""

    state: RankState
    old: Any = None
    new: Any = None
    step: int | None = None
    time_ns: int | None = None
    message: str = ""


@dataclass(frozen=True, slots=True)
class CommandRow:
    """One command of the ledger; `ranks` has the ranks that it applies to.

    Without a `control` it sets several, and `value` maps their names to values. `seq` increases in the order in which
    commands were accepted. `superseded_by` is the command that has replaced it where it had not taken effect, and
    `reverts` the command whose values it restores.
    """

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
    seq: int = field(default=0, compare=False)
    superseded_by: str = ""
    reverts: str = ""

    @property
    def settings(self) -> Mapping[str, Any]:
        """Return the controls that it sets, each with its value."""
        return settings_of(self.control, self.value)

    @property
    def open_ranks(self) -> frozenset[int]:
        """Return the ranks that have not answered it and still may."""
        return frozenset(rank for rank, result in self.ranks.items() if result.state in OPEN)


def restoring_id(command_id: str, control: str, writer: str) -> str:
    """Return the id of the command by which a process that has just started gets what `command_id` asked for."""
    digest = hashlib.sha256(f"{command_id}/{control}/{writer}".encode()).hexdigest()
    return f"again-{digest[:32]}"


@dataclass(frozen=True, slots=True)
class TraceRow:
    """One profiler trace; its file is in the blobs under `blob`.

    `summary_error` is the reason if summarising has failed, and empty otherwise.
    """

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
    summary_state: SummaryState = "pending"
    summary_error: str = ""


@dataclass(frozen=True, slots=True)
class TokenRow:
    """An access token, stored as the hex SHA-256 of its text; times are None for never."""

    id: str
    name: str
    scope: str
    digest: str
    created_ns: int
    expires_ns: int | None = None
    used_ns: int | None = None
