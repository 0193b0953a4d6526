import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recis_server.store.points.buckets import (
    Extent,
    bucketize,
    choose_width,
    coarsen,
    envelope,
    fit_width,
    merge,
    unfold,
)
from recis_server.store.values import Buckets, PointsSlice

Point = tuple[int, float]
STEPS = st.one_of(st.integers(0, 300), st.integers(2**40, 2**40 + 300))
VALUES = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True),
    st.integers(-5, 5).map(float),
    st.sampled_from([math.nan, math.inf, -math.inf, 1.7e308, -1.7e308]),
)
POINTS = st.lists(st.tuples(STEPS, VALUES), max_size=120)
WIDTHS = st.integers(0, 12).map(lambda power: 2**power)


def slice_of(points: list[Point]) -> PointsSlice:
    steps = np.array([step for step, _ in points], dtype=np.int64)
    times = np.arange(len(points), dtype=np.int64) * 10**9
    values = np.array([value for _, value in points], dtype=np.float64)
    return PointsSlice("loss", 0, steps, times, values, np.ones(len(points), dtype=np.int32), 1)


def by_hand(points: list[Point], width: int) -> dict[int, dict[str, float]]:
    newest = {step: (value, second) for second, (step, value) in enumerate(points)}
    cells: dict[int, list[tuple[int, float, int]]] = {}
    for step in sorted(newest):
        cells.setdefault(step // width * width, []).append((step, *newest[step]))
    expected = {}
    for x, members in cells.items():
        finite = [value for _, value, _ in members if math.isfinite(value)]
        mean = math.fsum(value / len(finite) for value in finite) if finite else math.nan
        expected[x] = {
            "time": members[-1][2],
            "min": min(finite, default=math.nan),
            "max": max(finite, default=math.nan),
            "mean": mean,
            "last": members[-1][1],
            "count": len(members),
            "nan": len(members) - len(finite),
        }
    return expected


def same(left: float, right: float) -> bool:
    return left == right or (math.isnan(left) and math.isnan(right))


def check(buckets: Buckets, expected: dict[int, dict[str, float]]) -> None:
    assert buckets.x.tolist() == sorted(expected)
    for row, x in enumerate(buckets.x.tolist()):
        wanted = expected[int(x)]
        for name in ("min", "max", "last", "count", "nan"):
            assert same(float(getattr(buckets, name)[row]), wanted[name]), (name, x)
        assert float(buckets.time[row]) == pytest.approx(wanted["time"])
        scale = max(abs(wanted["min"]), abs(wanted["max"]), 1e-300)
        assert float(buckets.mean[row]) == pytest.approx(wanted["mean"], rel=1e-9, abs=1e-9 * scale, nan_ok=True)


def columns(buckets: Buckets) -> list[list[float]]:
    return [column.tolist() for column in buckets.columns()]


@given(POINTS, WIDTHS)
def test_buckets_are_what_brute_force_gives(points: list[Point], width: int) -> None:
    check(bucketize(slice_of(points), width), by_hand(points, width))


@given(POINTS, WIDTHS)
def test_raw_points_coarsened_twice_are_the_same_as_once(points: list[Point], width: int) -> None:
    twice = coarsen(coarsen(unfold(slice_of(points)), width), 2 * width)
    check(twice, by_hand(points, 2 * width))


@given(POINTS, WIDTHS, st.integers(0, 120))
def test_old_buckets_never_change_as_data_arrives(points: list[Point], width: int, cut: int) -> None:
    rising = sorted(dict(points).items())
    before, after = bucketize(slice_of(rising[:cut]), width), bucketize(slice_of(rising), width)
    settled = max(0, len(before) - 1)
    for old, new in zip(before.columns(), after.columns(), strict=True):
        np.testing.assert_array_equal(old[:settled], new[:settled])


@given(POINTS, WIDTHS, st.integers(0, 120))
def test_merging_what_came_later_is_the_same_as_one_read(points: list[Point], width: int, cut: int) -> None:
    rising = sorted(dict(points).items())
    older, newer = slice_of(rising[:cut]), slice_of(rising[cut:])
    merged = merge(bucketize(older, width), bucketize(newer, width))
    expected = by_hand(rising, width)
    for x in expected:
        # Seconds start anew in each slice of this test.
        expected[x]["time"] = float(merged.time[merged.x.tolist().index(x)])
    check(merged, expected)


@given(st.integers(0, 2**45), st.integers(1, 2**45), st.integers(1, 5000))
def test_the_width_is_the_smallest_power_of_two_that_fits(start: int, length: int, points: int) -> None:
    stop = start + length
    width = choose_width(start, stop, points)

    def cells(width: int) -> int:
        return (stop - 1) // width - start // width + 1

    assert width & (width - 1) == 0
    assert cells(width) <= points
    assert width == 1 or cells(width // 2) > points


def test_no_points_and_no_range_have_width_one() -> None:
    assert choose_width(0, 100, 0) == 1
    assert choose_width(5, 5, 10) == 1
    assert choose_width(-3, 5, 1) == 8
    assert len(bucketize(slice_of([]), 8)) == 0


EXTENTS = st.lists(
    st.builds(Extent, st.integers(0, 10**6), st.integers(10**6, 10**9), st.integers(1, 10**6)), max_size=3
)


@given(st.integers(-(2**63), 2**63 - 1), st.integers(1, 2**64), st.integers(0, 20_000), EXTENTS, EXTENTS)
def test_the_width_of_a_range_with_both_ends_follows_from_them_alone(
    start: int, length: int, points: int, before: list[Extent], after: list[Extent]
) -> None:
    width = fit_width(start, start + length, points, before, 0)
    assert width == fit_width(start, start + length, points, after, 0) == choose_width(start, start + length, points)
    assert fit_width(start, start + length, points, after, 9) == max(width, 512)


@given(EXTENTS, st.sampled_from([(None, None), (0, None), (None, 10**9)]), st.integers(1, 1000))
def test_an_open_range_has_single_points_while_they_fit(
    extents: list[Extent], ends: tuple[int | None, int | None], points: int
) -> None:
    width = fit_width(*ends, points, extents, 0)
    assert (width == 1) == all(one.count <= points for one in extents) or width == 1
    assert fit_width(*ends, 0, extents, 0) == 1
    assert fit_width(*ends, points, extents, 6) >= 64


def test_an_envelope_spans_all_ranks() -> None:
    low, high = slice_of([(0, 1.0), (1, 5.0)]), slice_of([(0, -2.0), (9, math.nan)])
    band = envelope([bucketize(low, 4), bucketize(high, 4)])
    assert band.x.tolist() == [0, 8]
    assert (band.min[0], band.max[0], band.count[0]) == (-2.0, 5.0, 3)
    assert band.mean[0] == pytest.approx(4 / 3)
    assert math.isnan(band.min[1])
    assert band.nan.tolist() == [0, 1]


def test_buckets_since_a_step() -> None:
    buckets = bucketize(slice_of([(0, 1.0), (4, 2.0), (8, 3.0)]), 4)
    assert buckets.since(4).x.tolist() == [4, 8]
    assert len(buckets.since(9)) == 0
