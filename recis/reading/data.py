"""The result of `recis.monitor.read`: series as numpy columns, and all of them as one pandas frame.

Owns the order of points and the types of columns; must not know where they come from.
"""

import difflib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from recis.wire.exports import ExportPart

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["RunData", "Series", "collect"]


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """The points of one series: columns of equal length n, rank after rank.

    Of each rank the current points come first, in order of step; then, if requested, those superseded by a later
    attempt, attempt after attempt.

    Attributes:
        key: the series' name.
        steps: `[n]` int64.
        times: `[n]` datetime64[ns], UTC.
        values: `[n]` float64; NaN and infinities are values.
        ranks: `[n]` int32.
        attempts: `[n]` int32, from 1 in the order in which they first connected to the server.
        superseded: `[n]` bool.
    """

    key: str
    steps: npt.NDArray[np.int64]
    times: npt.NDArray[np.datetime64]
    values: npt.NDArray[np.float64]
    ranks: npt.NDArray[np.int32]
    attempts: npt.NDArray[np.int32]
    superseded: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.steps)

    def __repr__(self) -> str:
        if not len(self):
            return f"<Series {self.key!r}: no points>"
        ranks = sorted(set(self.ranks.tolist()))
        on = f"rank {ranks[0]}" if len(ranks) == 1 else f"{len(ranks)} ranks"
        return f"<Series {self.key!r}: {len(self):,} points, steps {self.steps.min()} to {self.steps.max()}, {on}>"

    def on_rank(self, rank: int) -> "Series":
        """Return the points of one rank."""
        rows = self.ranks == rank
        columns = (self.steps, self.times, self.values, self.ranks, self.attempts, self.superseded)
        return Series(self.key, *(column[rows] for column in columns))


class RunData(Mapping[str, Series]):
    """The series of a run by their names, in the order in which they first appeared.

    Attributes:
        run: the run.
        expired: number of older points that are missing because the server keeps only their buckets (`--retain-raw`).
    """

    def __init__(self, run: str, expired: int, series: Iterable[Series]) -> None:
        self.run = run
        self.expired = expired
        self._series = {one.key: one for one in series}

    def __getitem__(self, key: str) -> Series:
        if key in self._series:
            return self._series[key]
        alike = difflib.get_close_matches(str(key), self._series, n=1)
        known = f"did you mean {alike[0]!r}?" if alike else f"there are {sorted(self._series)[:20]}"
        raise KeyError(f"run {self.run!r} has no series {key!r} here; {known}")

    def __iter__(self) -> Iterator[str]:
        return iter(self._series)

    def __len__(self) -> int:
        return len(self._series)

    def __repr__(self) -> str:
        points = sum(len(one) for one in self._series.values())
        return f"<RunData {self.run!r}: {len(self)} series, {points:,} points>"

    def frame(self) -> "DataFrame":
        """Return all points, one a row: `key` (category), `rank`, `attempt` (int32), `step` (int64), `time`
        (datetime64[ns, UTC]), `value` (float64), `superseded` (bool).

        Raises:
            ImportError: pandas is not installed.
        """
        try:
            # An extra, needed only for frames.
            import pandas as pd
        except ImportError as error:
            raise ImportError(
                "frame() needs pandas (pip install pandas); without it there are numpy columns: data['loss'].values"
            ) from error
        every = list(self._series.values())
        codes = np.repeat(np.arange(len(every)), [len(one) for one in every])
        times = _joined([one.times for one in every], "datetime64[ns]")
        return pd.DataFrame(
            {
                "key": pd.Categorical.from_codes(codes, categories=list(self._series)),
                "rank": _joined([one.ranks for one in every], np.int32),
                "attempt": _joined([one.attempts for one in every], np.int32),
                "step": _joined([one.steps for one in every], np.int64),
                "time": pd.DatetimeIndex(times, tz="UTC"),
                "value": _joined([one.values for one in every], np.float64),
                "superseded": _joined([one.superseded for one in every], np.bool_),
            }
        )


def collect(parts: Iterable[ExportPart]) -> list[Series]:
    """Collect series from parts that come in any order, each in order of its steps."""
    groups: dict[str, list[ExportPart]] = defaultdict(list)
    for part in parts:
        groups[part.key].append(part)
    return [_series(key, sorted(group, key=_place)) for key, group in groups.items()]


def _place(part: ExportPart) -> tuple[int, bool, int]:
    # Current points come in order of step, from several attempts; superseded ones come from one attempt a part.
    return part.rank, part.superseded, part.attempts[0][0] if part.superseded and part.attempts else 0


def _series(key: str, parts: list[ExportPart]) -> Series:
    counts = [len(part.steps) // 8 for part in parts]
    attempts = [pair for part in parts for pair in part.attempts]
    return Series(
        key,
        steps=np.frombuffer(b"".join([part.steps for part in parts]), "<i8").astype(np.int64, copy=False),
        times=np.frombuffer(b"".join([part.times for part in parts]), "<i8").astype(np.int64).view("datetime64[ns]"),
        values=np.frombuffer(b"".join([part.values for part in parts]), "<f8").astype(np.float64, copy=False),
        ranks=np.repeat(np.array([part.rank for part in parts], np.int32), counts),
        attempts=np.repeat(np.array([one for one, _ in attempts], np.int32), [count for _, count in attempts]),
        superseded=np.repeat(np.array([part.superseded for part in parts], np.bool_), counts),
    )


def _joined(columns: list[npt.NDArray[np.generic]], dtype: npt.DTypeLike) -> npt.NDArray[np.generic]:
    return np.concatenate([np.empty(0, dtype), *columns])
