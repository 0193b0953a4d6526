"""Aggregation of points into buckets on a fixed grid: pure functions on arrays.

Must not know where points come from or who asks. A bucket of width w covers the steps `[i * w, (i + 1) * w)`; w is a
power of two, so a bucket of one width is exactly two of the next narrower width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from recis_server.store.points.arrays import newest_rows
from recis_server.store.values import Buckets, Floats

__all__ = [
    "Extent",
    "Points",
    "bucketize",
    "choose_width",
    "coarsen",
    "combine_series",
    "envelope",
    "fit_width",
    "grid_of",
    "merge",
    "single_points",
    "unfold",
]

NANOS = 1e-9


class Points(Protocol):
    """Points of one series in order of arrival; arrays of length n, `times` in nanoseconds."""

    @property
    def steps(self) -> npt.NDArray[np.int64]:
        """Steps in any order, possibly repeated."""

    @property
    def times(self) -> npt.NDArray[np.int64]:
        """Time of each measurement."""

    @property
    def values(self) -> npt.NDArray[np.float64]:
        """Measured values, finite or not."""


def choose_width(start: int, stop: int, points: int) -> int:
    """Return the smallest power of two whose grid covers `start <= step < stop` with at most `points` buckets.

    Return 1 if `points` is 0. Every grid has an edge at step 0: a range across it has at least two buckets.
    """
    width = 1
    if points <= 0 or stop <= start:
        return width
    if start < 0 < stop:
        points = max(2, points)
    while (stop - 1) // width - start // width + 1 > points:
        width *= 2
    return width


@dataclass(frozen=True, slots=True)
class Extent:
    """The extent of a series in the range of a chart: its first and last step, and its number of points."""

    first: int
    last: int
    count: int


def fit_width(start: int | None, stop: int | None, points: int, extents: Sequence[Extent], finest: int) -> int:
    """Return the width of a chart's buckets: the one rule for reading a chart and for keeping it up to date.

    With `start` and `stop` it depends on them alone, so that no bucket changes as data arrives. If an end is open, each
    point is a bucket of its own as long as no series has more than `points`; beyond that, the width fits the range from
    the first to the last step of all series. `points` 0 means no limit.

    Args:
        start: the first step of the range, None for open.
        stop: the step after the last, None for open.
        points: the most buckets per series.
        extents: the extent of each series with points in the range.
        finest: buckets are at least 2^`finest` steps wide, because some single points have been dropped.
    """
    if start is not None and stop is not None:
        width = choose_width(start, stop, points)
    elif points == 0 or not extents or (finest == 0 and all(one.count <= points for one in extents)):
        width = 1
    else:
        width = choose_width(min(one.first for one in extents), max(one.last for one in extents) + 1, points)
    return max(width, 1 << finest)


def unfold(points: Points) -> Buckets:
    """Return every point as a bucket of its own, in order of step; of equal steps the last one counts."""
    steps, times, values = points.steps, points.times, points.values
    if len(steps) > 1 and not bool((steps[1:] > steps[:-1]).all()):
        rows = newest_rows(steps)
        steps, times, values = steps[rows], times[rows], values[rows]
    return _single(steps, times, values)


def _single(steps: npt.NDArray[np.int64], times: npt.NDArray[np.int64], values: Floats) -> Buckets:
    finite = np.where(np.isfinite(values), values, np.nan)
    return Buckets(
        x=steps.astype(np.float64),
        time=times.astype(np.float64) * NANOS,
        min=finite,
        max=finite,
        mean=finite,
        last=values.astype(np.float64),
        count=np.ones(len(steps)),
        nan=np.isnan(finite).astype(np.float64),
    )


def bucketize(points: Points, width: int) -> Buckets:
    """Return the points in buckets of `width` steps."""
    return coarsen(unfold(points), width)


def coarsen(buckets: Buckets, width: int) -> Buckets:
    """Return the points in wider buckets of `width` steps, a multiple of the present width."""
    if len(buckets) == 0:
        return buckets
    return _combine(buckets, grid_of(buckets.x, width))


def grid_of(x: Floats, width: int) -> Floats:
    """Return the first step of the bucket of `width` steps that contains each step."""
    grid: Floats = np.floor(x / width) * width
    return grid


def merge(older: Buckets, newer: Buckets) -> Buckets:
    """Merge buckets of equal width; in a common bucket, every point of `newer` came after those of `older`.

    Only for points of different steps: a rewritten step requires a fresh read.
    """
    both = Buckets(*(np.concatenate(pair) for pair in zip(older.columns(), newer.columns(), strict=True)))
    order = np.argsort(both.x, kind="stable")
    ordered = Buckets(*(column[order] for column in both.columns()))
    return _combine(ordered, ordered.x)


def single_points(
    steps: npt.NDArray[np.int64], times: npt.NDArray[np.int64], values: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return points as buckets of their own: the eight columns of `Buckets` as rows of one array."""
    return np.stack(_single(steps, times, values).columns())


