"""Read benchmarks: from the store in this process, and from a server over HTTP.

Owns the views, the timing of each read, and the check that the answer is complete; must not know result tables.
"""

import asyncio
import http.client
import json
import random
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

import numpy as np
from recis_server.query.charts import read_chart
from recis_server.store.engines.open import open_engine
from recis_server.store.interface import ChartRead
from recis_server.store.sql import SqlStore
from recis_server.store.values import RunsWanted

from benchmarks.datasets import KEY, RUN, SPIKE, DataSet
from benchmarks.measuring import ServerProcess, spread
from benchmarks.places import Place

__all__ = ["POINTS", "HttpReader", "measure_band", "measure_charts", "measure_export", "measure_list", "serving"]

POINTS = 2000
"""Buckets that a chart asks for."""

T = TypeVar("T")
Range = tuple[int | None, int | None]
FULL: Range = (None, None)


@dataclass(frozen=True)
class Answer:
    """The content of a chart: number of buckets of all series, their points, largest value, bytes."""

    buckets: int
    count: int
    highest: float
    num_bytes: int


class HttpReader:
    """A persistent connection, as in a browser."""

    def __init__(self, server: ServerProcess) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)

    def chart(self, start: int | None, stop: int | None, rank: str = "0") -> bytes:
        """Return the binary answer."""
        asked = {"key": KEY, "rank": rank, "points": POINTS, "start": start, "stop": stop}
        query = urlencode({name: value for name, value in asked.items() if value is not None})
        return self.get(f"/api/v1/runs/{RUN}/series?{query}", "application/octet-stream")

    def get(self, path: str, accept: str = "application/json") -> bytes:
        """Return the body of a successful answer."""
        self._connection.request("GET", path, headers={"Accept": accept})
        answer = self._connection.getresponse()
        body = answer.read()
        if answer.status != http.HTTPStatus.OK:
            raise RuntimeError(f"expected an answer to {path}, got {answer.status}: {body[:200]!r}")
        return body

    def stream(self, path: str) -> int | None:
        """Read an answer of any length and return its size, or None if the server rejects the request."""
        self._connection.request("GET", path)
        answer = self._connection.getresponse()
        size = 0
        while block := answer.read(1 << 20):
            size += len(block)
        return size if answer.status == http.HTTPStatus.OK else None

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def decode(body: bytes) -> Answer:
    """Decode a binary answer."""
    size = int.from_bytes(body[:4], "little")
    columns = [
        np.frombuffer(body, "<f8", 8 * one["n"], 4 + size + one["offset"]).reshape(8, -1)
        for one in json.loads(body[4 : 4 + size])["series"]
    ]
    return Answer(
        sum(one.shape[1] for one in columns),
        int(sum(one[6].sum() for one in columns)),
        max(float(np.nanmax(one[3])) for one in columns),
        len(body),
    )


@asynccontextmanager
async def _opened(url: str) -> AsyncIterator[SqlStore]:
    store = SqlStore(open_engine(url), exclusive=False)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


@contextmanager
def serving(url: str) -> Iterator[ServerProcess]:
    """Run a server of this store."""
    with tempfile.TemporaryDirectory() as folder, ServerProcess(Path(folder), options=("--store", url)) as server:
        yield server


