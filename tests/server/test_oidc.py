"""Sign-in against a provider over real HTTP; the browser is a client that follows redirects and keeps cookies."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from joserfc.jwk import RSAKey
from recis_server import access as module_of_access
from recis_server import oidc as module
from recis_server.access import digest_of
from recis_server.errors import Busy, Unauthorised
from recis_server.oidc import SignIn, open_sign_in
from recis_server.people import Roles
from recis_server.store.values import TokenRow

from scripts.ports import free_port
from tests.server.httpserver import ADDRESS, Site, settings, site
from tests.server.provider import CLIENT_ID, CLIENT_SECRET, Provider, provider

CONTROL = "/api/v1/runs/r/controls/filter_interval"
HTML = {"Accept": "text/html,*/*"}


def options(folder: Path, issuer: str) -> dict[str, Any]:
    (folder / "secret").write_text(f"{CLIENT_SECRET}\n")
    return {
        "oidc_issuer": issuer,
        "oidc_client_id": CLIENT_ID,
        "oidc_client_secret_file": folder / "secret",
        "auth_view": ("*",),
        "auth_control": ("@ops",),
    }


def with_provider(folder: Path, scenario: Callable[[Site, Provider], Coroutine[Any, Any, None]]) -> None:
    async def whole() -> None:
        async with asyncio.timeout(60), provider() as running, site(folder, **options(folder, running.url)) as opened:
            await scenario(opened, running)

    asyncio.run(whole())


async def to_provider(browser: Site, page: str) -> str:
    """Opens a page that needs a person; returns the address at the provider to which that leads."""
    answer = await browser.client.get(page, headers=HTML)
    assert answer.status_code == 303, answer.text
    assert answer.headers["location"].startswith("/auth/login?next=")
    answer = await browser.client.get(answer.headers["location"])
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


async def back_from(address: str) -> str:
    """Signs in at the provider; returns the address to which it sends the browser back."""
    async with httpx.AsyncClient() as client:
        answer = await client.get(address)
    assert answer.status_code == 307, answer.text
    return answer.headers["location"]


async def signed_in(browser: Site, page: str = "/run/r?x=1&y=a%20b") -> httpx.Response:
    return await browser.client.get(await back_from(await to_provider(browser, page)))


def test_a_person_signs_in_acts_and_signs_out(tmp_path: Path) -> None:
    async def scenario(browser: Site, running: Provider) -> None:
        await browser.filled()
        assert (await browser.client.get("/api/v1/runs", headers=HTML)).status_code == 401
        assert (await browser.client.get("/static/js/main.js", headers=HTML)).status_code == 200
        answer = await signed_in(browser)
        assert (answer.status_code, answer.headers["location"]) == (303, "/run/r?x=1&y=a%20b")
        cookies = answer.headers.get_list("set-cookie")
        assert all({"HttpOnly", "SameSite=Lax", "Path=/"} <= set(cookie.split("; ")) for cookie in cookies)
        assert (await browser.client.get("/run/r", headers=HTML)).status_code == 200
        assert (await browser.client.get("/api/v1/meta")).json()["scope"] == "control"
        assert (await browser.client.put(CONTROL, json={"value": 5})).status_code == 202
        (command,) = (await browser.client.get("/api/v1/runs/r/commands")).json()["commands"]
        assert command["requested_by"] == "alice@example.com"
        # A program's token counts, not the session.
        await browser.app.state.store.add_token(TokenRow("t", "ci", "view", digest_of("ci"), 1))
        bearer = {"Authorization": "Bearer ci"}
        assert (await browser.client.put(CONTROL, json={"value": 6}, headers=bearer)).status_code == 403
        copied = dict(browser.client.cookies)
        assert (await browser.client.get("/auth/logout")).status_code == 405
        foreign = {"Origin": "https://evil.example"}
        assert (await browser.client.post("/auth/logout", headers=foreign)).status_code == 403
        assert (await browser.client.get("/api/v1/runs")).status_code == 200
        answer = await browser.client.post("/auth/logout", data={})
        assert (answer.status_code, answer.headers["location"]) == (303, "/auth/signed-out")
        assert "Signed out" in (await browser.client.get("/auth/signed-out", headers=HTML)).text
        assert (await browser.client.get("/api/v1/runs")).status_code == 401
        browser.client.cookies.update(copied)
        assert (await browser.client.get("/api/v1/runs")).status_code == 401, "the session has ended everywhere"
        assert (await browser.client.post("/auth/logout")).status_code == 303, "twice is no error"
        # In no group with a role for control, and a name where there is no address.
        running.person = {"sub": "2", "preferred_username": "bob", "groups": "readers"}
        await signed_in(browser)
        assert (await browser.client.get("/api/v1/meta")).json()["scope"] == "view"
        assert (await browser.client.put(CONTROL, json={"value": 7})).status_code == 403

    with_provider(tmp_path, scenario)


def test_only_the_browser_that_began_and_only_what_the_provider_signed(tmp_path: Path) -> None:
    async def scenario(browser: Site, running: Provider) -> None:
        def is_nobody() -> bool:
            return not any(name.startswith("recis_session") for name in browser.client.cookies)

        async def refused(wrong: dict[str, Any]) -> None:
            running.wrong = wrong
            assert (await signed_in(browser)).status_code == 401, wrong
            assert is_nobody()

        for wrong in (
            {"iss": "https://evil.example"},
            {"aud": "another"},
            {"nonce": "another"},
            {"exp": 1},
            {"sub": None},
        ):
            await refused(wrong)
        right, running.key = running.key, RSAKey.generate_key(2048, {"kid": "one"})
        await refused({})
        running.key = right
        # The way back in another browser, with another state, twice, or with the provider's refusal.
        back = await back_from(await to_provider(browser, "/"))
        kept = dict(browser.client.cookies)
        browser.client.cookies.clear()
        assert (await browser.client.get(back)).status_code == 401
        browser.client.cookies.update(kept)
        state = parse_qs(urlsplit(back).query)["state"][0]
        assert (await browser.client.get(back.replace(state, "another"))).status_code == 401
        refusal = await browser.client.get(f"/auth/callback?state={state}&error=access_denied")
        assert (refusal.status_code, "access_denied" in refusal.text) == (401, True)
        assert is_nobody()
        assert (await browser.client.get(back)).status_code == 303
        browser.client.cookies.clear()
        browser.client.cookies.update(kept)
        assert (await browser.client.get(back)).status_code == 401, "a code is for once"
        # No address of another site to go to.
        for page in ("//evil.example/", "/\\evil.example", "https://evil.example", "/%0d%0aSet-Cookie:x=1"):
            browser.client.cookies.clear()
            begun = await browser.client.get("/auth/login", params={"next": page})
            done = await browser.client.get(await back_from(begun.headers["location"]))
            location = done.headers["location"]
            assert location.startswith("/")
            assert not location.startswith(("//", "/\\"))

    with_provider(tmp_path, scenario)


def test_a_session_is_signed_bounded_in_time_and_for_its_purpose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign_in = SignIn("https://login.example.com", CLIENT_ID, CLIENT_SECRET, "groups", Roles(["*"], ["@ops"]))
    same = SignIn("https://login.example.com", CLIENT_ID, CLIENT_SECRET, "groups", Roles(["*"], ["alice"]))
    other = SignIn("https://login.example.com", CLIENT_ID, CLIENT_SECRET + "x", "groups", Roles(["*"], ["@ops"]))
    session = {"name": "alice", "groups": [], "secret": "s"}
    cookie = sign_in._sealed("session", session, 60)
    grant = same.grant(cookie)
    assert grant is not None
    assert (grant.name, grant.digest) == ("alice", digest_of("s"))
    assert grant.scopes == {"view", "control"}
    assert other.grant(cookie) is None
    assert sign_in.grant(sign_in._sealed("sign-in", session, 60)) is None
    assert sign_in.grant(sign_in._sealed("session", session, -1)) is None
    assert sign_in.grant(sign_in._sealed("session", {"name": "alice", "groups": []}, 60)) is None
    for forged in ("", "x", cookie[:-2], "eyJhbGciOiJub25lIn0.eyJuYW1lIjoiYWxpY2UifQ."):
        assert sign_in.grant(forged) is None
    monkeypatch.setattr(module, "SESSION_S", 1)

    async def scenario(browser: Site, _: Provider) -> None:
        await signed_in(browser)
        found = browser.app.state.sign_in.grant(browser.client.cookies["recis_session_8765"])
        with pytest.raises(Unauthorised, match="session of this connection has ended"):
            async with browser.app.state.access.held(found):
                await asyncio.Event().wait()
        assert (await browser.client.get("/api/v1/runs")).status_code == 401

    with_provider(tmp_path, scenario)


def test_sessions_are_listed_and_revoked_like_tokens(tmp_path: Path) -> None:
    async def scenario(browser: Site, _: Provider) -> None:
        await signed_in(browser)
        first = dict(browser.client.cookies)
        browser.client.cookies.clear()
        await signed_in(browser)
        store = browser.app.state.store
        listed = await store.tokens()
        assert [(row.name, row.scope) for row in listed] == [("alice@example.com", "session")] * 2
        await store.delete_token(listed[0].id)  # by another process, as `recis-monitor token revoke` does
        await asyncio.sleep(module_of_access.REFRESH_S)
        assert (await browser.client.get("/api/v1/runs")).status_code == 200
        browser.client.cookies.clear()
        browser.client.cookies.update(first)
        assert (await browser.client.get("/api/v1/runs")).status_code == 401
        # The digest or the identifier of a session is no token.
        for text in (listed[1].digest, listed[1].id):
            bearer = {"Authorization": f"Bearer {text}"}
            assert (await browser.client.get("/api/v1/runs", headers=bearer)).status_code == 401

    with_provider(tmp_path, scenario)


def test_a_store_that_is_away_begins_no_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(browser: Site, _: Provider) -> None:
        back = await back_from(await to_provider(browser, "/"))

        async def away(row: TokenRow) -> None:
            raise Busy("the store is away")

        monkeypatch.setattr(browser.app.state.store, "add_token", away)
        answer = await browser.client.get(back)
        assert answer.status_code == 503
        assert not any(name.startswith("recis_session") for name in browser.client.cookies)

    with_provider(tmp_path, scenario)


def test_a_provider_that_is_away_or_another_is_told(tmp_path: Path) -> None:
    async def away(issuer: str) -> str:
        async with site(tmp_path, **options(tmp_path, issuer)) as opened:
            answer = await opened.client.get("/auth/login", headers=HTML)
            assert answer.status_code == 503
            assert "provider of the sign-in cannot be used now" in answer.text
            return answer.text

    async def scenario() -> None:
        await away(f"http://127.0.0.1:{free_port()}")
        async with provider() as running:
            await away(f"{running.url}/elsewhere")
            await away(running.url.replace("127.0.0.1", "localhost"))
        async with site(tmp_path) as opened:
            assert (await opened.client.get("/auth/login")).status_code == 404

    asyncio.run(scenario())
    roles = Roles([], [])
    assert open_sign_in(settings(tmp_path), roles) is None
    for wrong in ("login.example.com", "ftp://login.example.com", "https://user:hidden@login.example.com"):
        with pytest.raises(ValueError, match="--oidc-issuer: expected an address like") as caught:
            open_sign_in(settings(tmp_path, **options(tmp_path, wrong)), roles)
        assert "hidden" not in str(caught.value)
    with pytest.raises(ValueError, match="expected --oidc-client-id ID"):
        open_sign_in(settings(tmp_path, oidc_issuer=ADDRESS), roles)
