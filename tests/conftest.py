"""The order of the whole suite, what its processes inherit, and the one browser that its tests drive."""

import shutil
import signal
from typing import Any

import pytest

# A shell has what it starts in the background ignore Ctrl-C, and so would all that the tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any]) -> dict[str, Any]:
    """The system's Chromium where there is one, else Playwright's own."""
    names = ("chromium", "chromium-browser", "google-chrome")
    system = next((path for name in names if (path := shutil.which(name))), None)
    # Containers and CI run as root, where Chromium's sandbox cannot be had.
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    return {**browser_type_launch_args, "args": arguments} | ({"executable_path": system} if system else {})


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the modules with browser tests last.

    Playwright's synchronous interface keeps an event loop running in the main thread until the session ends; a test
    that comes after it could not run one of its own.
    """
    with_browser = {item.path for item in items if "page" in getattr(item, "fixturenames", ())}
    items.sort(key=lambda item: item.path in with_browser)
