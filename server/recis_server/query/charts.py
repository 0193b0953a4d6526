"""Charts: how HTTP and live views request them, and the two formats of the answer.

Owns the meaning of `rank`, bands over ranks, and the formats in JSON and in bytes. The store determines which points
there are and how wide buckets are; must not know HTTP, sockets or watches.
"""

import asyncio
import json
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np

from recis_server.errors import InvalidValue
from recis_server.query.shapes import plain
from recis_server.store.interface import Store
from recis_server.store.points.buckets import envelope
from recis_server.store.steps import FIRST_STEP
from recis_server.store.values import ChartRead, ChartSeries, Floats

__all__ = [
    "ID_AT",
    "ID_BYTES",
    "Ranks",
    "SeriesBytes",
    "check_range",
    "encode_binary",
    "encode_json",
    "id_bytes",
    "read_chart",
    "series_bytes",
]

Ranks = int | Literal["all", "band", "summary"] | None
"""One rank, each rank separately, all in one band, a summary of all, or for each key the lowest rank that has it."""
_ID_MEMBER = b'{"id":'
ID_AT = 4 + len(_ID_MEMBER)
ID_BYTES = 10
"""Position of the id of the watch in a binary message."""


def check_range(start: int | None, stop: int | None, field: str = "stop") -> None:
    """Raise `InvalidValue` for an empty range of steps."""
    lowest = FIRST_STEP if start is None else start
    if stop is not None and stop <= lowest:
        raise InvalidValue(field, f"expected a stop above start ({lowest}), got {stop}")


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
) -> ChartRead:
    """Return the keys in buckets on one grid, with at most `points` buckets per series.

    Raises:
        InvalidValue: points without buckets were requested, and they are too many for one answer.
    """
    one = [rank] if isinstance(rank, int) else None
    ranks: Sequence[int] | Literal["lowest"] | None = "lowest" if rank is None else one
    read = await store.chart(run, keys, ranks, start, stop, points, superseded=superseded)
    if rank not in ("band", "summary"):
        return read
    reduce = _bands if rank == "band" else _summaries
    return replace(read, series=await asyncio.to_thread(lambda: tuple(reduce(read.series))))


def _summaries(series: Sequence[ChartSeries]) -> Iterator[ChartSeries]:
    """Yield for each key a band with the median of the ranks, then the ranks that lie highest and lowest."""
    keys: dict[str, list[ChartSeries]] = {}
    for one in series:
        if not one.superseded and len(one.buckets):
            keys.setdefault(one.key, []).append(one)
    for key, ranks in keys.items():
        band = envelope([one.buckets for one in ranks])
        means = np.full((len(ranks), len(band)), np.nan)
        for row, one in zip(means, ranks, strict=True):
            row[np.searchsorted(band.x, one.buckets.x)] = one.buckets.mean
        median = _median(means, 0)
        # Median, not mean: one bucket of a rank must not make it the odd one.
        distances = np.nan_to_num(_median(means - median, 1))
        yield ChartSeries(key, None, max(one.attempt for one in ranks), replace(band, mean=median))
        yield from (ranks[i] for i in sorted({int(distances.argmax()), int(distances.argmin())}))


def _median(values: Floats, axis: int) -> Floats:
    """Return the median of the finite values along an axis, NaN where there is none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        median: Floats = np.nanmedian(values, axis=axis)
    return median


def _bands(series: Sequence[ChartSeries]) -> Iterator[ChartSeries]:
    """Yield one band over the ranks of each key, and one over the superseded points of each older attempt."""
    bands: dict[tuple[str, int | None], list[ChartSeries]] = {}
    for one in series:
        bands.setdefault((one.key, one.attempt if one.superseded else None), []).append(one)
    for (key, lost), ranks in bands.items():
        attempt = max(one.attempt for one in ranks)
        yield ChartSeries(key, None, attempt, envelope([one.buckets for one in ranks]), lost is not None)


def encode_json(read: ChartRead) -> bytes:
    """Return a chart as JSON; NaN in a bucket is null, while the `last` of a raw point keeps it as text."""
    series = []
    for one in read.series:
        columns: dict[str, Any] = {"key": one.key, "rank": one.rank, "attempt": one.attempt}
        columns["superseded"] = one.superseded
        for name in ("x", "time", "min", "max", "mean", "last", "count", "nan"):
            column = getattr(one.buckets, name)
            columns[name] = _integers(column) if name in ("x", "count", "nan") else column.tolist()
        if read.width == 1:
            columns["last"] = plain(columns["last"])
        series.append(columns)
    return msgspec.json.encode({"series": series, "resolution": read.width})


def _integers(column: Floats) -> list[int]:
    # The float nearest to the last steps exceeds an int64.
    fits = not len(column) or float(column.max()) < 2.0**63
    return column.astype(np.int64).tolist() if fits else [int(number) for number in column.tolist()]


class SeriesBytes(NamedTuple):
    """Return the `n` buckets of one series as bytes: eight columns of float64, little-endian, one after the other."""

    key: str
    rank: int | None
    attempt: int
    superseded: bool
    n: int
    columns: bytes


def series_bytes(one: ChartSeries) -> SeriesBytes:
    """Return a series for `encode_binary`."""
    columns = np.concatenate(one.buckets.columns()).astype("<f8", copy=False).tobytes()
    return SeriesBytes(one.key, one.rank, one.attempt, one.superseded, len(one.buckets), columns)


def encode_binary(
    kind: Literal["snapshot", "delta"],
    watch_id: int,
    run: str,
    width: int,
    start: int | None,
    stop: int | None,
    series: Iterable[SeriesBytes],
) -> bytes:
    """Return series as one binary message in the format of `docs/protocol.md`, `/ws/live`.

    The id of the watch is the `ID_BYTES` bytes at `ID_AT`, so that one message can be sent under several ids.
    """
    heads: list[dict[str, Any]] = []
    columns: list[bytes] = []
    offset = 0
    for one in series:
        head = {"key": one.key, "rank": one.rank, "attempt": one.attempt, "superseded": one.superseded}
        heads.append({**head, "n": one.n, "offset": offset})
        columns.append(one.columns)
        offset += len(one.columns)
    about = {"v": 1, "type": kind, "run": run, "width": width, "start": start, "stop": stop, "series": heads}
    text = _ID_MEMBER + id_bytes(watch_id) + b"," + json.dumps(about, separators=(",", ":")).encode()[1:]
    text += b" " * (-(4 + len(text)) % 8)
    return b"".join((len(text).to_bytes(4, "little"), text, *columns))


def id_bytes(watch_id: int) -> bytes:
    """Return the id of a watch as it is in a binary message; spaces after a number are valid JSON."""
    return b"%-*d" % (ID_BYTES, watch_id)
