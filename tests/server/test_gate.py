import asyncio
import re
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import cast
from urllib.parse import unquote_to_bytes

import httpx
import pytest
from fastapi.responses import StreamingResponse
from recis_server import gate
from recis_server.access import digest_of
from recis_server.main import create_app
from recis_server.serving import serving
from recis_server.store import Store, open_store
from recis_server.store.values import TokenRow
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from recis.wire.codec import decode_server, encode
from recis.wire.messages import Refuse, Welcome
from tests.server.httpserver import ADDRESS, Site, ask, settings
from tests.server.realserver import hello, listening

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
        # From here on the client has the cookie.
        assert (await site.client.get("/api/v1/runs")).status_code == 200
        assert (await site.client.get(f"{ADDRESS}//evil.example/?token=master")).headers["location"] == "/evil.example/"

    ask(tmp_path, scenario, token_file=with_tokens(tmp_path))


STRANGE = ("%E2%82%AC", "a%00b", "%FF%FE", "%0d%0aSet-Cookie:%20x=1", "a%3B%20b%3Dc", "%22", "", "x" * 5000)


@pytest.mark.parametrize("is_closed", [False, True])
def test_a_token_of_any_characters_is_swapped_or_refused(tmp_path: Path, is_closed: bool) -> None:
    async def scenario(site: Site) -> None:
        for token in STRANGE:
            answer = await site.client.get(f"/run/x?a=1&token={token}")
            assert answer.status_code == (401 if is_closed else 303), token
            assert answer.headers.get("location") == (None if is_closed else "/run/x?a=1")
            assert not re.search("[\r\n]", answer.headers.get("set-cookie", ""))
            site.client.cookies.clear()
            header = {"Authorization": b"Bearer " + unquote_to_bytes(token).replace(b"\0", b"").replace(b"\r\n", b"")}
            for headers in (header, {"Cookie": f"recis_monitor_8765={token}"}):
                answer = await site.client.get("/api/v1/runs", headers=headers)  # type: ignore[arg-type]
                assert answer.status_code == (401 if is_closed else 200), token

    ask(tmp_path, scenario, **({"token_file": with_tokens(tmp_path)} if is_closed else {}))


def test_a_token_with_any_printable_character_comes_back_in_its_cookie(tmp_path: Path) -> None:
    token = 'a;b c="d"%41,\\e'
    (tmp_path / "token").write_text(token)

    async def scenario(site: Site) -> None:
        assert (await site.client.get("/", params={"token": token})).status_code == 303
        assert (await site.client.get("/api/v1/runs")).status_code == 200

    ask(tmp_path, scenario, token_file=tmp_path / "token")


@pytest.mark.parametrize(
    "others",
    [
        'settings={"theme": "dark", "open": [1, 2]}; ',
        "a b=c; ",
        "[odd]=1; ",
        "=nothing; ; ;",
        'quoted="x; recis_monitor_8765=guess; ',
        "recis_monitor_8765=guess; ",
        "recis_monitor_8765=; recis_monitor_8765=%E2%82%AC; ",
        "\xff\xfe=\x80; ",
        "x=" + "y" * 8000 + "; ",
    ],
)
def test_cookies_of_neighbours_keep_nobody_out(tmp_path: Path, others: str) -> None:
    async def scenario(site: Site) -> None:
        own = "recis_monitor_8765=master"
        for text in (f"{others}{own}", f"{own}; {others}"):
            answer = await site.client.get("/api/v1/runs", headers={b"Cookie": text.encode("latin-1")})
            assert answer.status_code == 200, text
        answer = await site.client.get("/api/v1/runs", headers={b"Cookie": others.encode("latin-1")})
        assert answer.status_code == 401

    ask(tmp_path, scenario, token_file=with_tokens(tmp_path))


