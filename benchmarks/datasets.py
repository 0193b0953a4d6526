"""Data sets of the store's benchmarks: reproducible points, written as by training processes and compacted.

Owns the data sets, their values, and how they are written to a store (frames through `append`, chunks by the worker);
must not know what is measured.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from recis_server.store.engines.open import open_engine
from recis_server.store.interface import StoredFrame, StreamRow
from recis_server.store.sql import SqlStore
from recis_server.store.upkeep.retention import Retention
from recis_server.store.upkeep.worker import MaintenanceWorker

from recis.bridge.frames import TIME_NS
from recis.wire.codec import column
from recis.wire.messages import Frame, Hello, Points

__all__ = ["DATA_SETS", "KEY", "RUN", "SPIKE", "DataSet", "fill", "prefill", "run_name"]

RUN, KEY = "run-0000", "loss/part_0"
SPIKE = 1000.0
"""The value of one step of every series; the others lie between 0.8 and 1.2."""
BEGAN_NS = 1_760_000_000 * 10**9
STEP_NS = 10_000_000
FRAMES_AT_ONCE = 256
FRAME_ROWS = 5_000
COMPACT_POINTS = 1 << 22
"""Points written before the worker runs, which in a server runs at the same time."""


@dataclass(frozen=True)
class DataSet:
    """`runs` of `ranks` processes that each report `keys` metrics at `rows` steps, `frame_rows` steps per frame."""

    name: str
    rows: int
    frame_rows: int = 65_536
    runs: int = 1
    ranks: int = 1
    keys: int = 1

    @property
    def points(self) -> int:
        return self.rows * self.runs * self.ranks * self.keys

    @property
    def spike_step(self) -> int:
        """Return the step of the spike in each series."""
        return self.rows * 618 // 1000

    def smaller(self, divisor: int) -> "DataSet":
        """Return a smaller data set of the same shape, for smoke tests."""
        runs, rows = max(1, self.runs // 100), min(self.rows, max(1000, self.rows // divisor))
        return DataSet(self.name, rows, min(self.frame_rows, 1000), runs, min(self.ranks, 4), min(self.keys, 10))


DATA_SETS = {
    one.name: one
    for one in (
        DataSet("1m", 1_000_000),
        DataSet("10m", 10_000_000),
        DataSet("100m", 100_000_000),
        DataSet("ranks", 1_000_000, ranks=64),
        DataSet("wide", 100_000, 500, keys=100),
        DataSet("runs", 1_000, 1_000, runs=1000, keys=10),
        DataSet("list", 10, 10, runs=10_000, keys=10),
    )
}


def run_name(number: int) -> str:
    """Return the id of a data set's run."""
    return f"run-{number:04d}"


def fill(url: str, data_set: DataSet) -> dict[str, float]:
    """Write a data set to an empty store and compact it; return the duration of each in seconds."""
    return asyncio.run(_fill(url, data_set))


def prefill(url: str, run_of: Callable[[int], str], runs: int, keys: int, most_rows: int) -> None:
    """Write uncompacted frames of steps before 0, from none for the first run to `most_rows` for the last."""
    asyncio.run(_prefill(url, run_of, runs, keys, most_rows))


async def _prefill(url: str, run_of: Callable[[int], str], runs: int, keys: int, most_rows: int) -> None:
    store = SqlStore(open_engine(url))
    await store.open()
    try:
        for number in range(runs):
            rows = most_rows * number // runs
            now_ns = time.time_ns()
            stream = await store.register(Hello(run=run_of(number), writer="before", attempt="a1"), now_ns)
            one = DataSet("before", rows, max(1, min(rows, FRAME_ROWS)), keys=keys)
            frames = [
                StoredFrame(frame.stream, frame.frame, now_ns) for frame, _ in _frames(one, [stream], first_step=-rows)
            ]
            await asyncio.gather(*(store.append(frame) for frame in frames))
    finally:
        await store.close()


async def _fill(url: str, data_set: DataSet) -> dict[str, float]:
    engine = open_engine(url)
    store = SqlStore(engine)
    await store.open()
    worker = MaintenanceWorker(engine, Retention())
    seconds = {"write_s": 0.0, "compact_s": 0.0}
    try:
        streams = [
            await store.register(_greeting(run_name(run), rank, data_set), BEGAN_NS)
            for run in range(data_set.runs)
            for rank in range(data_set.ranks)
        ]
        waiting: list[StoredFrame] = []
        num_points = 0
        for frame, points in _frames(data_set, streams):
            waiting.append(frame)
            num_points += points
            if len(waiting) >= FRAMES_AT_ONCE or num_points >= COMPACT_POINTS:
                seconds["write_s"] += await _write(store, waiting)
            if num_points >= COMPACT_POINTS:
                seconds["compact_s"] += await asyncio.to_thread(_compact, worker)
                num_points = 0
        seconds["write_s"] += await _write(store, waiting)
        seconds["compact_s"] += await asyncio.to_thread(_compact, worker)
    finally:
        worker.close()
        await store.close()
    return seconds


def _greeting(run: str, rank: int, data_set: DataSet) -> Hello:
    return Hello(run=run, writer=f"w{rank}", attempt="a", rank=rank, world_size=data_set.ranks)


async def _write(store: SqlStore, frames: list[StoredFrame]) -> float:
    began = time.perf_counter()
    await asyncio.gather(*(store.append(frame) for frame in frames))
    frames.clear()
    return time.perf_counter() - began


def _compact(worker: MaintenanceWorker) -> float:
    began = time.perf_counter()
    while worker.round(lambda: False):
        pass
    return time.perf_counter() - began


def _frames(data_set: DataSet, streams: list[StreamRow], first_step: int = 0) -> Iterator[tuple[StoredFrame, int]]:
    """Yield the frames of all processes in chronological order, each with its number of points."""
    keys = tuple(f"loss/part_{number}" for number in range(data_set.keys))
    for n, first in enumerate(range(0, data_set.rows, data_set.frame_rows), start=1):
        steps = first_step + np.arange(first, min(first + data_set.frame_rows, data_set.rows))
        for number, stream in enumerate(streams):
            source = np.random.default_rng([number, n])
            # Step durations vary by about 5 %.
            spread = source.normal(0.0, STEP_NS / 20, len(steps))
            times = BEGAN_NS + steps * STEP_NS + spread.astype(np.int64) // TIME_NS * TIME_NS
            values = np.concatenate([_values(source, data_set, steps, place) for place in range(data_set.keys)])
            points = Points(keys, column(steps, "<i8"), column(times, "<i8"), column(values, "<f8"))
            # Long ago, so that the run is idle and the worker compacts all frames.
            yield StoredFrame(stream, Frame(n=n, records=(points,)), BEGAN_NS), len(values)


def _values(
    source: np.random.Generator, data_set: DataSet, steps: npt.NDArray[np.int64], place: int
) -> npt.NDArray[np.float64]:
    """Return a slow wave with noise in single precision, like a loss: all bits of the mantissa change."""
    wave = 1.0 + 0.1 * np.sin(steps * 1e-4 + place)
    values = (wave + source.normal(0.0, 0.01, len(steps))).astype(np.float32).astype(np.float64)
    values[steps == data_set.spike_step] = SPIKE
    return values
