"""A real Chromium, and a page that fails its test on any console error and on any request to another origin."""

import shutil
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import ConsoleMessage, Page, Request


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any]) -> dict[str, Any]:
    """The system's Chromium where there is one, else Playwright's own."""
    names = ("chromium", "chromium-browser", "google-chrome")
    system = next((path for name in names if (path := shutil.which(name))), None)
    # Containers and CI run as root, where Chromium's sandbox cannot be had.
    arguments = {**browser_type_launch_args, "args": ["--no-sandbox"]}
    return {**arguments, "executable_path": system} if system else arguments


@pytest.fixture
def watched(page: Page) -> Iterator[Page]:
    """A page whose console and requests are watched."""
    wrong: list[str] = []
    origins: set[str] = set()

    def on_console(message: ConsoleMessage) -> None:
        if message.type == "error":
            wrong.append(f"{message.text} ({message.location})")

    def on_request(request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme in {"http", "https", "ws", "wss"}:
            origins.add(parts.netloc)

    page.on("console", on_console)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", on_request)
    yield page
    assert wrong == []
    assert len(origins) <= 1, f"expected requests to one origin, got {sorted(origins)}"
