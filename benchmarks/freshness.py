"""Latency of a point from the call that reports it to the socket of a browser.

    benchmarks/.venv/bin/python -m benchmarks.freshness             # see benchmarks/step_cost.py for the environment
    .venv/bin/python -m benchmarks.freshness --quick

A training process reports ten numbers, ten times a second, at default settings; one of the numbers is the time of the
call. For this project a client of `/ws/live` watches that series as the page does, and records the age of each step
when it arrives. Trackio does not push: a reader polls its store for the newest step every 10 ms, although its page
polls only once a second.
"""

import argparse
import asyncio
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from websockets.asyncio.client import connect

from benchmarks.contestants import CONTESTANTS
from benchmarks.measuring import ROOT, ServerProcess, machine, show, spread, write_results

RUN = "freshness"
KEY = "at"
STEPS_PER_S = 9.7
"""Not a divisor of the flush interval, so that the calls occur at every phase of it."""
ASK_S = 0.01
START_S = 60.0


def write_steadily(contestant: str, folder: Path, seconds: float) -> None:
    """Run the training process; `at` is the time at which the call began, in Unix seconds."""
    one = CONTESTANTS[contestant]()
    report = one.open(folder)
    time.sleep(2.0)
    start = time.monotonic()
    for step in range(int(seconds * STEPS_PER_S)):
        metrics = {f"metric_{number}": float(step) for number in range(9)}
        report({KEY: time.time(), **metrics}, step)
        time.sleep(max(0.0, start + (step + 1) / STEPS_PER_S - time.monotonic()))
    time.sleep(2.0)  # measure only the regular flushes, not the one at the end
    one.close()


def start_writer(contestant: str, folder: Path, seconds: float, **environment: str) -> "subprocess.Popen[bytes]":
    """Start `write_steadily` in a separate process."""
    command = [sys.executable, "-m", "benchmarks.freshness", "--write", contestant, str(folder), str(seconds)]
    surroundings = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(folder), **environment}
    return subprocess.Popen(command, cwd=folder, env=surroundings, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def read_columns(message: bytes) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return first steps and last values of the buckets of a series in a binary message of `/ws/live`."""
    size = int.from_bytes(message[:4], "little")
    head = json.loads(message[4 : 4 + size])
    if not head["series"]:
        return np.empty(0), np.empty(0)
    series = head["series"][0]
    columns = np.frombuffer(message, "<f8", 8 * series["n"], 4 + size + series["offset"]).reshape(8, -1)
    return columns[0], columns[5]


async def watch(server: ServerProcess, writer: "subprocess.Popen[bytes]") -> list[float]:
    """Return milliseconds between call and arrival for each step."""
    ages: list[float] = []
    newest = -1.0
    async with connect(f"ws{server.url.removeprefix('http')}/ws/live", compression=None) as socket:
        request = {"type": "watch", "id": 1, "run": RUN, "keys": [KEY], "points": 2000}
        await socket.send(json.dumps(request))
        while writer.poll() is None:
            try:
                async with asyncio.timeout(0.5):
                    message = await socket.recv()
            except TimeoutError:
                continue
            if isinstance(message, str):
                if json.loads(message)["type"] == "error":  # the run does not exist yet
                    await asyncio.sleep(0.05)
                    await socket.send(json.dumps(request))
                continue
            now = time.time()
            for step, at in zip(*read_columns(message), strict=True):
                if step > newest:
                    newest = step
                    ages.append((now - at) * 1e3)
    return ages


def measure_recis(seconds: float) -> list[float]:
    """Measure this project with default settings."""
    with tempfile.TemporaryDirectory() as place, ServerProcess(Path(place)) as server:
        folder = Path(place) / "work"
        folder.mkdir()
        writer = start_writer("recis", folder, seconds, RECIS_MONITOR_URL=server.url, RECIS_MONITOR_RUN_ID=RUN)
        try:
            return asyncio.run(watch(server, writer))
        finally:
            writer.wait(START_S)


def measure_trackio(seconds: float) -> list[float]:
    """Measure Trackio's store, read in a separate process because the folder is chosen at import."""
    command = [sys.executable, "-m", "benchmarks.freshness", "--ask-trackio", str(seconds)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    ages: list[float] = json.loads(done.stdout.splitlines()[-1])
    return ages


def ask_trackio(seconds: float) -> list[float]:
    """Return the age of each step when polling of Trackio's store first finds it."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        os.environ["TRACKIO_DIR"] = place
        from trackio.sqlite_storage import SQLiteStorage

        writer = start_writer("trackio", folder, seconds)
        ages: list[float] = []
        num_seen = 0
        while writer.poll() is None:
            logs: list[Mapping[str, Any]] = SQLiteStorage.get_logs("benchmark", "run")
            now = time.time()
            ages += [(now - one[KEY]) * 1e3 for one in logs[num_seen:]]
            num_seen = len(logs)
            time.sleep(ASK_S)
        return ages


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, as a smoke test")
    parser.add_argument("--write", nargs=3, metavar=("CONTESTANT", "FOLDER", "SECONDS"), help=argparse.SUPPRESS)
    parser.add_argument("--ask-trackio", type=float, metavar="SECONDS", help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args()
    if options.write:
        contestant, folder, seconds = options.write
        write_steadily(contestant, Path(folder), float(seconds))
        return
    if options.ask_trackio:
        print(json.dumps(ask_trackio(options.ask_trackio)))
        return

    host = machine()
    seconds, repeats = (2.0, 1) if options.quick else (options.seconds, options.repeats)
    measures = {"recis, at the browser's socket": measure_recis}
    if importlib.util.find_spec("trackio") is not None and not options.quick:
        measures["trackio, in its store"] = measure_trackio
    results: dict[str, Any] = {"machine": host, "results": []}
    rows = []
    for label, measure in measures.items():
        repeated = [measure(seconds) for _ in range(repeats)]
        every = [age for ages in repeated for age in ages]
        figures = spread(every)
        results["results"].append(
            {"label": label, "steps": len(every), "ms": figures, "repeats": [spread(ages) for ages in repeated]}
        )
        rows.append([label, f"{len(every)}", *(f"{figures[name]:.0f}" for name in ("median", "p95", "p99", "max"))])
    show("Age of a step when it can be seen, ms", ["", "steps", "p50", "p95", "p99", "max"], rows)
    write_results(options.output, "freshness", results)


if __name__ == "__main__":
    main()
