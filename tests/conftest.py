"""The order of the whole suite, the environment of its processes, and the browser that its tests use."""

import gc
import os
import shutil
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests import effort  # noqa: F401 - registers the profile that `--hypothesis-profile` names
from tests.turns import Turns, is_alone

# Workers and the processes of tests share the cores, so that further threads of torch would only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Thousands of runs need not each describe the machine and its packages; tests of that request it.
os.environ.setdefault("RECIS_MONITOR_COLLECT", "none")
# Background processes of a shell ignore Ctrl-C, and so would all processes that the tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

EVERY_WAITING = 4
"""One of so many modules is one that waits, as long as there are some."""


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any]) -> dict[str, Any]:
    """Use the system's Chromium if there is one, otherwise that of Playwright.

    `chromium-headless-shell` is Chromium without the code for its windows, and takes half of the processor time.
    """
    names = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
    system = next((path for name in names if (path := shutil.which(name))), None)
    # Containers and CI run as root, for which Chromium's sandbox is not available.
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    return {**browser_type_launch_args, "args": arguments} | ({"executable_path": system} if system else {})


def pytest_configure(config: pytest.Config) -> None:
    """Coordinate the workers of a session, so that tests marked `alone` run alone."""
    if hasattr(config, "workerinput") and config.cache is not None:
        config.pluginmanager.register(Turns(config.cache.mkdir("turns"), (os.cpu_count() or 1) + 1))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run browser tests last; of the other modules, run the slowest ones first.

    Playwright's synchronous interface keeps an event loop running in the main thread until the session ends, so that a
    later test could not run its own. A slow module at the end would leave the other workers idle. Tests that run alone
    come first of all, when no worker has to finish another test before they begin. Modules that wait are spread among
    the others, so that some of both run at any time.
    """
    with_browser = {item.path for item in items if "page" in getattr(item, "fixturenames", ())}
    if hasattr(config, "workerinput"):
        alone = Counter(item.path for item in items if is_alone(item))
        slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
        # Within a module, tests that run alone come first, so that they share one exclusive period.
        items.sort(key=lambda item: (-alone[item.path], -slow[item.path], str(item.path), not is_alone(item)))
        waits = {item.path for item in items if not alone[item.path] and item.get_closest_marker("waits")}
        paths = list(dict.fromkeys(item.path for item in items))
        place: dict[Path, float] = {
            path: number for number, path in enumerate(each for each in paths if each not in waits)
        }
        first = sum(1 for path in paths if alone[path])
        place |= {
            path: first + EVERY_WAITING * number - 0.5
            for number, path in enumerate(each for each in paths if each in waits)
        }
        items.sort(key=lambda item: place[item.path])
    items.sort(key=lambda item: item.path in with_browser)


def pytest_collection_finish() -> None:
    """Exclude the millions of objects created by the collection of tests from later garbage collections."""
    gc.collect()
    gc.freeze()
