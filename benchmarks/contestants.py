"""One class per way of reporting a step; `benchmarks.step_cost` runs each in its own process.

    python -m benchmarks.contestants NAME FOLDER STEPS PACE_MS [NAMES]      # prints one JSON line

Owns the timed loop and the calls of each peer; must not know tables. A peer is called as in its own introduction,
offline and without telemetry. Every step reports ten changing numbers, or as many as given.
"""

import gc
import json
import logging
import mmap
import os
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from benchmarks.measuring import spread

__all__ = ["CONTESTANTS", "Contestant"]

WARM_UP = 100
SETTLE_S = 1.0
"""Threads are started and connections open before the first step, as in a training that runs for hours."""


Report = Callable[[dict[str, float], int], object]
"""The call that a training makes at each step, with its metrics and its number; only this call is timed."""


class Contestant(Protocol):
    """A way of reporting steps, opened and closed once."""

    def open(self, folder: Path) -> Report:
        """Start a run that stores everything in `folder`, and return the function that users of the peer call."""

    def close(self) -> None:
        """Finish the run and flush it."""


class Nothing:
    """The harness itself: the cost of an empty call."""

    def open(self, folder: Path) -> Report:
        return lambda metrics, step: None

    def close(self) -> None:
        pass


class Floor(Nothing):
    """The lower bound: packs the numbers into a mapped file, without checks of names or types or other writers."""

    def open(self, folder: Path) -> Report:
        size = 128 << 20
        with (folder / "floor").open("w+b") as file:
            os.posix_fallocate(file.fileno(), 0, size)
            self._map = mmap.mmap(file.fileno(), size)
        self._row = struct.Struct("<qq10d")
        self._end = 0
        return self.log

    def log(self, metrics: dict[str, float], step: int) -> None:
        self._row.pack_into(self._map, self._end, step, time.time_ns(), *metrics.values())
        self._end += self._row.size


class Monitor(Nothing):
    """This project: `run.log`; the server is the one in `RECIS_MONITOR_URL`."""

    def open(self, folder: Path) -> Report:
        from recis import monitor

        self._run = monitor.init(spool_dir=str(folder / "spool"), mode="online")
        return self._run.log

    def close(self) -> None:
        self._run.finish(timeout_s=2.0)


class PlainMonitor(Monitor):
    """This project without compiled code."""

    def open(self, folder: Path) -> Report:
        sys.modules["recis.bridge._row_writer"] = None  # type: ignore[assignment]
        return super().open(folder)


class MonitorHookStep(Nothing):
    """This project as a hook: `after_step` with the step's metrics, in a custom loop."""

    def open(self, folder: Path) -> Report:
        from recis.hooks import MonitorHook

        self._hook = MonitorHook(spool_dir=str(folder / "spool"))
        self._hook.after_step(None, 0)  # opens the run
        return self._hook.after_step

    def close(self) -> None:
        self._hook.end()


class TensorBoard(Nothing):
    """`add_scalar` for each number."""

    def open(self, folder: Path) -> Report:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder))
        return self.log

    def log(self, metrics: dict[str, float], step: int) -> None:
        add = self._writer.add_scalar
        for key, value in metrics.items():
            add(key, value, step)

    def close(self) -> None:
        self._writer.close()


class Wandb(Nothing):
    """`run.log` in offline mode."""

    def open(self, folder: Path) -> Report:
        os.environ["WANDB_SILENT"] = "true"
        import wandb

        self._run = wandb.init(project="benchmark", mode="offline", dir=str(folder))
        return self._run.log

    def close(self) -> None:
        self._run.finish()


class Trackio(Nothing):
    """`trackio.log`, kept locally."""

    def open(self, folder: Path) -> Report:
        os.environ["TRACKIO_DIR"] = str(folder)
        import trackio

        self._trackio = trackio
        trackio.init(project="benchmark", name="run")
        return trackio.log

    def close(self) -> None:
        self._trackio.finish()


class Mlflow(Nothing):
    """`log_metrics` into its own SQLite file; with `synchronous` False a thread of mlflow's writes."""

    def __init__(self, *, synchronous: bool) -> None:
        self._synchronous = synchronous

    def open(self, folder: Path) -> Report:
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
        import mlflow

        self._mlflow = mlflow
        mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
        mlflow.set_experiment("benchmark")
        mlflow.start_run()
        return self.log

    def log(self, metrics: dict[str, float], step: int) -> None:
        self._mlflow.log_metrics(metrics, step=step, synchronous=self._synchronous)

    def close(self) -> None:
        if not self._synchronous:
            self._mlflow.flush_async_logging()
        self._mlflow.end_run()


CONTESTANTS: dict[str, Callable[[], Contestant]] = {
    "nothing": Nothing,
    "floor": Floor,
    "recis": Monitor,
    "recis-plain": PlainMonitor,
    "recis-hook": MonitorHookStep,
    "tensorboard": TensorBoard,
    "wandb": Wandb,
    "trackio": Trackio,
    "mlflow": lambda: Mlflow(synchronous=True),
    "mlflow-async": lambda: Mlflow(synchronous=False),
}


def measure(report: Report, steps: int, pace_s: float, names: int) -> list[float]:
    """Return microseconds per call; creating the metrics is not timed."""
    clock = time.perf_counter_ns
    keys = tuple(f"train/metric_{number}" for number in range(names))
    cost = []
    for step in range(WARM_UP + steps):
        metrics = {key: step + place / 16 for place, key in enumerate(keys)}
        if pace_s:
            time.sleep(pace_s)
        start = clock()
        report(metrics, step)
        cost.append(clock() - start)
    return [one / 1e3 for one in cost[WARM_UP:]]


def main() -> None:
    name, folder, steps, pace_ms, *names = sys.argv[1:]
    logging.disable(logging.CRITICAL)
    contestant = CONTESTANTS[name]()
    report = contestant.open(Path(folder))
    time.sleep(SETTLE_S)
    gc.collect()
    cost = measure(report, int(steps), float(pace_ms) / 1e3, int(names[0]) if names else 10)
    contestant.close()
    print("RESULT " + json.dumps({"steps": len(cost), **spread(cost)}))


if __name__ == "__main__":
    main()
