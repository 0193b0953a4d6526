"""A real server, a small live training beside it, and a browser page that fails its test on any console error."""

import re
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import ConsoleMessage, Page

import recis.monitor
from recis.wire.messages import Pass
from tests.e2e.processes import RunningCommand

STEP_S = 0.02
NOT_TODAY = 13


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any]) -> dict[str, Any]:
    """The system's Chromium where there is one, else Playwright's own."""
    system = next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
    )
    # Containers and CI run as root, where Chromium's sandbox cannot be had.
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    return {**browser_type_launch_args, "args": arguments} | ({"executable_path": system} if system else {})


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


@pytest.fixture
def console(page: Page) -> Iterator[Console]:
    """Watches the page; every breach of the content policy is an error too."""
    console = Console()

    def on_message(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            console.errors.append(f"{message.text} ({message.location.get('url', '')})")

    page.on("console", on_message)
    page.on("pageerror", lambda error: console.errors.append(f"{error}\n{error.stack}"))
    yield console
    assert console.unexpected() == []


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
            values: dict[str, float] = {"loss": 0.4 + 0.3 / step, "train/lr": 1e-3, "monitor/queue": 0.0}
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


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server of its own."""
    with RunningCommand(tmp_path_factory.mktemp("server"), "serve") as command:
        yield command.wait_for(r"Listening on (http://\S+)").rstrip("/")


@pytest.fixture(scope="module")
def train(server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Training]]:
    """Starts trainings against the server; all end with the module."""
    started: list[Training] = []

    def start(run_id: str, name: str, url: str = server) -> Training:
        training = Training(url, tmp_path_factory.mktemp("training"), run_id, name)
        started.append(training)
        training.start()
        return training

    yield start
    for training in started:
        training.stop()


@pytest.fixture(scope="module")
def live(train: Callable[..., Training]) -> Training:
    """The run `live`, which trains while the module's tests look at it."""
    return train("live", "deepfm")