def views(rows: int, repeats: int) -> dict[str, list[Range]]:
    """Return ranges by name, one for each read: at varying positions, as of a user who zooms."""
    source = random.Random(rows)
    found: dict[str, list[Range]] = {"full": [FULL] * repeats}
    for name, part in (("10 %", rows // 10), ("1 %", rows // 100), ("single points", min(POINTS, rows // 100))):
        starts = [source.randrange(rows - part) for _ in range(repeats)]
        found[name] = [(start, start + part) for start in starts]
    return found


def _check(body: bytes, points: int) -> Answer:
    answer = decode(body)
    if (answer.count, answer.highest) != (points, SPIKE):
        raise RuntimeError(f"expected {points} points up to {SPIKE}, got {answer}")
    return answer


async def measure_charts(place: Place, data_set: DataSet, repeats: int) -> list[dict[str, Any]]:
    """Return milliseconds of each view of the series, in the store and over HTTP; the full one must be complete."""
    ranges = views(data_set.rows, repeats)
    results = []
    async with _opened(place.url(data_set.name)) as store:

        async def read(view: Range) -> ChartRead:
            return await store.chart(RUN, [KEY], [0], *view, POINTS)

        in_store = {name: await _time(read, asked) for name, asked in ranges.items()}
    with serving(place.url(data_set.name)) as server:
        reader = HttpReader(server)

        async def get(view: Range) -> bytes:
            return reader.chart(*view)

        for name, asked in ranges.items():
            times, body = await _time(get, asked)
            if name == "full":
                _check(body, data_set.points)
            store_times, chart = in_store[name]
            results.append(
                {
                    "engine": place.engine,
                    "points": data_set.points,
                    "view": name,
                    "buckets": len(chart.series[0].buckets),
                    "width": chart.width,
                    "store_ms": spread(store_times),
                    "http_ms": spread(times),
                    "bytes": len(body),
                }
            )
        reader.close()
    return results


async def measure_band(place: Place, data_set: DataSet, repeats: int) -> dict[str, Any]:
    """Return milliseconds of one band over all ranks, in the store and over HTTP."""
    async with _opened(place.url(data_set.name)) as store:

        async def read(_: Range) -> Any:
            return await read_chart(store, RUN, [KEY], "band", None, None, POINTS)

        store_times, _ = await _time(read, [FULL] * repeats)
    with serving(place.url(data_set.name)) as server:
        reader = HttpReader(server)

        async def get(_: Range) -> bytes:
            return reader.chart(None, None, "band")

        times, body = await _time(get, [FULL] * repeats)
        reader.close()
    answer = _check(body, data_set.points)
    return {
        "engine": place.engine,
        "ranks": data_set.ranks,
        "points": data_set.points,
        "buckets": answer.buckets,
        "store_ms": spread(store_times),
        "http_ms": spread(times),
    }


async def measure_list(place: Place, data_set: DataSet, repeats: int) -> dict[str, Any]:
    """Return milliseconds of the list of runs with latest values: pages over HTTP, and all of them in the store."""

    async def read(_: Range) -> int:
        async with asyncio.timeout(60):
            page = await store.runs(RunsWanted(sort="-updated_at", limit=data_set.runs))
        return sum(len(run.summary) for run in page.runs)

    async with _opened(place.url(data_set.name)) as store:
        store_times, values = await _time(read, [FULL] * min(repeats, 5))
    if values != data_set.runs * data_set.keys:
        raise RuntimeError(f"expected {data_set.runs * data_set.keys} latest values, got {values}")
    result: dict[str, Any] = {"engine": place.engine, "runs": data_set.runs, "all_store_ms": spread(store_times)}
    with serving(place.url(data_set.name)) as server:
        reader = HttpReader(server)
        for limit in (50, 500):
            path = f"/api/v1/runs?limit={limit}"

            async def get(_: Range, path: str = path) -> bytes:
                return reader.get(path)

            result[f"page_{limit}_ms"] = spread((await _time(get, [FULL] * repeats))[0])
        reader.close()
    return result


def measure_export(place: Place, data_set: DataSet) -> list[dict[str, Any]]:
    """Return points per second of each format that the server has, streamed over HTTP, and the server's memory."""
    results = []
    for form in ("csv", "jsonl", "parquet"):
        with serving(place.url(data_set.name)) as server:
            reader = HttpReader(server)
            before, began = server.peak_mb(), time.perf_counter()
            size = reader.stream(f"/api/v1/runs/{RUN}/export?format={form}")
            seconds = time.perf_counter() - began
            reader.close()
            if size is not None:
                results.append(
                    {
                        "engine": place.engine,
                        "format": form,
                        "points": data_set.points,
                        "bytes": size,
                        "seconds": seconds,
                        "grew_mb": server.peak_mb() - before,
                    }
                )
    return results


async def _time(read: Callable[[Range], Awaitable[T]], ranges: list[Range]) -> tuple[list[float], T]:
    """Return milliseconds of each read, and the last answer; everything is read once before, so that no read waits for
    a disk.
    """
    for one in dict.fromkeys(ranges):
        answer = await read(one)
    times: list[float] = []
    for one in ranges:
        began = time.perf_counter()
        answer = await read(one)
        times.append((time.perf_counter() - began) * 1e3)
    return times, answer
