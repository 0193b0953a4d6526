import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from recis_server.access import digest_of
from recis_server.serving import serving
from recis_server.store.values import TokenRow
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from recis.wire.codec import decode_server, encode
from recis.wire.messages import Refuse, Welcome
from tests.server.httpserver import ADDRESS, Site, ask, settings
from tests.server.realserver import hello

CONTROL = "/api/v1/runs/r/controls/filter_interval"


def with_tokens(folder: Path) -> Path:
    path = folder / "token"
    path.write_text("master\n")
    return path


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_every_scope_opens_its_doors_only(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        await site.filled()
        for scope in ("view", "control", "write"):
            await site.app.state.store.add_token(TokenRow(scope, "", scope, digest_of(scope), 1))
        expected = {"view": (200, 403), "control": (200, 202), "write": (403, 403), "guess": (401, 401), "": (401, 401)}
        for token, (reading, changing) in expected.items():
            headers = bearer(token) if token else {}
            assert (await site.client.get("/api/v1/runs", headers=headers)).status_code == reading, token
            answer = await site.client.put(CONTROL, json={"value": 5}, headers=headers)
            assert answer.status_code == changing, token
            assert (await site.client.delete("/api/v1/runs/r", headers=headers)).status_code != 500
        assert (await site.client.get("/api/v1/meta", headers=bearer("view"))).json()["scope"] == "view"
        assert (await site.client.get("/metrics")).status_code == 401
        for public in ("/", "/static/js/main.js", "/healthz", "/readyz"):
            assert (await site.client.get(public)).status_code == 200

    ask(tmp_path, scenario, token_file=with_tokens(tmp_path))


def test_a_browser_swaps_its_token_for_a_cookie(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        answer = await site.client.get("/run/x?a=1&token=master&b=%26")
        assert answer.status_code == 303
        assert answer.headers["location"] == "/run/x?a=1&b=%26"
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        assert "Path=/" in cookie
        # The client keeps the cookie from here on.
        assert (await site.client.get("/api/v1/runs")).status_code == 200
        assert (await site.client.get(f"{ADDRESS}//evil.example/?token=master")).headers["location"] == "/evil.example/"

    ask(tmp_path, scenario, token_file=with_tokens(tmp_path))


def test_a_wrong_token_sets_no_cookie(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        answer = await site.client.get("/?token=guess")
        assert answer.status_code == 401
        assert "set-cookie" not in answer.headers
        assert (await site.client.get("/api/v1/runs?token=master")).status_code == 401

    ask(tmp_path, scenario, token_file=with_tokens(tmp_path))


def test_a_foreign_origin_may_do_nothing(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        await site.filled()
        foreign = {"Origin": "http://evil.example"}
        for method, address in (("GET", "/api/v1/runs"), ("PUT", CONTROL), ("DELETE", "/api/v1/runs/r"), ("GET", "/")):
            answer = await site.client.request(method, address, json={"value": 5}, headers=foreign)
            assert answer.status_code == 403
        own = await site.client.put(CONTROL, json={"value": 5}, headers={"Origin": "http://127.0.0.1:8765"})
        assert own.status_code == 202

    ask(tmp_path, scenario)


def test_a_chunked_body_has_the_same_limit(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        await site.filled()

        async def parts(number: int) -> AsyncIterator[bytes]:
            yield b'{"notes": "'
            for _ in range(number):
                yield b"x" * 1024
            yield b'"}'

        address = "/api/v1/runs/r"
        json = {"Content-Type": "application/json"}
        assert (await site.client.patch(address, content=parts(2), headers=json)).status_code == 200
        assert (await site.client.patch(address, content=parts(2000), headers=json)).status_code == 413

    ask(tmp_path, scenario)


def test_sockets_check_host_origin_and_token(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(settings(tmp_path, token_file=with_tokens(tmp_path))) as server:
            url = server.url.replace("http", "ws")
            for path, headers, origin in (
                ("/ws/live", {}, None),
                ("/ws/live", bearer("guess"), None),
                ("/ws/live", bearer("master"), "http://evil.example"),
                ("/ws/ingest", bearer("master"), "http://evil.example"),
                ("/ws/nowhere", {}, None),
            ):
                with pytest.raises(InvalidStatus) as refused:
                    async with connect(url + path, additional_headers=headers, origin=origin):  # type: ignore[arg-type]
                        pass
                assert refused.value.response.status_code in (401, 403)
                assert b'"error"' in (refused.value.response.body or b"")
            async with connect(url + "/ws/live", additional_headers=bearer("master"), origin=server.url) as live:  # type: ignore[arg-type]
                assert '"control"' in str(await live.recv())
            for path in ("/ws/ingest", "/ws/trace"):
                async with connect(url + path) as writer:
                    refuse = decode_server(await writer.recv(decode=False))
                    assert isinstance(refuse, Refuse)
                    assert (refuse.code, refuse.retry) == ("unauthorised", False)
                    await writer.wait_closed()
                    assert writer.close_code == 4401
            async with connect(url + "/ws/ingest", additional_headers=bearer("master")) as writer:
                await writer.send(encode(hello()))
                assert isinstance(decode_server(await writer.recv(decode=False)), Welcome)

    asyncio.run(scenario())


def test_a_foreign_host_reaches_no_socket(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(settings(tmp_path)) as server, httpx.AsyncClient() as client:
            upgrade = {
                "Connection": "Upgrade",
                "Upgrade": "websocket",
                "Sec-WebSocket-Version": "13",
                "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
                "Host": "evil.example",
            }
            for path in ("/ws/live", "/ws/ingest", "/ws/trace"):
                assert (await client.get(server.url + path, headers=upgrade)).status_code == 403

    asyncio.run(scenario())
