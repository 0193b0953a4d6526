"""Whether a series has changed at a step by more than its noise, from a window of points before and one after.

The noise of a window's mean is estimated by *batch means*: the window is divided into at most ten intervals of steps,
and the standard error is that of the means of these intervals (Law, "Simulation Modeling and Analysis", 5th ed.,
9.5.3), here about a straight line through them, since a metric that falls steadily is not noisy. Neighbouring points of
a training are correlated; means of long enough intervals hardly are, and what is left is corrected for by their
first-order autocorrelation r, as they are, without the line: the variance is multiplied by (1 + r) / (1 - r), never by
less than 1 (Priestley, "Spectral Analysis and Time Series", 5.3.2). Intervals of 95 % follow from Student's t.

A difference of the means alone would call every falling loss an effect. Therefore a change is one only if it also goes
beyond the trend of the window before, a straight line through its batch means, continued over the window after
(interrupted time series: Bernal, Cummins, Gasparrini, Int. J. Epidemiology 46(1), 2017). In simulations without any
effect, both conditions hold for about 1 % of series whose correlation is short compared with the window, and for 10 %
of random walks, which are nothing but trends.

Must not know stores, runs or steps as such: positions are counted from the start of a window.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

__all__ = ["Change", "Sample", "Side", "Verdict", "compare", "quantile"]

Floats = npt.NDArray[np.float64]
Verdict = Literal["higher", "lower", "trend", "noise", "unknown"]

NUM_BATCHES = 10
MIN_BATCHES = 3
_MAX_CORRELATION = 0.9
_ROUNDING = 1e-9
_T95 = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
)


@dataclass(frozen=True, slots=True)
class Sample:
    """The points of one rank in a window of a length: positions from 0 to below the length, values finite or not."""

    positions: Floats
    values: Floats

    @property
    def is_finite(self) -> npt.NDArray[np.bool_]:
        """Return which values are finite."""
        return np.isfinite(self.values)


@dataclass(frozen=True, slots=True)
class Side:
    """One window: the mean of its finite values, its standard error, and how many values there are.

    `mean` is None without finite values, `error` if there are too few to tell. `count` counts all values, `nan` those
    not finite.
    """

    mean: float | None
    error: float | None
    count: int
    nan: int


@dataclass(frozen=True, slots=True)
class Change:
    """Two windows compared.

    `difference` is that of the means, and `noise` half the length of its interval of 95 %. `trend` is the difference
    that the trend before would have made, and `trend_noise` belongs to what goes beyond it.
    """

    before: Side
    after: Side
    difference: float | None
    noise: float | None
    trend: float | None
    trend_noise: float | None
    verdict: Verdict


def quantile(freedom: float) -> float:
    """Return Student's t for a two-sided interval of 95 %, rounded up to whole degrees of freedom, 20 at most."""
    return _T95[min(max(math.floor(freedom), 1), len(_T95)) - 1]


def compare(before: Sequence[Sample], after: Sequence[Sample], length: float, *, add: bool = False) -> Change:
    """Compare the windows of some ranks, given in the same order for both.

    Ranks without finite values in one of the windows are omitted. Each rank counts alike, however many points it has.

    Args:
        before: the window before, rank by rank.
        after: the window after.
        length: the length of each window.
        add: whether the figures are the sums over the ranks, rather than their means.
    """
    used = [
        (one, other) for one, other in zip(before, after, strict=True) if one.is_finite.any() and other.is_finite.any()
    ]
    # In units of the largest value, rounded to a power of two: squares of very large and very small values would not be
    # finite, or would be zero.
    largest = max((float(np.abs(one.values[one.is_finite]).max()) for pair in used for one in pair), default=1.0)
    unit = math.ldexp(1.0, math.frexp(largest)[1] - 1) if largest else 1.0
    ranks = len(used) if add else 1
    first = _batches([one for one, _ in used], length, ranks, unit)
    second = _batches([other for _, other in used], length, ranks, unit)
    sides = _side(before, first, unit), _side(after, second, unit)
    if not used:
        return Change(*sides, None, None, None, None, "unknown")
    difference = second.mean - first.mean
    if min(len(first.means), len(second.means)) < MIN_BATCHES:
        return Change(*sides, difference * unit, None, None, None, "unknown")
    trend, trend_noise = _trend(first, second)
    size = max(abs(first.mean), abs(second.mean))
    noise = _rounded(_noise(first, second), size)
    rounding = _ROUNDING * size
    beyond = difference - trend
    verdict: Verdict = "higher" if difference > 0 else "lower"
    if abs(difference) <= noise + rounding:
        verdict = "noise"
    elif abs(beyond) <= trend_noise + rounding or beyond * difference < 0:
        verdict = "trend"
    return Change(*sides, difference * unit, noise * unit, trend * unit, trend_noise * unit, verdict)


