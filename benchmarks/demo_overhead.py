"""What monitoring takes from a real training: the demo at full speed, with the monitor on and off in turn.

    .venv/bin/python -m benchmarks.demo_overhead                # pairs of trainings, about three minutes
    .venv/bin/python -m benchmarks.demo_overhead --quick

Both of a pair train the same model on the same data for the same steps, in processes of their own; `on` streams to a
server on this machine, `off` is `RECIS_MONITOR_MODE=disabled`. What is compared is steps a second of processor time of
the training thread, and of wall time, from the first step to the last.
"""

import argparse
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.measuring import ROOT, ServerProcess, machine, show, write_results
from recis.demo import train as demo
from recis.demo.movielens import DEFAULT_CACHE, fetch
from recis.hooks import LoggerHook

WARM_UP = 50


def train(steps: int, folder: Path) -> None:
    """The training process: prints the seconds between two steps far apart, by wall clock and of this thread."""
    logging.disable(logging.CRITICAL)
    seen: dict[int, tuple[float, float]] = {}

    class Watch(LoggerHook):
        """The demo's logger, that also notes when a step was over."""

        def after_step(self, metrics: Any, global_step: Any) -> None:
            if global_step in (WARM_UP, steps - 1):
                seen[int(global_step)] = (time.perf_counter(), time.thread_time())
            super().after_step(metrics, global_step)

    demo.LoggerHook = Watch  # type: ignore[misc]
    demo.train(demo.Options(steps=steps, rate=0.0), fetch(DEFAULT_CACHE), folder)
    (wall, used), (last_wall, last_used) = seen[WARM_UP], seen[steps - 1]
    print("RESULT " + json.dumps({"wall": last_wall - wall, "thread": last_used - used}))


def run(steps: int, url: str | None) -> dict[str, float]:
    """One training; `url` None is without the monitor."""
    with tempfile.TemporaryDirectory() as folder:
        mode = {"RECIS_MONITOR_MODE": "disabled"} if url is None else {"RECIS_MONITOR_URL": url}
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.demo_overhead", "--train", str(steps), folder],
            cwd=ROOT,
            env={**os.environ, **mode},
            capture_output=True,
            text=True,
            check=False,
        )
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if not lines:
        raise RuntimeError(f"the training failed:\n{done.stderr[-3000:]}")
    result: dict[str, float] = json.loads(lines[-1].removeprefix("RESULT "))
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it runs")
    parser.add_argument("--train", nargs=2, metavar=("STEPS", "FOLDER"), help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args()
    if options.train:
        train(int(options.train[0]), Path(options.train[1]))
        return

    host = machine()
    pairs, steps = (1, 2 * WARM_UP) if options.quick else (options.pairs, options.steps)
    measured: list[dict[str, dict[str, float]]] = []
    with tempfile.TemporaryDirectory() as folder, ServerProcess(Path(folder)) as server:
        for number in range(pairs):
            # Whoever comes second finds a warmer machine: they take turns.
            order = (("on", server.url), ("off", None)) if number % 2 else (("off", None), ("on", server.url))
            measured.append({name: run(steps, url) for name, url in order})
    rows = []
    ratios = {}
    for clock, label in (("wall", "wall clock"), ("thread", "processor time of the training thread")):
        each = [pair["off"][clock] / pair["on"][clock] for pair in measured]
        ratios[clock] = {"median": statistics.median(each), "lowest": min(each), "highest": max(each)}
        speeds = [
            f"{statistics.median((steps - 1 - WARM_UP) / pair[name][clock] for pair in measured):,.0f}"
            for name in ("off", "on")
        ]
        rows.append([label, *speeds, *(f"{ratios[clock][name]:.3f}" for name in ("median", "lowest", "highest"))])
    show("The demo's training, steps/s", ["by", "off", "on", "on/off", "lowest", "highest"], rows)
    results = {"machine": host, "pairs": measured, "steps": steps - 1 - WARM_UP, "on_to_off": ratios}
    write_results(options.output, "demo_overhead", results)


if __name__ == "__main__":
    main()
