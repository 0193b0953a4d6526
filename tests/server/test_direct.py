import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import uvicorn
from recis_server.direct import Direct, DirectProtocol, direct_of
from starlette.types import Receive, Scope
from starlette.types import Send as Sender
from websockets.asyncio.client import ClientConnection, connect

from tests.server.realserver import until

Talk = Callable[[Direct, Receive, Sender], Awaitable[None]]


@asynccontextmanager
async def talking(talk: Talk) -> AsyncIterator[ClientConnection]:
    """A client of an app whose connections are `talk`, after the upgrade."""

    async def app(scope: Scope, receive: Receive, send: Sender) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        direct = direct_of(scope)
        assert direct is not None
        await talk(direct, receive, send)

    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, ws=DirectProtocol, lifespan="off", log_level="warning", ws_per_message_deflate=False)
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    await until(lambda: server.started)
    try:
        url = f"ws://127.0.0.1:{listener.getsockname()[1]}/"
        async with connect(url, compression=None, max_size=None, close_timeout=1.0) as client:
            yield client
    finally:
        server.should_exit = True
        await task
        listener.close()


async def leftover(receive: Receive) -> bytes | None:
    """The next message that ASGI gives, None at the end of the connection."""
    message = await receive()
    return message.get("bytes") if message["type"] == "websocket.receive" else None


def test_messages_are_taken_in_order_and_what_is_left_goes_through_asgi() -> None:
    async def scenario() -> None:
        seen: list[tuple[str, bytes]] = []

        def take(data: bytes) -> bool:
            if data.startswith(b"slow"):
                return False
            seen.append(("direct", data))
            return True

        async def talk(direct: Direct, receive: Receive, send: Sender) -> None:
            direct.divert(take)
            while (data := await leftover(receive)) is not None:
                seen.append(("asgi", data))

        async with talking(talk) as client:
            for data in (b"1", b"slow 2", b"3", b"slow 4", b"5"):
                await client.send(data)
            # In fragments: they are put together on the usual way.
            await client.send([b"6 ", b"in ", b"parts"])
            await until(lambda: len(seen) == 6)
        assert [data for _, data in seen] == [b"1", b"slow 2", b"3", b"slow 4", b"5", b"6 in parts"]
        ways = {data: way for way, data in seen}
        assert (ways[b"1"], ways[b"slow 2"], ways[b"6 in parts"]) == ("direct", "asgi", "asgi")

    asyncio.run(scenario())


def test_an_answer_is_sent_at_once_while_there_is_room() -> None:
    async def scenario() -> None:
        full = asyncio.Event()
        over: list[bool] = []

        async def talk(direct: Direct, receive: Receive, send: Sender) -> None:
            assert direct.send(b"first")
            # The client does not read on: sooner or later no more fits, and nothing is kept for later.
            while direct.send(bytes(100_000)):
                pass
            full.set()
            await send({"type": "websocket.send", "bytes": b"last"})
            await send({"type": "websocket.close", "code": 1000})
            over.append(direct.send(b"too late"))

        async with talking(talk) as client:
            assert await client.recv() == b"first"
            await full.wait()
            data = await client.recv()
            while data != b"last":
                assert data == bytes(100_000)
                data = await client.recv()
            await until(lambda: over)
        assert over == [False]

    asyncio.run(scenario())


@pytest.mark.parametrize("scope", [{}, {"extensions": {}}])
def test_another_server_has_no_way_past_asgi(scope: Scope) -> None:
    assert direct_of(scope) is None
