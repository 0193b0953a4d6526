"""A real server, a small live training beside it, and a browser page that fails its test on any console error."""

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import ConsoleMessage, Page

from tests.e2e.processes import RunningCommand, get_json, until
from tests.web.training import Console, Training


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


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server of its own."""
    with RunningCommand(tmp_path_factory.mktemp("server"), "serve") as command:
        yield command.wait_for(r"Listening on (http://\S+)").rstrip("/")


@pytest.fixture(scope="module")
def train(server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Training]]:
    """Starts trainings and waits until the server has their runs; all end with the module."""
    started: list[Training] = []

    def start(run_id: str, name: str, url: str = server) -> Training:
        training = Training(url, tmp_path_factory.mktemp("training"), run_id, name)
        started.append(training)
        training.start()
        until(lambda: run_id in {run["id"] for run in get_json(f"{url}/api/v1/runs")["runs"]}, 20, f"the run {run_id}")
        return training

    yield start
    for training in started:
        training.stop()


@pytest.fixture(scope="module")
def live(train: Callable[..., Training]) -> Training:
    """The run `live`, which trains while the module's tests look at it."""
    return train("live", "deepfm")
