import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recis_server.query.noise import Change, Sample, compare, quantile
from recis_server.store.values import Floats

LENGTH = 100
FINITE = st.floats(-1e6, 1e6)
WINDOW = st.lists(st.tuples(st.integers(0, LENGTH - 1), FINITE), min_size=1, max_size=40, unique_by=lambda one: one[0])


def sample(values: object, length: int = LENGTH) -> Sample:
    column: Floats = np.asarray(values, dtype=np.float64)
    return Sample(np.arange(float(len(column))) * (length / len(column)), column)


def placed(pairs: list[tuple[int, float]]) -> Sample:
    return Sample(np.array([float(place) for place, _ in pairs]), np.array([value for _, value in pairs]))


def split(values: object) -> Change:
    column = np.asarray(values, dtype=np.float64)
    half = len(column) // 2
    return compare([sample(column[:half])], [sample(column[half:])], LENGTH)


def walks(correlation: float, number: int, seed: int) -> Floats:
    """Return autoregressive series of twice the window, one per row; 1 makes random walks."""
    shocks = np.random.default_rng(seed).normal(size=(number, 400))
    series = np.zeros_like(shocks)
    for at in range(1, 400):
        series[:, at] = correlation * series[:, at - 1] + shocks[:, at]
    return series[:, 200:]


@pytest.mark.parametrize(("correlation", "share"), [(0.0, 0.02), (0.5, 0.02), (0.9, 0.04), (1.0, 0.15)])
def test_noise_is_rarely_called_an_effect_however_correlated(correlation: float, share: float) -> None:
    verdicts = [split(series).verdict for series in walks(correlation, 300, 7)]
    assert sum(verdict in ("higher", "lower") for verdict in verdicts) <= share * len(verdicts)


@pytest.mark.parametrize("start", [20, 100, 1000])
def test_a_falling_loss_is_no_effect(start: int) -> None:
    noise = np.random.default_rng(3).normal(size=(200, 200)) * 0.03
    verdicts = [split(0.5 + 2 / np.sqrt(np.arange(start, start + 200)) + one).verdict for one in noise]
    assert sum(verdict in ("higher", "lower") for verdict in verdicts) <= 4


@pytest.mark.parametrize(("size", "verdict"), [(2.0, "higher"), (-2.0, "lower")])
def test_a_jump_of_twice_the_noise_is_found(size: float, verdict: str) -> None:
    noise = np.random.default_rng(5).normal(size=(100, 200))
    noise[:, 100:] += size
    assert sum(split(one).verdict == verdict for one in noise) >= 90


def test_a_line_that_goes_on_is_a_trend_and_one_that_bends_is_not() -> None:
    line = np.arange(200.0)
    assert split(line).verdict == "trend"
    assert split(line).trend == pytest.approx(split(line).difference)
    assert split(np.concatenate([line[:100], 100 + 5 * line[:100]])).verdict == "higher"


def test_constants_have_no_noise() -> None:
    assert split([5.0] * 20).verdict == "noise"
    change = split([5.0] * 10 + [6.0] * 10)
    assert (change.difference, change.verdict) == (1.0, "higher")
    assert (change.noise, change.before.error) == (0.0, 0.0)


@pytest.mark.parametrize("unit", [1e-300, 5e-324, 1e300, 1.7e308])
def test_the_largest_and_the_smallest_values_are_compared_too(unit: float) -> None:
    change = split([0.0, unit] * 10 + [unit, unit] * 10)
    assert (change.before.count, change.verdict) == (20, "higher")
    assert change.after.mean == pytest.approx(unit)
    assert change.noise is not None
    assert math.isfinite(change.noise)


def test_values_that_are_not_finite_are_counted_and_left_out() -> None:
    change = split([1.0, math.nan, 1.0, math.inf, 1.0, 1.0, 2.0, -math.inf, 2.0, 2.0, 2.0, 2.0])
    assert (change.before.count, change.before.nan, change.before.mean) == (6, 2, 1.0)
    assert (change.after.count, change.after.nan, change.after.mean) == (6, 1, 2.0)
    nothing = split([math.nan] * 10 + [1.0] * 10)
    assert (nothing.verdict, nothing.difference, nothing.before.mean) == ("unknown", None, None)
    assert (nothing.before.count, nothing.before.nan) == (10, 10)


def test_two_values_are_too_few_to_tell() -> None:
    change = split([1.0, 1.0, 2.0, 2.0])
    assert (change.difference, change.noise, change.verdict) == (1.0, None, "unknown")


@given(WINDOW, WINDOW, FINITE)
def test_a_shift_of_all_values_changes_nothing_but_the_means(
    first: list[tuple[int, float]], second: list[tuple[int, float]], shift: float
) -> None:
    plain = compare([placed(first)], [placed(second)], LENGTH)
    shifted = compare(
        [placed([(place, value + shift) for place, value in first])],
        [placed([(place, value + shift) for place, value in second])],
        LENGTH,
    )
    mean_of_all = np.mean([value for _, value in second]) - np.mean([value for _, value in first])
    assert plain.difference == pytest.approx(mean_of_all, rel=1e-6, abs=1e-3)
    assert shifted.difference == pytest.approx(plain.difference, rel=1e-6, abs=1e-3)
    assert (shifted.noise is None) == (plain.noise is None)
    if plain.noise is not None:
        assert plain.noise >= 0
        assert shifted.noise == pytest.approx(plain.noise, rel=1e-6, abs=1e-3)


@given(WINDOW, WINDOW, st.integers(1, 5))
def test_ranks_that_agree_are_as_one(
    first: list[tuple[int, float]], second: list[tuple[int, float]], ranks: int
) -> None:
    one = compare([placed(first)], [placed(second)], LENGTH)
    many = compare([placed(first)] * ranks, [placed(second)] * ranks, LENGTH)
    total = compare([placed(first)] * ranks, [placed(second)] * ranks, LENGTH, add=True)
    assert many.difference == pytest.approx(one.difference)
    assert total.difference == pytest.approx(ranks * (one.difference or 0.0))
    assert many.after.count == ranks * one.after.count
    if one.noise is not None:
        assert many.noise == pytest.approx(one.noise, abs=1e-6)


def test_a_rank_without_values_in_one_window_does_not_shift_the_other() -> None:
    low, high = sample([1.0] * 10), sample([100.0] * 10)
    change = compare([low, high], [low, Sample(np.empty(0), np.empty(0))], LENGTH)
    assert (change.difference, change.verdict) == (0.0, "noise")
    # Nor does an interval in which one of them has no value count.
    gap = Sample(high.positions[3:], high.values[3:])
    assert compare([low, gap], [low, high], LENGTH).noise == pytest.approx(0.0)


def test_quantiles_fall_with_the_degrees_of_freedom() -> None:
    assert [quantile(freedom) for freedom in (0.3, 1, 9.9, 1e9)] == [12.706, 12.706, 2.262, 2.086]