def combine_series(
    series: npt.NDArray[np.intp], buckets: npt.NDArray[np.float64], width: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]:
    """Combine buckets of several series into buckets of `width` steps: what `coarsen` does for one series.

    Only for points of different steps: a rewritten step requires a fresh read.

    Args:
        series: a number for each bucket: to which series it belongs.
        buckets: the eight columns of `Buckets` as rows; those of one series in order of step.
        width: at least the present width of each bucket.

    Returns:
        The same two for the combined buckets, in order of series, then of step.
    """
    order = np.argsort(series, kind="stable")
    series, buckets = series[order], buckets[:, order]
    grid = grid_of(buckets[0], width)
    begins = np.concatenate(([True], (grid[1:] != grid[:-1]) | (series[1:] != series[:-1])))
    combined = _combine(Buckets(*buckets), grid, np.flatnonzero(begins))
    return series[begins], np.stack(combined.columns())


def envelope(series: Sequence[Buckets]) -> Buckets:
    """Return one band over several ranks of equal width: the extremes, the mean over all points, the last in time."""
    both = Buckets(*(np.concatenate(column) for column in zip(*(one.columns() for one in series), strict=True)))
    order = np.lexsort((both.time, both.x))
    ordered = Buckets(*(column[order] for column in both.columns()))
    return _combine(ordered, ordered.x)


def _combine(buckets: Buckets, grid: Floats, first: npt.NDArray[np.intp] | None = None) -> Buckets:
    """Combine rows with the same position on the grid; the grid must not decrease.

    Args:
        buckets: the rows.
        grid: the position of each.
        first: where a new bucket begins, if not only at a new position.
    """
    if len(grid) == 0:
        return buckets
    if first is None:
        first = np.flatnonzero(np.concatenate(([True], grid[1:] != grid[:-1])))
    if len(first) == len(grid):
        return Buckets(grid, *buckets.columns()[1:])
    last = np.append(first[1:], len(grid)) - 1
    count, nan = np.add.reduceat(buckets.count, first), np.add.reduceat(buckets.nan, first)
    low, high = np.fmin.reduceat(buckets.min, first), np.fmax.reduceat(buckets.max, first)
    return Buckets(
        x=grid[first],
        time=buckets.time[last],
        min=low,
        max=high,
        mean=_mean(buckets, first, count - nan, low, high),
        last=buckets.last[last],
        count=count,
        nan=nan,
    )


def _mean(buckets: Buckets, first: npt.NDArray[np.intp], finite: Floats, low: Floats, high: Floats) -> Floats:
    weight = buckets.count - buckets.nan
    mean = np.where(weight > 0, buckets.mean, 0.0)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        result = np.add.reduceat(mean * weight, first) / finite
        # Sums of values near the largest float overflow although their mean does not: add shares instead.
        wide = ~np.isfinite(result) & (finite > 0)
        if wide.any():
            rows = np.diff(np.append(first, len(weight)))
            shares = np.add.reduceat(mean * (weight / np.repeat(np.maximum(finite, 1.0), rows)), first)
            result = np.where(wide, shares, result)
    # Rounding must not move a mean outside its bucket's extremes.
    return np.clip(result, low, high)
