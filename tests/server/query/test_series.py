import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recis_server.query.series import encode_binary
from recis_server.store.buckets import (
    Buckets,
    bucketize,
    choose_width,
    coarsen,
    envelope,
    merge,
    unfold,
)
from recis_server.store.values import ChartSeries, PointsSlice

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


@given(POINTS, st.text(max_size=20))
def test_the_binary_form_can_be_read_back(points: list[Point], key: str) -> None:
    one = ChartSeries(key, None, 2, bucketize(slice_of(points), 4))
    two = ChartSeries("qps", 1, 1, bucketize(slice_of([(1, 2.0)]), 4))
    data = encode_binary("delta", 7, "r", 4, 0, None, [one, two])
    length = int.from_bytes(data[:4], "little")
    assert (4 + length) % 8 == 0
    head = json.loads(data[4 : 4 + length])
    assert (head["v"], head["type"], head["id"], head["run"], head["width"]) == (1, "delta", 7, "r", 4)
    assert (head["start"], head["stop"]) == (0, None)
    assert [series["rank"] for series in head["series"]] == [None, 1]
    for series, source in zip(head["series"], (one, two), strict=True):
        body = np.frombuffer(data, "<f8", 8 * series["n"], 4 + length + series["offset"])
        np.testing.assert_array_equal(body.reshape(8, -1).tolist(), columns(source.buckets))
