"""What the browser tests need beside a browser: a training that reports, and a console that is watched."""

import re
import threading
from functools import partial
from pathlib import Path
from typing import Any

from websockets.sync.client import connect

import recis.monitor
from recis.wire.codec import encode
from recis.wire.messages import Frame, Hello, Pass, Status

__all__ = ["NOT_TODAY", "Console", "Training", "report_dropped", "train_twice"]

STEP_S = 0.02
NOT_TODAY = 13


class Console:
    """What a page complained about; `allow` names the complaints that a test provokes."""

    def __init__(self) -> None:
        self.errors: list[str] = []
        self._allowed: list[str] = []

    def allow(self, pattern: str) -> None:
        """Accepts errors that match."""
        self._allowed.append(pattern)

    def unexpected(self) -> list[str]:
        """The errors that no test asked for."""
        return [error for error in self.errors if not any(re.search(pattern, error) for pattern in self._allowed)]


class Training:
    """Stands in for a training process: reports through the bridge, from a thread, until it is stopped."""

    def __init__(self, url: str, folder: Path, run_id: str, name: str) -> None:
        self.run = recis.monitor.init(
            url, project="films", name=name, run_id=run_id, tags=["demo"], spool_dir=str(folder / f"spool-{run_id}")
        )
        self.interval: int | None = 100
        self.run.control(
            "filter_interval",
            type="int",
            value=100,
            minimum=1,
            nullable=True,
            unit="steps",
            on_change=self.set_interval,
        )
        self.settings: dict[str, Any] = {"combiner": "sum", "shuffle": False, "label": "ctr"}
        offered: list[tuple[str, Any, dict[str, Any]]] = [
            ("combiner", "enum", {"choices": ["sum", "mean", 2], "nullable": True}),
            ("shuffle", "bool", {"apply": "each", "confirm": "Shuffling makes steps slower. Go on?"}),
            ("label", "str", {}),
        ]
        for name, kind, more in offered:
            change = partial(self.settings.__setitem__, name)
            self.run.control(name, type=kind, value=self.settings[name], on_change=change, **more)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._train, name=f"training-{run_id}")

    def set_interval(self, interval: int | None) -> None:
        """Takes any interval but one."""
        if interval == NOT_TODAY:
            raise ValueError("13 is not taken today")
        self.interval = interval

    def start(self) -> None:
        """Trains in its thread."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the run."""
        self._stop.set()
        self._thread.join(20)
        self.run.finish(timeout_s=10)

    def _train(self) -> None:
        step = last = 0
        while not self._stop.wait(STEP_S):
            step += 1
            values: dict[str, float] = {
                "loss": 0.4 + 0.3 / step + step % 7 / 1000,
                "train/lr": 1e-3,
                "monitor/queue": 0.0,
            }
            if step % 10 == 0:
                values["qps"] = 1 / STEP_S + step % 7
            if step == 30:
                values["loss"] = float("nan")
            self.run.log(values, step)
            if self.interval and step - last >= self.interval:
                last = step
                self.run.filter_pass(filter_pass(step, self.interval))


def filter_pass(step: int, interval: int) -> Pass:
    """A pass over the table `user` that takes as many rows as it finds new ones."""
    return Pass(
        table="user", step=step, time_ns=0, interval=interval, rows_before=1000, evicted=40, rows_after=960,
        admitted=40, milliseconds=1.5, bytes=61_440,
    )  # fmt: skip


def train_twice(url: str, folder: Path, run_id: str) -> None:
    """A run of 200 steps that is started again from step 100, with a loss that explodes only the first time."""
    for first, last in ((0, 200), (100, 180)):
        with recis.monitor.init(url, project="films", run_id=run_id, spool_dir=str(folder)) as run:
            for step in range(first, last):
                exploded = 0.002 * (step - 100) if first == 0 and step > 100 else 0.0
                run.log({"loss": 1.0 - step / 400 + exploded}, step)


def report_dropped(url: str, run_id: str, dropped: int) -> None:
    """A writer that says how many points it has lost."""
    with connect(f"{url.replace('http', 'ws', 1)}/ws/ingest") as socket:
        socket.send(encode(Hello(run=run_id, writer="w", attempt="a")))
        socket.recv()
        socket.send(encode(Frame(n=1, records=(Status(state="finished", time_ns=1),), dropped=dropped)))
        socket.recv()
