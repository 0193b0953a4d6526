"""One chart's answer: the points of some series in as many buckets as fit, as JSON or as bytes; and exports.

Reads through the store's interface and calls `series` for the arithmetic; must not know HTTP.
"""

import csv
import io
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import numpy as np

from recis_server.errors import InvalidValue
from recis_server.query.series import SeriesBuckets, bucketize, choose_width, encode_binary, envelope
from recis_server.query.shapes import plain
from recis_server.store.interface import PointsSlice, Store

__all__ = ["Chart", "chart_bytes", "chart_json", "export_rows", "read_chart"]

MAX_POINTS = 2_000_000
"""The most points that one answer without buckets may hold."""
_EXPORT_ROWS = 5000
Ranks = int | Literal["all", "band"] | None


@dataclass(frozen=True, slots=True)
class Chart:
    """Series on one grid of `width` steps per bucket."""

    run: str
    width: int
    start: int | None
    stop: int | None
    series: tuple[SeriesBuckets, ...]


async def read_slices(
    store: Store,
    run: str,
    keys: Sequence[str],
    rank: Ranks,
    start: int | None,
    stop: int | None,
    *,
    superseded: bool = False,
) -> list[PointsSlice]:
    """The points of the keys; without a rank those of the lowest rank that has the key."""
    slices: list[PointsSlice] = []
    ranks = [rank] if isinstance(rank, int) else None
    for key in keys:
        _, found = await store.points(run, key, ranks, start, stop, superseded=superseded)
        slices.extend(one for one in found if rank is not None or one.rank == found[0].rank)
    return slices


def read_chart(
    run: str, slices: Sequence[PointsSlice], rank: Ranks, start: int | None, stop: int | None, points: int
) -> Chart:
    """Puts points on the grid: the narrowest with at most `points` buckets, each point for itself where all fit.

    Raises:
        InvalidValue: points without buckets were asked for, and they are too many for one answer.
    """
    most = max((len(one.steps) for one in slices), default=0)
    if points == 0 and sum(len(one.steps) for one in slices) > MAX_POINTS:
        raise InvalidValue("points", f"expected at most {MAX_POINTS} raw points in one answer; use the export for more")
    width = 1
    if 0 < points < most:
        low = min(int(one.steps[0]) for one in slices)
        high = max(int(one.steps[-1]) for one in slices)
        width = choose_width(low, high + 1, points)
    series = [SeriesBuckets(one.key, one.rank, one.attempt, bucketize(one, width), one.superseded) for one in slices]
    return Chart(run, width, start, stop, tuple(_bands(series) if rank == "band" else series))


def _bands(series: Sequence[SeriesBuckets]) -> Iterator[SeriesBuckets]:
    """One band over the ranks of each key, and one over what each older attempt has lost of it."""
    bands: dict[tuple[str, int | None], list[SeriesBuckets]] = {}
    for one in series:
        bands.setdefault((one.key, one.attempt if one.superseded else None), []).append(one)
    for (key, lost), ranks in bands.items():
        attempt = max(one.attempt for one in ranks)
        yield SeriesBuckets(key, None, attempt, envelope([one.buckets for one in ranks]), lost is not None)


def chart_bytes(chart: Chart) -> bytes:
    """The chart in the layout of a snapshot of `/ws/live`."""
    return encode_binary("snapshot", 0, chart.run, chart.width, chart.start, chart.stop, chart.series)


def chart_json(chart: Chart) -> bytes:
    """The chart as JSON; NaN in a bucket is null, a raw point's `last` keeps it as text."""
    series = []
    for one in chart.series:
        columns: dict[str, Any] = {"key": one.key, "rank": one.rank, "attempt": one.attempt}
        columns["superseded"] = one.superseded
        for name in ("x", "time", "min", "max", "mean", "last", "count", "nan"):
            column = getattr(one.buckets, name)
            columns[name] = (column.astype(np.int64) if name in ("x", "count", "nan") else column).tolist()
        if chart.width == 1:
            columns["last"] = plain(columns["last"])
        series.append(columns)
    return msgspec.json.encode({"series": series, "resolution": chart.width})


async def export_rows(
    store: Store, run: str, keys: Sequence[str] | None, form: Literal["csv", "jsonl"]
) -> AsyncIterator[bytes]:
    """All points of a run, superseded ones marked, one line each, a few thousand lines at a time."""
    if form == "csv":
        yield b"key,rank,attempt,step,time,value,superseded\n"
    async for one in store.export(run, keys):
        for first in range(0, len(one.steps), _EXPORT_ROWS):
            rows = slice(first, first + _EXPORT_ROWS)
            lines = zip(
                one.attempts[rows].tolist(),
                one.steps[rows].tolist(),
                (one.times[rows] / 1e9).tolist(),
                plain(one.values[rows].tolist()),
                strict=True,
            )
            yield (_csv if form == "csv" else _jsonl)(one, lines)


def _csv(one: PointsSlice, lines: Iterator[tuple[Any, ...]]) -> bytes:
    text = io.StringIO()
    mark = int(one.superseded)
    csv.writer(text, lineterminator="\n").writerows((one.key, one.rank, *line, mark) for line in lines)
    return text.getvalue().encode()


def _jsonl(one: PointsSlice, lines: Iterator[tuple[Any, ...]]) -> bytes:
    names = ("attempt", "step", "time", "value")
    head = {"key": one.key, "rank": one.rank}
    tail = {"superseded": one.superseded}
    return b"".join(
        msgspec.json.encode({**head, **dict(zip(names, line, strict=True)), **tail}) + b"\n" for line in lines
    )
