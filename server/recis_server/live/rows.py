"""The points of one frame that belong to a chart: one column for all of its series.

Must not know charts or buckets.
"""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recis.wire.codec import points_columns
from recis.wire.messages import Points
from recis_server.store.values import StoredFrame

__all__ = ["Rows", "select_rows"]


@dataclass(frozen=True, slots=True)
class Rows:
    """Points of some series from one writer; those of the series `keys[i]` begin at `begins[i]`, in order of step.

    Arrays as in `PointsSlice`, of equal length. `version` is that of the run after their commit.
    """

    version: int
    rank: int
    attempt: int
    keys: tuple[str, ...]
    begins: npt.NDArray[np.intp]
    steps: npt.NDArray[np.int64]
    times: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]

    def places(self) -> npt.NDArray[np.intp]:
        """Return for each point the place of its series in `keys`."""
        return np.repeat(np.arange(len(self.keys)), np.diff(self.begins, append=len(self.steps)))

    def inside(self, first: int | None, last: int | None) -> "Rows | None":
        """Return the points from step `first` to `last`, None for no bound; None if there are none."""
        inside = np.ones(len(self.steps), dtype=np.bool_)
        if first is not None:
            inside &= self.steps >= first
        if last is not None:
            inside &= self.steps <= last
        if inside.all():
            return self
        places = self.places()[inside]
        if not len(places):
            return None
        begins = _begins(places)
        keys = tuple(self.keys[place] for place in places[begins].tolist())
        columns = (self.steps[inside], self.times[inside], self.values[inside])
        return Rows(self.version, self.rank, self.attempt, keys, begins, *columns)


def select_rows(version: int, stored: StoredFrame, keys: Collection[str]) -> Rows | None:
    """Return the points of these keys in a frame; None if there are none.

    A series is merged from all sets of names that it was reported among: unmerged, the parts would look like retrained
    steps, for which a chart is reread. The arrays are copies: views would keep the whole frame alive.
    """
    parts = []
    for record in stored.frame.records:
        if isinstance(record, Points):
            places = [place for place, key in enumerate(record.keys) if key in keys]
            if places:
                steps, times, values = points_columns(record)
                parts.append(([record.keys[place] for place in places], steps, times, values[places]))
    if not parts:
        return None
    about = (version, stored.stream.rank, stored.stream.attempt)
    if len(parts) == 1:
        found, steps, times, values = parts[0]
        num, begins = len(found), np.arange(len(found)) * len(steps)
        return Rows(*about, tuple(found), begins, np.tile(steps, num), np.tile(times, num), values.ravel())
    numbers = {key: number for number, key in enumerate(dict.fromkeys(key for part in parts for key in part[0]))}
    series = np.concatenate([np.repeat([numbers[key] for key in part[0]], len(part[1])) for part in parts])
    steps = np.concatenate([np.tile(part[1], len(part[0])) for part in parts])
    times = np.concatenate([np.tile(part[2], len(part[0])) for part in parts])
    values = np.concatenate([part[3].ravel() for part in parts])
    order = np.lexsort((steps, series))
    return Rows(*about, tuple(numbers), _begins(series[order]), steps[order], times[order], values[order])


def _begins(numbers: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """Return where runs of equal numbers begin."""
    return np.flatnonzero(np.concatenate(([True], numbers[1:] != numbers[:-1])))
