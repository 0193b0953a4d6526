"""The store while a thousand runs write: charts under load, memory, and the start time of a server on a large store.

    python -m benchmarks.pressure PORT KEYS ROWS CONNECTIONS SECONDS        # the writers, as a separate process

Owns the writers' process and the measurements; must not know result tables.
"""

import asyncio
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop
from recis_server.store.points.chunks import CHUNK_ROWS

from benchmarks.datasets import DataSet, prefill
from benchmarks.ingest import Load, connect_all, load_run, send_all
from benchmarks.measuring import ROOT, ServerProcess, cpu_s_of, peak_mb_of, percentile, spread
from benchmarks.places import Place
from benchmarks.reading import HttpReader, serving, views

__all__ = ["Writers", "measure_load", "measure_memory"]

PAUSE_S = 0.05
"""Pause between two charts under load."""
SETTLE_S = 3.0
"""Time after which the writers run at their rate and maintenance has begun."""
_READY = "READY"


@dataclass(frozen=True)
class Writers:
    """`connections` runs that each send `keys` metrics of `rows` steps once a second."""

    keys: int
    rows: int
    connections: int
    seconds: float


@contextmanager
def _writing(server: ServerProcess, writers: Writers) -> Iterator["subprocess.Popen[str]"]:
    """Run the writers' process, with all writers connected."""
    numbers = (server.port, writers.keys, writers.rows, writers.connections, writers.seconds)
    command = [sys.executable, "-m", "benchmarks.pressure", *map(str, numbers)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        if process.stdout.readline().strip() != _READY:
            raise RuntimeError(f"the writers could not connect:\n{server.log[-2000:]}")
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def _finish(process: "subprocess.Popen[str]") -> dict[str, Any]:
    assert process.stdout is not None
    result: dict[str, Any] = json.loads(process.stdout.readline())
    return result


def measure_load(place: Place, data_set: DataSet, writers: Writers) -> dict[str, Any]:
    """Measure charts of a series over HTTP, one at a time, while the writers' points are committed."""
    with place.copy(data_set.name) as url:
        # As if they had been writing for hours: in every second some of the runs have enough frames to compact.
        prefill(url, load_run, writers.connections, writers.keys, CHUNK_ROWS)
        return {"engine": place.engine, "points": data_set.points, **_measure_load(url, data_set, writers)}


def _measure_load(url: str, data_set: DataSet, writers: Writers) -> dict[str, Any]:
    with serving(url) as server:
        asked = [one for turn in zip(*views(data_set.rows, 1000).values(), strict=True) for one in turn[:3]]
        times: list[float] = []
        with _writing(server, writers) as process:
            reader = HttpReader(server)
            time.sleep(min(SETTLE_S, writers.seconds / 4))
            end = time.monotonic() + writers.seconds - 2 * min(SETTLE_S, writers.seconds / 4)
            cpu_s, began = _cpu_s(server), time.monotonic()
            for view in asked:
                start = time.perf_counter()
                reader.chart(*view)
                times.append((time.perf_counter() - start) * 1e3)
                if time.monotonic() > end:
                    break
                time.sleep(PAUSE_S)
            seconds = time.monotonic() - began
            used = [(after - before) / seconds for before, after in zip(cpu_s, _cpu_s(server), strict=True)]
            written = _finish(process)
        reader.close()
        committed = server.meter("recis_points_total")
        if int(committed) != written["written"]:
            raise RuntimeError(
                f"expected {written['written']} points committed, got {committed}:\n{server.log[-2000:]}"
            )
        return {
            "charts": len(times),
            "chart_ms": spread(times),
            **written,
            "server_cores": used[0],
            "upkeep_cores": used[1],
            "server_peak_mb": server.peak_mb(),
        }


def measure_memory(place: Place, data_set: DataSet, writers: Writers) -> dict[str, Any]:
    """Measure the memory of a server of this store with live runs, and the time of its next start."""
    with place.copy(data_set.name) as url:
        with serving(url) as server:
            empty_mb = server.peak_mb()
            reader = HttpReader(server)
            with _writing(server, writers) as process:
                for view in views(data_set.rows, max(2, int(writers.seconds)))["full"]:
                    reader.chart(*view)
                    time.sleep(0.5)
                written = _finish(process)
            reader.close()
            server_mb, upkeep_mb = server.peak_mb(), sum(peak_mb_of(pid) for pid in server.children())
        cold_s = None
        if url.startswith("sqlite:///"):
            _forget(Path(url.removeprefix("sqlite:///")))
            with serving(url) as server:
                cold_s = server.start_s
        with serving(url) as server:
            warm_s = server.start_s
    return {
        "engine": place.engine,
        "points": data_set.points,
        "runs": writers.connections,
        **written,
        "empty_mb": empty_mb,
        "server_mb": server_mb,
        "upkeep_mb": upkeep_mb,
        "start_s": warm_s,
        "cold_start_s": cold_s,
    }


def _cpu_s(server: ServerProcess) -> tuple[float, float]:
    """Return CPU seconds of the server and of its child process."""
    return server.cpu_s(), sum(cpu_s_of(pid) for pid in server.children())


def _forget(path: Path) -> None:
    """Drop the file from the page cache."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


async def _write(port: int, load: Load) -> None:
    clients = await connect_all(port, load)
    print(_READY, flush=True)
    points, seconds, late_s = await send_all(clients, load, load.seconds)
    while any(client.num_waiting for client in clients):  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    acks = [one * 1e3 for client in clients for one in client.latencies_s]
    result = {"written": points, "points_per_s": points / seconds, "ack_ms_p99": percentile(acks, 0.99)}
    print(json.dumps({**result, "pace_missed_s": late_s}), flush=True)
    await asyncio.sleep(600)  # until terminated: the runs stay live


def main() -> None:
    port, keys, rows, connections = map(int, sys.argv[1:5])
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    uvloop.run(_write(port, Load("pressure", keys, rows, connections, float(sys.argv[5]))))


if __name__ == "__main__":
    main()
