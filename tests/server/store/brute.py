"""What charts must be, worked out point by point in plain Python; nothing here is the store's own arithmetic."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import pytest
from recis_server.store.values import Buckets

__all__ = ["Curve", "Point", "Truth", "assert_buckets", "buckets_of", "combined", "curves_of", "width_of"]


class Point(NamedTuple):
    """One value: its step, its time in ns and itself."""

    step: int
    time_ns: int
    value: float


class Curve(NamedTuple):
    """Key, rank and what a newer attempt has gone back behind: the attempt that lost it, 0 for what counts."""

    key: str
    rank: int
    lost: int


Truth = Mapping[tuple[str, int], Mapping[int, Mapping[int, Point]]]
"""By key and rank, then by attempt (in the order of their starts, from 1): the newest point of each step."""


class Bucket(NamedTuple):
    """A row of a chart."""

    x: float
    time_s: float
    least: float
    most: float
    mean: float
    last: float
    count: int  # type: ignore[assignment]
    strange: int


def curves_of(truth: Truth, start: int | None, stop: int | None, *, superseded: bool) -> dict[Curve, list[Point]]:
    """The points in the range, in order of step."""
    found: dict[Curve, list[Point]] = defaultdict(list)
    for (key, rank), attempts in truth.items():
        for attempt, rows in attempts.items():
            newer = [min(other) for number, other in attempts.items() if number > attempt and other]
            for step, point in rows.items():
                if (start is None or step >= start) and (stop is None or step < stop):
                    is_lost = any(step >= first for first in newer)
                    if superseded or not is_lost:
                        found[Curve(key, rank, attempt if is_lost else 0)].append(point)
    return {line: sorted(points) for line, points in found.items()}


def width_of(curves: Iterable[Sequence[Point]], start: int | None, stop: int | None, most: int) -> int:
    """How many steps a bucket has: the first power of two that fits into the range.

    Where that is open at an end, 1 while no series has too many points, else what fits over what there is.
    """
    shown = list(curves)
    if most == 0:
        return 1
    if start is not None and stop is not None:
        if stop <= start:
            return 1
        low, high = start, stop - 1
    elif all(len(points) <= most for points in shown):
        return 1
    else:
        low = min(points[0].step for points in shown)
        high = max(points[-1].step for points in shown)
    # Zero is an edge of every grid.
    allowed = max(2, most) if low < 0 <= high else most
    width = 1
    while high // width - low // width + 1 > allowed:
        width *= 2
    return width


def buckets_of(points: Sequence[Point], width: int) -> list[Bucket]:
    """In order of step; steps beyond 2^53 stand where the nearest float does."""
    if width == 1:
        return [_bucket(float(point.step), [point]) for point in points]
    cells: dict[float, list[Point]] = defaultdict(list)
    for point in points:
        cells[float(math.floor(float(point.step)) // width * width)].append(point)
    return [_bucket(x, cells[x]) for x in sorted(cells)]


def combined(rows: Sequence[Sequence[Bucket]]) -> list[Bucket]:
    """One band over ranks."""
    cells: dict[float, list[Bucket]] = defaultdict(list)
    for row in rows:
        for bucket in row:
            cells[bucket.x].append(bucket)
    band = []
    for x in sorted(cells):
        parts = cells[x]
        newest = max(parts, key=lambda part: part.time_s)
        finite = [(part.mean, part.count - part.strange) for part in parts if part.count > part.strange]
        total = sum(number for _, number in finite)
        band.append(
            Bucket(
                x,
                newest.time_s,
                min((part.least for part in parts if not math.isnan(part.least)), default=math.nan),
                max((part.most for part in parts if not math.isnan(part.most)), default=math.nan),
                math.fsum(mean * (number / total) for mean, number in finite) if finite else math.nan,
                newest.last,
                sum(part.count for part in parts),
                sum(part.strange for part in parts),
            )
        )
    return band


def _bucket(x: float, points: Sequence[Point]) -> Bucket:
    finite = [point.value for point in points if math.isfinite(point.value)]
    return Bucket(
        x,
        points[-1].time_ns / 1e9,
        min(finite, default=math.nan),
        max(finite, default=math.nan),
        math.fsum(value / len(finite) for value in finite) if finite else math.nan,
        points[-1].value,
        len(points),
        len(points) - len(finite),
    )


def assert_buckets(found: Buckets, expected: Sequence[Bucket]) -> None:
    """Exactly those; times to the microsecond, means as far as adding up in another order allows."""
    assert found.x.tolist() == [bucket.x for bucket in expected]
    for row, bucket in enumerate(expected):
        got = Bucket(*(column[row].item() for column in found.columns()))
        for name in ("least", "most", "last", "count", "strange"):
            one, other = getattr(got, name), getattr(bucket, name)
            assert one == other or (math.isnan(one) and math.isnan(other)), (name, got, bucket)
        assert got.time_s == pytest.approx(bucket.time_s, abs=1e-6, rel=0)
        scale = max(abs(bucket.least), abs(bucket.most))
        assert got.mean == pytest.approx(bucket.mean, rel=1e-9, abs=1e-9 * scale, nan_ok=True), (got, bucket)
