"""What monitoring takes from a real training: the demo at full speed, with the monitor on and off in turn.

    .venv/bin/python -m benchmarks.demo_overhead                # pairs of trainings, about thirteen minutes
    .venv/bin/python -m benchmarks.demo_overhead --watched      # with a page open on the run
    .venv/bin/python -m benchmarks.demo_overhead --quick

Both of a pair train the same model on the same data, in processes of their own; `on` streams to a server on this
machine, `off` is `RECIS_MONITOR_MODE=disabled`. With `--watched` a client of `/ws/live` asks for charts as an open page
does, for which the training sends more often. They take turns of a second, while the other is stopped: the speed of a
shared machine changes by several percent within a minute, and so both meet the same. What is compared is steps a second
by the wall clock of a training's own turns, and by processor time of the training thread.
"""

import argparse
import json
import logging
import os
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from benchmarks.measuring import ROOT, ServerProcess, machine, show, write_results
from recis.demo import train as demo
from recis.demo.movielens import DEFAULT_CACHE, fetch
from recis.hooks import LoggerHook

WARM_UP = 100
"""Steps at least before the first turn: the demo's own profiler traces are among them."""
START_S = 120.0
ENDLESS_PASSES = 1000
CHARTS = ("loss", "qps", "auc", "calibration", "samples_per_second", "monitor/step_cost_us_p50")
"""What an open page shows; each is a watch of its own."""
STATE = struct.Struct("=qq")
CLOCKS = {"wall": "wall clock", "thread": "processor time of the training thread"}


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Attributes:
        turns: of each of a pair.
        turn_s: how long each lasts.
        settle_s: how long a training goes on after its first steps: by then its traces are on the server.
    """

    pairs: int
    turns: int
    turn_s: float = 1.0
    settle_s: float = 4.0


QUICK = Sizes(pairs=2, turns=2, turn_s=0.2, settle_s=0.0)


class State(NamedTuple):
    """How far a training is: steps done, and processor time of its thread in nanoseconds."""

    steps: int
    used_ns: int


def train(folder: Path) -> None:
    """The training process, without end: writes its `State` to `folder/state` after every step."""
    logging.disable(logging.CRITICAL)
    with (folder / "state").open("wb", buffering=0) as file:

        class Watch(LoggerHook):
            """The demo's logger, that also notes how far it is."""

            def after_step(self, metrics: Any, global_step: Any) -> None:
                os.pwrite(file.fileno(), STATE.pack(int(global_step), time.thread_time_ns()), 0)
                super().after_step(metrics, global_step)

        demo.LoggerHook = Watch  # type: ignore[misc]
        demo.train(demo.Options(passes=ENDLESS_PASSES, rate=0.0), fetch(DEFAULT_CACHE), folder)


@dataclass
class Training:
    """One of a pair, stopped but for its turns, with the sums over these."""

    process: "subprocess.Popen[bytes]"
    folder: Path
    steps: int = 0
    wall: float = 0.0
    thread: float = 0.0

    def state(self) -> State:
        """How far it is."""
        data = (self.folder / "state").read_bytes()
        return State(*STATE.unpack(data)) if len(data) == STATE.size else State(0, 0)

    def warm_up(self, settle_s: float) -> None:
        """Waits for the first steps and so long after them, and stops it."""
        end = time.monotonic() + START_S
        while self.state().steps < WARM_UP:
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"the training failed:\n{(self.folder / 'log').read_text(encoding='utf-8')[-3000:]}")
            time.sleep(0.05)
        time.sleep(settle_s)
        self._stop()

    def turn(self, seconds: float) -> None:
        """Lets it train for so long."""
        before = self.state()
        began = time.perf_counter()
        self.process.send_signal(signal.SIGCONT)
        time.sleep(seconds)
        self._stop()
        self.wall += time.perf_counter() - began
        after = self.state()
        self.steps += after.steps - before.steps
        self.thread += (after.used_ns - before.used_ns) / 1e9

    def _stop(self) -> None:
        self.process.send_signal(signal.SIGSTOP)
        os.waitpid(self.process.pid, os.WUNTRACED)


