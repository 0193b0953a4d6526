"""The buckets of a chart that have changed, of all its series at once.

Owns folding new points into buckets; must not know keys, ranks, commits or messages. A series is a number counted from
0. All series are folded with the same few array operations: for a handful of points, the calls take far longer than the
points.
"""

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from recis_server.store.points.buckets import combine_series, single_points

__all__ = ["BucketChanges"]

MAX_ROWS = 1 << 16
"""Points that are not in buckets yet; beyond that they are folded, and bounded by the buckets of the view."""
_COLUMNS = 8
_Numbers: TypeAlias = npt.NDArray[np.intp]
_Columns: TypeAlias = npt.NDArray[np.float64]


class BucketChanges:
    """Folds new points into buckets and returns the buckets that have changed.

    Args:
        width: steps per bucket.
    """

    def __init__(self, width: int) -> None:
        self.width = width
        self._open: _Columns = np.empty((_COLUMNS, 0))
        self._has_open: npt.NDArray[np.bool_] = np.empty(0, dtype=np.bool_)
        self._changed: tuple[_Numbers, _Columns] | None = None
        self._rows: list[tuple[_Numbers, _Columns]] = []
        self._num_rows = 0

    def __bool__(self) -> bool:
        """Return whether a bucket has changed since `take`."""
        return self._changed is not None or bool(self._rows)

    def start(self, series: int, bucket: _Columns | None) -> None:
        """Add a series with its last bucket, `[8]`, which may still grow, or without any bucket."""
        if series >= len(self._has_open):
            more = max(16, series + 1)
            self._open = np.concatenate((self._open, np.empty((_COLUMNS, more))), axis=1)
            self._has_open = np.concatenate((self._has_open, np.zeros(more, dtype=np.bool_)))
        self._has_open[series] = bucket is not None
        if bucket is not None:
            self._open[:, series] = bucket

    def add(
        self, series: _Numbers, steps: npt.NDArray[np.int64], times: npt.NDArray[np.int64], values: _Columns
    ) -> None:
        """Add points, those of one series in order of step and after all that it has."""
        self._rows.append((series, single_points(steps, times, values)))
        self._num_rows += len(series)
        if self._num_rows > MAX_ROWS:
            self._fold()

    def take(self) -> Iterator[tuple[int, _Columns]]:
        """Yield each series with changed buckets, `[8, n]`, once."""
        self._fold()
        if self._changed is None:
            return
        (series, buckets), self._changed = self._changed, None
        ends = np.append(np.flatnonzero(series[1:] != series[:-1]), len(series) - 1)
        self._open[:, series[ends]] = buckets[:, ends]
        self._has_open[series[ends]] = True
        begin = 0
        for number, end in zip(series[ends].tolist(), (ends + 1).tolist(), strict=True):
            yield number, buckets[:, begin:end]
            begin = end

    def _fold(self) -> None:
        if not self._rows:
            return
        is_growing = np.zeros(len(self._has_open), dtype=np.bool_)
        for numbers, _ in self._rows:
            is_growing[numbers] = True
        is_growing &= self._has_open
        parts = self._rows
        if self._changed is not None:
            is_growing[self._changed[0]] = False  # its last bucket is among the changed ones
            parts = [self._changed, *parts]
        growing = np.flatnonzero(is_growing)
        parts = [(growing, self._open[:, growing]), *parts]
        series = np.concatenate([numbers for numbers, _ in parts])
        buckets = np.concatenate([columns for _, columns in parts], axis=1)
        self._changed = combine_series(series, buckets, self.width)
        self._rows, self._num_rows = [], 0
