"""Overhead of monitoring in a real training: the demo at full speed, with the monitor on and off in turn.

    .venv/bin/python -m benchmarks.demo_overhead                # pairs of trainings, about fifteen minutes
    .venv/bin/python -m benchmarks.demo_overhead --watched      # with a page open on the run
    .venv/bin/python -m benchmarks.demo_overhead --quick

Both trainings of a pair train the same model on the same data, in separate processes; `on` streams to a server on this
machine, `off` is `RECIS_MONITOR_MODE=disabled`. With `--watched` a client of `/ws/live` requests charts as an open page
does, for which the training sends more often. They run in alternating turns of a second, while the other one is
stopped: the speed of a shared machine changes by several percent within seconds, and this affects both equally. The
benchmark compares the steps per second of consecutive turns, by the wall clock and by the processor time of the
training thread, and takes the median of the turns of a pair. A stopped training sends immediately when it continues, so
that it sends slightly more often here than normally.
"""

import argparse
import json
import logging
import math
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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from benchmarks.measuring import ROOT, ServerProcess, machine, show, write_results
from recis.demo import train as demo
from recis.demo.movielens import DEFAULT_CACHE, fetch
from recis.hooks import LoggerHook

START_S = 120.0
ENDLESS_PASSES = 1000
CHARTS = ("loss", "qps", "auc", "calibration", "samples_per_second", "monitor/step_cost_us_p50")
"""The charts of an open page; each is a separate watch."""
STEP = struct.Struct("=qq")
CLOCKS = {"wall": "wall clock", "thread": "processor time of the training thread"}


@dataclass(frozen=True)
class Sizes:
    """The size of the measurement.

    Attributes:
        turns: turns of each training of a pair.
        turn_s: duration of a turn in seconds.
        warm_up: minimum number of steps before the first turn; they include the profiler traces of the demo.
        settle_s: how long a training continues after its first steps: by then its traces are on the server.
    """

    pairs: int
    turns: int
    turn_s: float = 1.0
    warm_up: int = 100
    settle_s: float = 4.0


QUICK = Sizes(pairs=1, turns=2, turn_s=0.5, warm_up=5, settle_s=0.0)


class Step(NamedTuple):
    """When a step ended, and the processor time of its thread by then; both in nanoseconds."""

    ended_ns: int
    used_ns: int


class Turn(NamedTuple):
    """Steps that a training completed in one turn, and their duration in seconds: by the wall clock while it was not
    stopped, and in processor time of its thread.
    """

    steps: int
    wall: float
    thread: float

    def speed(self, clock: str) -> float:
        """Steps a second by this one of `CLOCKS`."""
        return self.steps / (self.wall if clock == "wall" else self.thread)


def train(folder: Path) -> None:
    """Run the training process without end; append a `Step` to `folder/steps` after every step."""
    logging.disable(logging.CRITICAL)
    with (folder / "steps").open("wb", buffering=0) as file:

        class Watch(LoggerHook):
            """The demo's logger, which also records the time."""

            def after_step(self, metrics: Any, global_step: Any) -> None:
                file.write(STEP.pack(time.monotonic_ns(), time.thread_time_ns()))
                super().after_step(metrics, global_step)

        demo.LoggerHook = Watch  # type: ignore[misc]
        demo.train(demo.Options(passes=ENDLESS_PASSES, rate=0.0), fetch(DEFAULT_CACHE), folder)


