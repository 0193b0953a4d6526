import asyncio
import itertools
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import uvicorn
from hypothesis import given
from hypothesis import strategies as st
from recis_server.direct import Direct, DirectProtocol, direct_of
from starlette.types import Receive, Scope
from starlette.types import Send as Sender
from uvicorn.server import ServerState
from websockets.asyncio.client import ClientConnection, connect
from websockets.frames import Frame, Opcode

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


class Wire(asyncio.Transport):
    """The far side of a protocol that is driven by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False

    def get_extra_info(self, name: str, default: object = None) -> object:
        return default

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


@asynccontextmanager
async def driven(seen: list[bytes]) -> AsyncIterator[tuple[DirectProtocol, Wire]]:
    """A protocol after the upgrade whose messages, whichever way they go, end up in `seen`.

    Those that begin with "slow" are left to ASGI.
    """
    ready = asyncio.Event()

    def take(data: bytes) -> bool:
        if data.startswith(b"slow"):
            return False
        seen.append(data)
        return True

    async def app(scope: Scope, receive: Receive, send: Sender) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        direct = direct_of(scope)
        assert direct is not None
        direct.divert(take)
        ready.set()
        while (data := await leftover(receive)) is not None:
            seen.append(data)

    config = uvicorn.Config(app, lifespan="off", log_level="warning", ws_per_message_deflate=False)
    config.load()
    protocol, wire = DirectProtocol(config, ServerState(), {}), Wire()
    protocol.connection_made(wire)
    protocol.data_received(
        b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    await ready.wait()
    try:
        yield protocol, wire
    finally:
        protocol.connection_lost(None)
        await asyncio.gather(*protocol.tasks)


def as_sent(opcode: Opcode, data: bytes, *, fin: bool = True, masked: bool = True) -> bytes:
    """A client's frame; not `masked`: by zeros, so that the data are on the wire as they are."""
    frame = Frame(opcode, data, fin=fin).serialize(mask=True)
    return frame if masked else frame[: len(frame) - len(data) - 4] + bytes(4) + data


payloads = st.one_of(
    st.binary(max_size=200),
    st.binary(max_size=20).map(lambda data: b"slow" + data),
    # What looks like a message of its own where a reader has lost its place.
    st.binary(max_size=60).map(lambda data: as_sent(Opcode.BINARY, data)),
    st.integers(120, 130).map(bytes),
    st.integers(65_530, 65_540).map(bytes),
)


def in_frames(payload: bytes, way: str, *, masked: bool) -> list[bytes]:
    whole = as_sent(Opcode.BINARY, payload, masked=masked)
    if way == "whole":
        return [whole]
    if way == "ping":
        return [as_sent(Opcode.PING, payload[:125], masked=masked), whole]
    half = len(payload) // 2
    first = as_sent(Opcode.BINARY, payload[:half], fin=False, masked=masked)
    return [first, as_sent(Opcode.PING, b"", masked=masked), as_sent(Opcode.CONT, payload[half:], masked=masked)]


@given(st.lists(st.tuples(payloads, st.sampled_from(["whole", "parts", "ping"]), st.booleans()), max_size=6), st.data())
def test_messages_come_whole_and_in_order_however_the_bytes_are_cut(
    messages: list[tuple[bytes, str, bool]], data: st.DataObject
) -> None:
    stream, edges = b"", {0}
    for payload, way, masked in messages:
        for frame in in_frames(payload, way, masked=masked):
            size = frame[1] & 0x7F
            # Where a frame's data begin it looks most like the place before a frame.
            edges |= {len(stream), len(stream) + (14 if size == 127 else 8 if size == 126 else 6)}
            stream += frame
    cuts = edges if data.draw(st.booleans()) else data.draw(st.sets(st.integers(0, len(stream)), max_size=20))
    places = sorted({0, len(stream), *cuts})

    async def scenario() -> list[bytes]:
        seen: list[bytes] = []
        async with driven(seen) as (protocol, wire):
            for begin, end in itertools.pairwise(places):
                protocol.data_received(stream[begin:end])
                if data.draw(st.booleans()):
                    await asyncio.sleep(0)
            await until(lambda: wire.closed or protocol.queue.empty())
            assert not wire.closed
        return seen

    assert asyncio.run(scenario()) == [payload for payload, *_ in messages]


def test_a_whole_message_in_one_piece_does_not_need_the_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        seen: list[bytes] = []
        async with driven(seen) as (protocol, _):
            parsed: list[bytes] = []
            monkeypatch.setattr(protocol.conn, "receive_data", parsed.append)
            for size in (0, 125, 126, 65_535, 65_536):
                protocol.data_received(as_sent(Opcode.BINARY, bytes(size)))
            assert [len(data) for data in seen] == [0, 125, 126, 65_535, 65_536]
            assert parsed == []
            # Without a mask, more than one, text: all not for us to judge.
            strange = [
                Frame(Opcode.BINARY, b"bare").serialize(mask=False),
                as_sent(Opcode.BINARY, b"one") + as_sent(Opcode.BINARY, b"two"),
                as_sent(Opcode.TEXT, b"text"),
                as_sent(Opcode.BINARY, b"part", fin=False),
                b"\x82",
            ]
            for piece in strange:
                protocol.data_received(piece)
            assert parsed == strange

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "wrong",
    [
        [Frame(Opcode.BINARY, b"not masked").serialize(mask=False)],
        [as_sent(Opcode.BINARY, b"a part", fin=False), as_sent(Opcode.BINARY, b"whole")],
        [as_sent(Opcode.CONT, b"nothing before")],
        [as_sent(Opcode.CLOSE, b"\x03\xe8")],
    ],
)
def test_nothing_is_taken_after_the_end_or_a_break_of_the_protocol(wrong: list[bytes]) -> None:
    async def scenario() -> None:
        seen: list[bytes] = []
        async with driven(seen) as (protocol, wire):
            for piece in (as_sent(Opcode.BINARY, b"first"), *wrong):
                protocol.data_received(piece)
            await until(protocol.queue.empty)
            protocol.data_received(as_sent(Opcode.BINARY, b"late"))
            assert (seen, wire.closed) == ([b"first"], True)

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
