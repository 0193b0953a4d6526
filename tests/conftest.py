"""The order of the whole suite, what its processes inherit, and the one browser that its tests drive."""

import gc
import os
import shutil
import signal
from collections import Counter
from typing import Any

import pytest

from tests import effort  # noqa: F401 - registers the profile that `--hypothesis-profile` names
from tests.turns import Turns, is_alone

# Workers and the processes of a test share the cores: threads of torch would only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Thousands of runs need not describe the machine and its packages each; tests of what is collected ask for it.
os.environ.setdefault("RECIS_MONITOR_COLLECT", "none")
# A shell has what it starts in the background ignore Ctrl-C, and so would all that the tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any]) -> dict[str, Any]:
    """The system's Chromium where there is one, else Playwright's own.

    `chromium-headless-shell` is Chromium without the code for its windows, and takes half of the processor time.
    """
    names = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
    system = next((path for name in names if (path := shutil.which(name))), None)
    # Containers and CI run as root, where Chromium's sandbox cannot be had.
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    return {**browser_type_launch_args, "args": arguments} | ({"executable_path": system} if system else {})


def pytest_configure(config: pytest.Config) -> None:
    """Have the workers of a session take turns."""
    if hasattr(config, "workerinput") and config.cache is not None:
        config.pluginmanager.register(Turns(config.cache.mkdir("turns")))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the modules with browser tests last, and of the others those first that take workers long.

    Playwright's synchronous interface keeps an event loop running in the main thread until the session ends; a test
    that comes after it could not run one of its own. A module that takes long would, as the last one, leave the other
    workers idle; tests that run alone come first of all, for then no worker has to finish anything before they begin.
    """
    with_browser = {item.path for item in items if "page" in getattr(item, "fixturenames", ())}
    if hasattr(config, "workerinput"):
        alone = Counter(item.path for item in items if is_alone(item))
        slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
        # Within a module those that run alone come first, and so share one turn.
        items.sort(key=lambda item: (-alone[item.path], -slow[item.path], str(item.path), not is_alone(item)))
    items.sort(key=lambda item: item.path in with_browser)


def pytest_collection_finish() -> None:
    """Exempt what collecting has made, millions of objects that stay, from every later garbage collection."""
    gc.collect()
    gc.freeze()