@dataclass
class Training:
    """One training of a pair, which is stopped except during its turns.

    Attributes:
        last: its last completed step.
        cut_ns: how long it has trained in the step in which it was stopped.
    """

    process: "subprocess.Popen[bytes]"
    folder: Path
    last: Step = field(init=False)
    cut_ns: int = field(init=False)

    def steps(self) -> list[Step]:
        """Return its completed steps."""
        data = (self.folder / "steps").read_bytes()
        return [Step(*one) for one in STEP.iter_unpack(data[: len(data) // STEP.size * STEP.size])]

    def warm_up(self, sizes: Sizes) -> None:
        """Wait for the first steps and the warm-up time, then suspend the training."""
        self._wait_for(sizes.warm_up)
        time.sleep(sizes.settle_s)
        self._stop()

    def turn(self, seconds: float) -> Turn:
        """Let it train for one turn."""
        done, last, cut_ns = len(self.steps()), self.last, self.cut_ns
        began_ns = time.monotonic_ns()
        self.process.send_signal(signal.SIGCONT)
        time.sleep(seconds)
        self._wait_for(done + 1)
        self._stop()
        wall_ns = cut_ns + self.last.ended_ns - began_ns
        return Turn(len(self.steps()) - done, wall_ns / 1e9, (self.last.used_ns - last.used_ns) / 1e9)

    def _wait_for(self, steps: int) -> None:
        end = time.monotonic() + START_S
        while len(self.steps()) < steps:
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"the training failed:\n{(self.folder / 'log').read_text(encoding='utf-8')[-3000:]}")
            time.sleep(0.05)

    def _stop(self) -> None:
        self.process.send_signal(signal.SIGSTOP)
        os.waitpid(self.process.pid, os.WUNTRACED)
        self.last = self.steps()[-1]
        self.cut_ns = time.monotonic_ns() - self.last.ended_ns


@contextmanager
def page(url: str, run: str) -> Iterator[None]:
    """Keep charts of the run open; messages are read and discarded."""
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
def training(folder: Path, url: str | None, run: str, sizes: Sizes) -> Iterator[Training]:
    """Yield a warmed-up training; without the monitor if `url` is None."""
    (folder / "steps").touch()
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
        one.warm_up(sizes)
        yield one
    finally:
        process.kill()
        process.wait()


def pair(url: str, run: str, sizes: Sizes, *, on_first: bool, watched: bool) -> dict[str, list[Turn]]:
    """Return the turns of two trainings; those with the same index are consecutive."""
    names = ("on", "off") if on_first else ("off", "on")
    turns: dict[str, list[Turn]] = {"on": [], "off": []}
    with (
        tempfile.TemporaryDirectory() as one,
        tempfile.TemporaryDirectory() as other,
        training(Path(one), url if on_first else None, run, sizes) as first,
        training(Path(other), None if on_first else url, run, sizes) as second,
        page(url, run) if watched else nullcontext(),
    ):
        couple = list(zip(names, (first, second), strict=True))
        for _ in range(sizes.turns):
            for name, each in couple:
                turns[name].append(each.turn(sizes.turn_s))
            couple.reverse()  # a slowdown of the machine affects both
    return turns


def ratio(turns: dict[str, list[Turn]], clock: str) -> float:
    """Return the median ratio of the speeds with and without the monitor over the turns of one pair."""
    on, off = ([each.speed(clock) for each in turns[name]] for name in ("on", "off"))
    return statistics.median(one / other for one, other in zip(on, off, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--turns", type=int, default=16, help="turns of each training of a pair")
    parser.add_argument("--watched", action="store_true", help="with a page open on the run")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, as a smoke test")
    parser.add_argument("--train", metavar="FOLDER", help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args()
    if options.train:
        train(Path(options.train))
        return

    host = machine()
    sizes = QUICK if options.quick else Sizes(options.pairs, options.turns)
    with tempfile.TemporaryDirectory() as folder, ServerProcess(Path(folder)) as server:
        # The second one runs on a warmer machine, so the order alternates.
        measured = [
            pair(server.url, f"pair-{number}", sizes, on_first=bool(number % 2), watched=options.watched)
            for number in range(sizes.pairs)
        ]
    rows, ratios = [], {}
    for clock, label in CLOCKS.items():
        each = [ratio(one, clock) for one in measured]
        ratios[clock] = {
            "median": statistics.median(each),
            "mean": statistics.fmean(each),
            "error": statistics.stdev(each) / len(each) ** 0.5 if len(each) > 1 else math.nan,
            "lowest": min(each),
            "highest": max(each),
        }
        turns = {name: [turn for one in measured for turn in one[name]] for name in ("off", "on")}
        speeds = [statistics.median(turn.speed(clock) for turn in turns[name]) for name in turns]
        rows.append([label, *(f"{one:,.0f}" for one in speeds), *(f"{value:.3f}" for value in ratios[clock].values())])
    columns = ["by", "off", "on", *(f"on/off, {name}" for name in ("median", "mean", "its error", "lowest", "highest"))]
    show(f"The demo's training, steps/s{', with a page open' if options.watched else ''}", columns, rows)
    name = "demo_overhead_watched" if options.watched else "demo_overhead"
    pairs = [{name: [turn._asdict() for turn in turns] for name, turns in one.items()} for one in measured]
    write_results(options.output, name, {"machine": host, "pairs": pairs, "on_to_off": ratios})


if __name__ == "__main__":
    main()