@contextmanager
def page(url: str, run: str) -> Iterator[None]:
    """Charts of the run, open for a while; what comes is read and thrown away."""
    with connect(f"{url.replace('http', 'ws', 1)}/ws/live", max_size=None) as socket:
        socket.send(json.dumps({"type": "follow", "run": run}))
        for number, key in enumerate(CHARTS):
            socket.send(json.dumps({"type": "watch", "id": number, "run": run, "keys": [key]}))
        reader = threading.Thread(target=_read, args=(socket,), name="page")
        reader.start()
        try:
            yield
        finally:
            socket.close()
            reader.join()


def _read(socket: ClientConnection) -> None:
    try:
        while True:
            socket.recv()
    except ConnectionClosed:
        return


@contextmanager
def training(folder: Path, url: str | None, run: str, settle_s: float) -> Iterator[Training]:
    """A training that has warmed up; `url` None is without the monitor."""
    (folder / "state").touch()
    mode = (
        {"RECIS_MONITOR_MODE": "disabled"} if url is None else {"RECIS_MONITOR_URL": url, "RECIS_MONITOR_RUN_ID": run}
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.demo_overhead", "--train", str(folder)],
            cwd=ROOT,
            env={**os.environ, **mode},
            stdout=log,
            stderr=log,
        )
    try:
        one = Training(process, folder)
        one.warm_up(settle_s)
        yield one
    finally:
        process.kill()
        process.wait()


def pair(url: str, run: str, sizes: Sizes, *, on_first: bool, watched: bool) -> dict[str, dict[str, float]]:
    """Steps, seconds of turns and seconds of processor time of two trainings that take turns."""
    names = ("on", "off") if on_first else ("off", "on")
    with (
        tempfile.TemporaryDirectory() as one,
        tempfile.TemporaryDirectory() as other,
        training(Path(one), url if on_first else None, run, sizes.settle_s) as first,
        training(Path(other), None if on_first else url, run, sizes.settle_s) as second,
        page(url, run) if watched else nullcontext(),
    ):
        for _ in range(sizes.turns):
            first.turn(sizes.turn_s)
            second.turn(sizes.turn_s)
        return {
            name: {"steps": one.steps, "wall": one.wall, "thread": one.thread}
            for name, one in zip(names, (first, second), strict=True)
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=24)
    parser.add_argument("--turns", type=int, default=8, help="of each of a pair")
    parser.add_argument("--watched", action="store_true", help="with a page open on the run")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it runs")
    parser.add_argument("--train", metavar="FOLDER", help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args()
    if options.train:
        train(Path(options.train))
        return

    host = machine()
    sizes = QUICK if options.quick else Sizes(options.pairs, options.turns)
    with tempfile.TemporaryDirectory() as folder, ServerProcess(Path(folder)) as server:
        # Whoever comes second finds a warmer machine: they change places from pair to pair.
        measured = [
            pair(server.url, f"pair-{number}", sizes, on_first=bool(number % 2), watched=options.watched)
            for number in range(sizes.pairs)
        ]
    rows, ratios = [], {}
    for clock, label in CLOCKS.items():
        speed = {name: [one[name]["steps"] / one[name][clock] for one in measured] for name in ("off", "on")}
        each = [on / off for on, off in zip(speed["on"], speed["off"], strict=True)]
        ratios[clock] = {
            "median": statistics.median(each),
            "mean": statistics.fmean(each),
            "error": statistics.stdev(each) / len(each) ** 0.5,
            "lowest": min(each),
            "highest": max(each),
        }
        speeds = [f"{statistics.median(speed[name]):,.0f}" for name in ("off", "on")]
        rows.append([label, *speeds, *(f"{value:.3f}" for value in ratios[clock].values())])
    columns = ["by", "off", "on", *(f"on/off, {name}" for name in ("median", "mean", "its error", "lowest", "highest"))]
    show(f"The demo's training, steps/s{', with a page open' if options.watched else ''}", columns, rows)
    name = "demo_overhead_watched" if options.watched else "demo_overhead"
    write_results(options.output, name, {"machine": host, "turns": sizes.turns, "pairs": measured, "on_to_off": ratios})


if __name__ == "__main__":
    main()