def test_a_bearer_token_speaks_for_itself(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        async def status(*headers: tuple[str, str]) -> int:
            return (await site.client.get("/api/v1/runs", headers=headers)).status_code

        cookie = ("Cookie", "recis_monitor_8765=master")
        assert await status(("Authorization", "bearer  master ")) == 200
        assert await status(("Authorization", "Basic dTpw"), cookie) == 200
        assert await status(("Authorization", "Basic dTpw"), ("Authorization", "Bearer master")) == 200
        assert await status(("Authorization", "Bearer"), ("Authorization", "Bearer master")) == 200
        assert await status(("Authorization", "Bearer guess"), cookie) == 401
        for wrong in ("", "Bearer", "master", "Bearer: master", "Basic master"):
            assert await status(("Authorization", wrong)) == 401

    ask(tmp_path, scenario, token_file=with_tokens(tmp_path))


def test_a_request_names_one_host_and_one_origin(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        for name, other in (("Host", "evil.example"), ("Origin", "http://127.0.0.1:8765")):
            headers = [("Host", "127.0.0.1:8765"), ("Origin", "http://127.0.0.1:8765"), (name, other)]
            assert (await site.client.get("/", headers=headers)).status_code == 403
        forwarded = {"X-Forwarded-Host": "127.0.0.1:8765", "Host": "evil.example"}
        assert (await site.client.get("/", headers=forwarded)).status_code == 403

    ask(tmp_path, scenario)


def test_headers_that_are_too_large_are_refused(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        answer = await site.client.get("/api/v1/runs", headers={"Cookie": "x=" + "y" * 20_000})
        assert (answer.status_code, answer.json()["error"]["code"]) == (431, "too_large")

    ask(tmp_path, scenario)


def test_a_body_that_does_not_come_is_not_awaited_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "BODY_S", 0.1)

    async def scenario() -> None:
        async with serving(settings(tmp_path)) as server:
            host, port = server.url.removeprefix("http://").split(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(
                f"PATCH /api/v1/runs/r HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: 10\r\n\r\n{{".encode()
            )
            head = await reader.readuntil(b"\r\n\r\n")
            assert b" 408 " in head
            writer.close()

    asyncio.run(scenario())


@asynccontextmanager
async def with_store(folder: Path) -> AsyncIterator[Store]:
    """Open the store of a running server, as its commands do."""
    store = open_store(f"sqlite:///{folder / 'recis.db'}", exclusive=False)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def revoke(folder: Path, token: str) -> None:
    command = [sys.executable, "-m", "recis_server", "token", "revoke", token, "--data", str(folder)]
    child = await asyncio.create_subprocess_exec(*command)
    assert await child.wait() == 0


@pytest.mark.slow
def test_a_revoked_token_loses_its_sockets(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with asyncio.timeout(100), serving(settings(tmp_path)) as server, AsyncExitStack() as stack:
            url = server.url.replace("http", "ws")
            async with with_store(tmp_path) as store:
                for token, scope in (("gone", "write"), ("looks", "view"), ("stays", "view")):
                    await store.add_token(TokenRow(token, "", scope, digest_of(token), 1))
            sockets = {
                (path, token): await stack.enter_async_context(connect(url + path, additional_headers=bearer(token)))
                for path, token in (
                    ("/ws/ingest", "gone"),
                    ("/ws/trace", "gone"),
                    ("/ws/live", "looks"),
                    ("/ws/live", "stays"),
                )
            }
            await sockets["/ws/ingest", "gone"].send(encode(hello()))
            assert isinstance(decode_server(await sockets["/ws/ingest", "gone"].recv(decode=False)), Welcome)
            for token in ("gone", "looks"):
                await revoke(tmp_path, token)
            for (path, token), socket in sockets.items():
                if token == "stays":
                    await (await socket.ping())
                    continue
                told = []
                with suppress(ConnectionClosed):
                    while True:
                        told.append(await socket.recv())
                assert socket.close_code == 4401, path
                if path != "/ws/live":
                    refuse = decode_server(cast("bytes", told[-1]))
                    assert isinstance(refuse, Refuse)
                    assert (refuse.code, refuse.retry) == ("unauthorised", False)

    asyncio.run(scenario())


def test_a_revoked_token_loses_what_is_being_sent_to_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        app = create_app(settings(tmp_path, token_file=with_tokens(tmp_path)))

        async def endless() -> AsyncIterator[bytes]:
            while True:
                yield b"x"
                await asyncio.sleep(0.01)

        @app.get("/api/v1/endless")
        async def read_endless() -> StreamingResponse:
            return StreamingResponse(endless())

        async with app.router.lifespan_context(app), listening(app) as port, httpx.AsyncClient() as client:
            store = app.state.store
            await store.add_token(TokenRow("gone", "", "view", digest_of("gone"), 1))
            url = f"http://127.0.0.1:{port}/api/v1/endless"
            async with client.stream("GET", url, headers=bearer("gone")) as answer:
                assert answer.status_code == 200
                pieces = answer.aiter_bytes()
                assert await anext(pieces)
                await store.delete_token("gone")
                with pytest.raises(httpx.RemoteProtocolError):
                    async for _ in pieces:
                        pass
            assert (await client.get(url, headers=bearer("gone"))).status_code == 401

    asyncio.run(scenario())


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
