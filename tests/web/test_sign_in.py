"""A person signs in with a provider, and signs out on the page."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.processes import RunningCommand
from tests.server.provider import CLIENT_ID, CLIENT_SECRET, provider
from tests.web.training import Console

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.fixture
def issuer() -> Iterator[str]:
    """The address of a provider that signs everybody in as alice@example.com."""
    started, ended = threading.Event(), threading.Event()
    address = ""

    async def serve() -> None:
        nonlocal address
        async with provider() as running:
            address = running.url
            started.set()
            await asyncio.to_thread(ended.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()), name="provider")
    thread.start()
    try:
        assert started.wait(20)
        yield address
    finally:
        ended.set()
        thread.join(20)


def test_a_person_signs_in_and_out_on_the_page(page: Page, console: Console, issuer: str, tmp_path: Path) -> None:
    console.allow("401|WebSocket|4401")
    (tmp_path / "secret").write_text(f"{CLIENT_SECRET}\n")
    (tmp_path / "token").write_text("a-token-of-the-training\n")
    sign_in = ("--oidc-issuer", issuer, "--oidc-client-id", CLIENT_ID, "--oidc-client-secret-file", "secret")
    with RunningCommand(tmp_path, "serve", *sign_in, "--auth-view", "*", "--token-file", "token") as server:
        address = server.wait_for(r"Listening on (http://[^/\s]+)")
        page.goto(f"{address}/")
        out = page.get_by_role("button", name="Sign out alice@example.com")
        expect(out).to_be_visible()
        expect(page.get_by_title("Signed in as alice@example.com")).to_be_visible()
        other = page.context.new_page()
        other.goto(f"{address}/")
        expect(other.get_by_text("Live", exact=True)).to_be_visible()
        out.click()
        expect(page.get_by_role("heading", name="Signed out")).to_be_visible()
        assert page.url == f"{address}/auth/signed-out"
        # The other tab of the same browser has lost its connection, too.
        expect(other.get_by_text("Live", exact=True)).to_be_hidden()
        page.get_by_role("link", name="Sign in again").click()
        expect(out).to_be_visible()
        page.set_viewport_size({"width": 390, "height": 700})
        expect(out).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
