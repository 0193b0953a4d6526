"""Points of one series as arrays, each step once.

Owns which of several points of one step counts; must not know SQL, runs or sockets.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recis_server.store.steps import LAST_STEP

__all__ = ["NO_POINTS", "PointArrays", "newest_rows"]


@dataclass(frozen=True, slots=True)
class PointArrays:
    """Points of one series in one attempt in order of step, each step once; arrays of equal length n.

    `steps` int64, `times` int64 ns, `values` float64.
    """

    steps: npt.NDArray[np.int64]
    times: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.steps)

    def between(self, low: int, high: int) -> "PointArrays":
        """Return the points of `low <= step < high`; `LAST_STEP` as `high` is open."""
        first, stop = np.searchsorted(self.steps, (low, high))
        if high >= LAST_STEP:
            stop = len(self.steps)
        return PointArrays(self.steps[first:stop], self.times[first:stop], self.values[first:stop])

    @staticmethod
    def join(parts: Sequence["PointArrays"]) -> "PointArrays":
        """Return all points; of equal steps in two parts, that of the later part counts."""
        filled = [part for part in parts if len(part)] or [NO_POINTS]
        steps, times, values = filled[0].steps, filled[0].times, filled[0].values
        if len(filled) > 1:
            steps = np.concatenate([part.steps for part in filled])
            times = np.concatenate([part.times for part in filled])
            values = np.concatenate([part.values for part in filled])
        # Most runs never repeat steps: then the rows are already in order.
        if not bool((steps[1:] > steps[:-1]).all()):
            rows = newest_rows(steps)
            steps, times, values = steps[rows], times[rows], values[rows]
        return PointArrays(steps, times, values)


NO_POINTS = PointArrays(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float64))


def newest_rows(steps: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the rows that count, in order of step, if later rows replace earlier ones of the same step.

    Args:
        steps: `[n]` int64 in order of arrival.

    Returns:
        `[m]` int64 row numbers, m <= n, such that `steps[rows]` increases strictly.
    """
    order = np.argsort(steps, kind="stable")
    ordered = steps[order]
    last_of_step = np.ones(len(ordered), dtype=bool)
    last_of_step[:-1] = ordered[1:] != ordered[:-1]
    return order[last_of_step].astype(np.int64, copy=False)