@dataclass(frozen=True, slots=True)
class _Batches:
    """Means over intervals of a window, the centres of these in lengths of the window, and the mean of all."""

    means: Floats
    centres: Floats
    mean: float

    @property
    def line(self) -> tuple[float, float]:
        """Return the slope of a straight line through the means, and the sum of squares of the centres about theirs."""
        x = self.centres - self.centres.mean()
        square = float(x @ x)
        return float(x @ self.means) / square, square

    @property
    def spread(self) -> float:
        """Return the variance of a mean about the line."""
        x, y = self.centres - self.centres.mean(), self.means - self.means.mean()
        rest = y - self.line[0] * x
        return float(rest @ rest) / (len(rest) - 2) * _inflation(y)


def _batches(samples: Sequence[Sample], length: float, ranks: int, unit: float) -> _Batches:
    """Return the batches of some ranks in some unit: their mean, times a number of ranks."""
    if not samples:
        return _Batches(np.empty(0), np.empty(0), math.nan)
    number = min(NUM_BATCHES, max(int(one.is_finite.sum()) for one in samples))
    rows, means_of_ranks = [], []
    for one in samples:
        positions, values = one.positions[one.is_finite], one.values[one.is_finite] / unit
        place = np.minimum((positions * number / length).astype(np.int64), number - 1)
        counts = np.bincount(place, minlength=number)
        # Relative to the rank's mean: an interval in which a rank has no point must not shift the mean of all.
        sums = np.bincount(place, values - values.mean(), minlength=number)
        rows.append(np.where(counts > 0, sums / np.maximum(counts, 1), np.nan))
        means_of_ranks.append(values.mean())
    table = np.array(rows)
    there = ~np.isnan(table).all(axis=0)
    mean = float(np.mean(means_of_ranks))
    means = np.nanmean(table[:, there], axis=0) + mean
    return _Batches(means * ranks, (np.flatnonzero(there) + 0.5) / number, mean * ranks)


def _side(samples: Sequence[Sample], batches: _Batches, unit: float) -> Side:
    count = sum(len(one.values) for one in samples)
    nan = count - sum(int(one.is_finite.sum()) for one in samples)
    enough = len(batches.means) >= MIN_BATCHES
    return Side(
        None if math.isnan(batches.mean) else batches.mean * unit,
        _rounded(math.sqrt(batches.spread / len(batches.means)), batches.mean) * unit if enough else None,
        count,
        nan,
    )


def _rounded(error: float, value: float) -> float:
    """Return an error, 0 if it comes from rounding only."""
    return 0.0 if error <= _ROUNDING * abs(value) else error


def _inflation(centred: Floats) -> float:
    """Return the factor by which correlation between neighbours raises the variance of their mean."""
    square = float(centred @ centred)
    if square == 0.0:
        return 1.0
    # The estimate from n values is too low by about 1 / n.
    correlation = float(centred[1:] @ centred[:-1]) / square + 1.0 / len(centred)
    correlation = min(max(correlation, 0.0), _MAX_CORRELATION)
    return (1.0 + correlation) / (1.0 - correlation)


def _noise(first: _Batches, second: _Batches) -> float:
    """Return half the interval of the difference of the means, with Welch's degrees of freedom."""
    (one, freedom_of_one), (other, freedom_of_other) = (
        (side.spread / len(side.means), len(side.means) - 2) for side in (first, second)
    )
    if one + other == 0.0:
        return 0.0
    share = one / (one + other)
    freedom = 1.0 / (share**2 / freedom_of_one + (1.0 - share) ** 2 / freedom_of_other)
    return quantile(freedom) * math.sqrt(one + other)


def _trend(first: _Batches, second: _Batches) -> tuple[float, float]:
    """Return the difference that the trend before would make, and half the interval of what goes beyond it."""
    number = len(first.means)
    slope, square = first.line
    # A window's length lies between the centres of the two windows.
    variance = first.spread * (1.0 / number + 1.0 / square) + second.spread / len(second.means)
    return slope, quantile(number - 2) * math.sqrt(variance)
