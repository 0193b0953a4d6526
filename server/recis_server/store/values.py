"""What passes through a store: frames on their way in, rows and series on their way out.

Values only, no calls; times are nanoseconds since the Unix epoch. Must not know engines, HTTP or sockets.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Generic, Literal, NamedTuple, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from recis.wire.messages import Frame
from recis_server.store.json_columns import load

__all__ = [
    "Buckets",
    "ChartRead",
    "ChartSeries",
    "CommandRow",
    "Commit",
    "ControlRow",
    "EventRow",
    "ExportSize",
    "Floats",
    "MetricRow",
    "PassRow",
    "PointsSlice",
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
]

Floats = npt.NDArray[np.float64]
CommandState = Literal["pending", "delivered", "applied", "rejected", "expired"]
RankState = Literal["pending", "delivered", "applied", "rejected"]
TraceState = Literal["uploading", "ready", "lost"]
SummaryState = Literal["pending", "ready", "failed"]


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


# A struct, because one is made of every frame, and a frozen dataclass takes several times as long to make.
class StoredFrame(Struct, frozen=True):
    """A frame on its way into the store, with the writer that it came from."""

    stream: StreamRow
    frame: Frame
    received_ns: int


@dataclass(frozen=True, slots=True)
class Commit:
    """One durable transaction of frames; `number` rises by one per commit for the life of the data folder."""

    number: int
    frames: tuple[StoredFrame, ...]


class RunRow(NamedTuple):
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
class Buckets:
    """Eight float64 columns of equal length, in order of `x`; empty buckets are left out.

    `x` is the bucket's first step, `time` (seconds) and `last` belong to its last point, finite or not; `min`, `max`
    and `mean` are over finite values, NaN where there is none; `count` counts all points, `nan` those not finite.
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
        """The columns in the order of the wire."""
        return tuple(getattr(self, column.name) for column in fields(self))

    def since(self, x: float) -> "Buckets":
        """The buckets from `x` on."""
        first = int(np.searchsorted(self.x, x))
        return Buckets(*(column[first:] for column in self.columns()))


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

    `width` is at least 2^`finest`: below that the store has no single points of some of them any more. `firsts` tells
    of every key and rank that was asked for, with points in the range or not, the first step that each attempt has ever
    reported.
    """

    commit: int
    width: int
    series: tuple[ChartSeries, ...]
    firsts: Mapping[tuple[str, int], Mapping[int, int]] = field(default_factory=dict)
    finest: int = 0


@dataclass(frozen=True, slots=True)
class ExportSize:
    """How much an export holds: `points` rows lie in the store, of a step that was reported again perhaps several.

    Of `expired` further points only buckets are left: retention has dropped them.
    """

    points: int
    expired: int


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
    """One profiler trace; the bytes lie in the blobs under `blob`.

    `summary_error` says why summarising has failed; it is empty in the other states.
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
    """An access token, kept as the hex SHA-256 of its text."""

    id: str
    name: str
    scope: str
    digest: str
    created_ns: int
