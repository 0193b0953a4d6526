"""Latency of a list of 10,000 runs with the newest values of 10 metrics, over HTTP on loopback.

    python -m benchmarks.runs_list                           # a table, benchmarks/results/runs_list.json
    python -m benchmarks.runs_list --postgres URL            # the same on an empty PostgreSQL database, too
    python -m benchmarks.runs_list --quick                   # the same, tiny, as a smoke test

The whole list is read in three ways: once, immediately after the start of the server; repeatedly while nothing happens;
and once a second while a tenth of the runs report ten metrics a second each, so that a tenth of the list has changed
since the previous read. One process sends the requests, another simulates the training processes; an answer is timed to
its last byte and not parsed. `benchmarks.runs_list_peers` measures the same in peer tools.
"""

import argparse
import asyncio
import http.client
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import uvloop
from recis_server.store.engines.open import open_engine
from recis_server.store.sql import SqlStore
from recis_server.store.values import StoredFrame

from benchmarks.ingest import Load, connect_all, send_all
from benchmarks.measuring import ROOT, ServerProcess, machine, show, spread, write_results
from recis.wire.codec import column
from recis.wire.messages import Frame, Hello, Points, Status

NUM_KEYS = 10
AT_ONCE = 500
MOST_RUNS = 10_000
"""Maximum size of one answer, in runs."""
CONFIG = {
    "lr": 0.001,
    "batch_size": 4096,
    "embedding_dim": 16,
    "layers": [256, 128, 64],
    "optimizer": "adagrad",
    "dataset": "criteo",
}
SETTLE_S = 3.0


async def fill(url: str, num_runs: int) -> None:
    """Fill a store with runs that have reported once and ended."""
    store = SqlStore(open_engine(url))
    await store.open()
    keys = tuple(f"loss/part_{place}" for place in range(NUM_KEYS))

    async def add(number: int) -> None:
        now_ns = time.time_ns()
        hello = Hello(
            run=f"run-{number:05d}",
            writer=f"w{number}",
            attempt="a",
            project=f"project-{number % 7}",
            name=f"deepfm {number}",
            tags=("baseline",),
            config={**CONFIG, "seed": number},
        )
        stream = await store.register(hello, now_ns)
        values = column([number + place / 7 for place in range(NUM_KEYS)], "<f8")
        points = Points(keys=keys, steps=column([1000], "<i8"), times=column([now_ns], "<i8"), values=values)
        ended = Status(state="finished", time_ns=now_ns)
        await store.append(StoredFrame(stream, Frame(n=1, records=(points, ended)), now_ns))

    for first in range(0, num_runs, AT_ONCE):
        await asyncio.gather(*(add(number) for number in range(first, min(num_runs, first + AT_ONCE))))
    await store.close()


def ask(url: str, path: str, num_times: int, pause_s: float) -> dict[str, Any]:
    """Return milliseconds of each answer, and the size of the last one; all requests use one connection."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)
    took, body = [], b""
    for _ in range(num_times):
        began = time.perf_counter()
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
        took.append((time.perf_counter() - began) * 1e3)
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status} {body[:300]!r}")
        time.sleep(pause_s)
    connection.close()
    return {"ms": took, "bytes": len(body), "runs": body.count(b'{"id":')}


async def ask_beside(server: ServerProcess, path: str, num_times: int, pause_s: float) -> dict[str, Any]:
    """Run `ask` in another process, so that the simulated trainings do not slow it down."""
    given = (server.url, path, num_times, pause_s)
    work = f"import json; from benchmarks.runs_list import ask; print(json.dumps(ask(*{given})))"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", work, cwd=ROOT, stdout=subprocess.PIPE)
    out, _ = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError("the asking process failed")
    answer: dict[str, Any] = json.loads(out)
    return answer


def _reading(name: str, server: ServerProcess, one: dict[str, Any]) -> dict[str, Any]:
    times = spread(one["ms"])
    return {"reading": name, "bytes": one["bytes"], "runs": one["runs"], "peak_mb": server.peak_mb(), **times}


async def drive(server: ServerProcess, num_runs: int, num_live: int, seconds: int) -> list[dict[str, Any]]:
    """Measure the three readings of one server."""
    path = f"/api/v1/runs?limit={num_runs}"
    first = await ask_beside(server, path, 1, 0)
    load = Load("live", NUM_KEYS, 1, num_live, seconds + SETTLE_S)
    clients = await connect_all(server.port, load)
    await asyncio.sleep(SETTLE_S)
    still = await ask_beside(server, path, 5 * seconds, 0.02)
    sending = asyncio.create_task(send_all(clients, load, load.seconds))
    await asyncio.sleep(SETTLE_S)
    live = await ask_beside(server, path, seconds - 2, 1.0)
    await sending
    for client in clients:
        client.close()
    await asyncio.sleep(0.2)
    if live["runs"] != num_runs:
        raise RuntimeError(f"expected a list of {num_runs} runs, got {live['runs']}")
    return [
        _reading("first, at once after the start", server, first),
        _reading("nothing happens", server, still),
        _reading(f"{num_live} of the runs report every second", server, live),
    ]


def measure(url: str | None, num_runs: int, seconds: int) -> list[dict[str, Any]]:
    """Run all readings of one engine, on a store filled for it."""
    num_live = num_runs // 10
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        url = url or f"sqlite:///{folder / 'data' / 'recis.db'}"
        asyncio.run(fill(url, num_runs - num_live))
        with ServerProcess(folder, options=("--store", url)) as server:
            return uvloop.run(drive(server, num_runs, num_live, seconds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=MOST_RUNS, help=f"at most {MOST_RUNS}")
    parser.add_argument("--seconds", type=int, default=22, help="seconds for which runs report")
    parser.add_argument("--postgres", metavar="URL", help="an empty database")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, as a smoke test")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args()
    num_runs, seconds = (100, 4) if options.quick else (options.runs, options.seconds)

    results: dict[str, Any] = {"machine": machine(), "runs": num_runs, "metrics": NUM_KEYS, "readings": []}
    for engine, url in (("SQLite", None), ("PostgreSQL", options.postgres)):
        if engine == "SQLite" or url:
            results["readings"] += [{"engine": engine, **one} for one in measure(url, num_runs, seconds)]
    rows = [
        [
            f"{one['engine']}: {one['reading']}",
            f"{one['runs']:,}",
            f"{one['bytes'] / 1e6:.1f}",
            f"{one['median']:.1f}",
            f"{one['p99']:.1f}",
        ]
        for one in results["readings"]
    ]
    show("The list of runs with the newest values", ["", "runs", "MB", "median ms", "p99 ms"], rows)
    write_results(options.output, "runs_list", results)


if __name__ == "__main__":
    main()
