"""One chart's answer: the points of some series in as many buckets as fit, as JSON or as bytes.

Reads through the store's interface and calls `series` for the arithmetic; must not know HTTP.
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import numpy as np

from recis_server.query.series import encode_binary
from recis_server.query.shapes import plain
from recis_server.store.buckets import envelope
from recis_server.store.interface import Store
from recis_server.store.values import ChartSeries

__all__ = ["Chart", "chart_bytes", "chart_json", "read_chart"]

Ranks = int | Literal["all", "band"] | None


@dataclass(frozen=True, slots=True)
class Chart:
    """Series on one grid of `width` steps per bucket."""

    run: str
    width: int
    start: int | None
    stop: int | None
    series: tuple[ChartSeries, ...]


async def read_chart(
    store: Store,
    run: str,
    keys: Sequence[str],
    rank: Ranks,
    start: int | None,
    stop: int | None,
    points: int,
    *,
    superseded: bool = False,
) -> Chart:
    """The keys on the narrowest grid with at most `points` buckets, each point for itself where all fit.

    Without a rank each key is that of the lowest rank that has it.

    Raises:
        InvalidValue: points without buckets were asked for, and they are too many for one answer.
    """
    one = [rank] if isinstance(rank, int) else None
    ranks: Sequence[int] | Literal["lowest"] | None = "lowest" if rank is None else one
    read = await store.chart(run, keys, ranks, start, stop, points, superseded=superseded)
    series = read.series
    if rank == "band":
        series = await asyncio.to_thread(lambda: tuple(_bands(read.series)))
    return Chart(run, read.width, start, stop, series)


def _bands(series: Sequence[ChartSeries]) -> Iterator[ChartSeries]:
    """One band over the ranks of each key, and one over what each older attempt has lost of it."""
    bands: dict[tuple[str, int | None], list[ChartSeries]] = {}
    for one in series:
        bands.setdefault((one.key, one.attempt if one.superseded else None), []).append(one)
    for (key, lost), ranks in bands.items():
        attempt = max(one.attempt for one in ranks)
        yield ChartSeries(key, None, attempt, envelope([one.buckets for one in ranks]), lost is not None)


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
