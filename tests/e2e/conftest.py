"""A real Chromium, and a page that fails its test on any console error and on any request to another origin."""

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import ConsoleMessage, Page, Request


@pytest.fixture
def watched(page: Page) -> Iterator[Page]:
    """A page whose console and requests are checked."""
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
