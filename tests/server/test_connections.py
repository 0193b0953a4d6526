import asyncio
import contextlib
import itertools
import json
import select
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
import uvicorn
from hypothesis import given
from hypothesis import strategies as st
from recis_server.connections import (
    MOST_FRAGMENTS,
    Connection,
    Connections,
    WebSocketProtocol,
    connection_of,
    raise_file_limit,
)
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedError
from websockets.frames import Frame, Opcode

from tests.server.realserver import listening, until

UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
NOT_BLOCKED = 64 << 20
"""What a client could send to a server that goes on reading; sockets hold a few megabytes."""


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer HTTP immediately, and receive WebSocket messages until the end."""
    connection = connection_of(scope)
    assert connection is not None
    with connection.request():
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            while (await receive())["type"] != "websocket.disconnect":
                pass
            return
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(60):
            await scenario()

    asyncio.run(limited())


def opened(port: int, data: bytes = b"") -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port))
    sock.sendall(data)
    return sock


async def is_ended(sock: socket.socket) -> bytes:
    """Read until the server ends the connection."""

    def read() -> bytes:
        sock.settimeout(30)
        data = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := sock.recv(65_536):
                data += piece
        return data

    return await asyncio.to_thread(read)


def sent_until_stuck(sock: socket.socket, data: bytes) -> int:
    """Return how many bytes can be sent after the upgrade if the server's answers are not read."""
    sock.settimeout(30)
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        answer += sock.recv(1)
    sock.setblocking(False)
    sent = 0
    while sent < NOT_BLOCKED and select.select([], [sock], [], 1.0)[1]:
        sent += sock.send(data[sent % len(data) :])
    return sent


def as_sent(opcode: Opcode, data: bytes, *, fin: bool = True) -> bytes:
    """Return a client's frame."""
    return Frame(opcode, data, fin=fin).serialize(mask=True)


@pytest.mark.slow
@pytest.mark.parametrize("opcode", [Opcode.PING, Opcode.TEXT])
def test_a_client_that_does_not_read_its_answers_is_not_read(opcode: Opcode) -> None:
    async def echo(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"]})

    async def scenario() -> None:
        async with listening(echo, Connections()) as port:
            with opened(port, UPGRADE) as sock:
                sent = await asyncio.to_thread(sent_until_stuck, sock, as_sent(opcode, b"x" * 125) * 500)
                assert sent < NOT_BLOCKED

    run(scenario)


def test_a_client_that_takes_nothing_is_cut() -> None:
    lost = asyncio.Event()

    async def endless(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        connection = connection_of(scope)
        assert connection is not None
        while not connection.is_closing():
            await send({"type": "http.response.body", "body": bytes(65_536), "more_body": True})
        lost.set()

    async def scenario() -> None:
        connections = Connections(stalled_s=0.2)
        async with listening(endless, connections) as port:
            with opened(port, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"):
                await lost.wait()
                await until(lambda: len(connections) == 0)
        assert connections.ended == {"idle": 0, "stalled": 1, "full": 0}

    run(scenario)


def test_an_answer_that_nobody_takes_ends_with_its_connection() -> None:
    async def large(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"connection", b"close")]})
        await send({"type": "http.response.body", "body": bytes(64 << 20)})

    async def scenario() -> None:
        connections = Connections(stalled_s=0.2)
        async with listening(large, connections) as port:
            with opened(port, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"):
                await until(lambda: connections.ended["stalled"] == 1)
                await until(lambda: len(connections) == 0)

    run(scenario)


@pytest.mark.parametrize(
    "data",
    [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: h\r\n\r\nGET /", UPGRADE[:-2]],
    ids=["none", "some", "next", "ws"],
)
def test_a_connection_that_asks_for_nothing_is_closed(data: bytes) -> None:
    async def scenario() -> None:
        connections = Connections(ask_s=0.2)
        async with listening(answer, connections) as port:
            with opened(port, data) as sock:
                await is_ended(sock)
            assert len(connections) == 0
            assert connections.ended == {"idle": 1, "stalled": 0, "full": 0}

    run(scenario)


def test_one_with_a_request_under_way_stays() -> None:
    async def scenario() -> None:
        connections = Connections(ask_s=0.2)
        slow = asyncio.Event()

        async def wait(scope: Scope, receive: Receive, send: Send) -> None:
            connection = connection_of(scope)
            assert connection is not None
            with connection.request():
                await slow.wait()
                await answer(scope, receive, send)

        async with listening(wait, connections) as port:
            with opened(port, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n") as sock, opened(port) as idle:
                await is_ended(idle)
                assert len(connections) == 1
                slow.set()
                assert b"ok" in await is_ended(sock)

    run(scenario)


def test_the_oldest_idle_connection_gives_way_and_busy_ones_do_not() -> None:
    async def scenario() -> None:
        connections = Connections(2)
        async with listening(answer, connections) as port, connect(f"ws://127.0.0.1:{port}/") as live:
            with opened(port) as idle, opened(port, b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n") as sock:
                assert await is_ended(idle) == b""
                assert (await is_ended(sock)).endswith(b"ok")
            await until(lambda: len(connections) == 1)
            async with connect(f"ws://127.0.0.1:{port}/"):
                with opened(port) as refused:
                    head, _, body = (await is_ended(refused)).partition(b"\r\n\r\n")
                assert b" 503 " in head
                assert json.loads(body)["error"]["code"] == "unavailable"
            await live.ping()

    run(scenario)


def test_what_is_not_http_is_answered_in_the_shape_of_all_errors() -> None:
    async def scenario() -> None:
        async with listening(answer, Connections()) as port:
            for data in (b"\x16\x03\x01\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"GET /" + b"x" * 100_000):
                with opened(port, data) as sock:
                    head, _, body = (await is_ended(sock)).partition(b"\r\n\r\n")
                assert b" 400 " in head
                assert set(json.loads(body)["error"]) == {"code", "message", "field"}
            with opened(port, UPGRADE[:-2] + b"X: " + b"x" * 10_000 + b"\r\n\r\n") as sock:
                assert b" 431 " in await is_ended(sock)

    run(scenario)


def test_a_message_in_too_many_fragments_ends_its_connection() -> None:
    async def scenario() -> None:
        async with (
            listening(answer, Connections()) as port,
            connect(f"ws://127.0.0.1:{port}/", compression=None) as client,
        ):
            await client.send([b"x"] * (MOST_FRAGMENTS - 1))
            await (await client.ping())
            with contextlib.suppress(ConnectionClosedError):
                await client.send([b""] * (MOST_FRAGMENTS + 2))
            await client.wait_closed()
            assert client.close_code == 1009

    run(scenario)


class Wire(asyncio.Transport):
    """The event loop's side of a connection that is driven by the test."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False
        self.paused = False

    def get_extra_info(self, name: str, default: object = None) -> object:
        return default

    def get_write_buffer_size(self) -> int:
        return 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def pause_reading(self) -> None:
        assert not self.paused
        self.paused = True

    def resume_reading(self) -> None:
        assert self.paused
        self.paused = False


def wired() -> tuple[Connection, Wire]:
    connection, wire = Connection(Connections()), Wire()
    connection.open(wire)
    return connection, wire


def test_others_have_their_turn_while_much_is_parsed() -> None:
    async def scenario() -> None:
        connection, wire = wired()
        pieces: list[bytes] = []

        def parse(data: bytes) -> None:
            pieces.append(data)
            until_s = time.perf_counter() + 0.003
            while time.perf_counter() < until_s:
                pass

        data = bytes(range(256)) * 1024
        connection.feed(data, parse)
        assert len(pieces) == 1
        assert wire.paused
        await until(lambda: not wire.paused)
        assert b"".join(pieces) == data

    run(scenario)


def test_nothing_is_parsed_while_answers_wait_or_the_app_has_enough() -> None:
    async def scenario() -> None:
        connection, wire = wired()
        pieces: list[bytes] = []

        def parse(data: bytes) -> None:
            pieces.append(data)
            connection.pause_reading()

        connection.feed(bytes(10_000), parse)
        for number in range(1, 4):
            for _ in range(3):
                await asyncio.sleep(0)
            assert (len(pieces), wire.paused) == (number, True)
            connection.full()
            connection.resume_reading()
            for _ in range(3):
                await asyncio.sleep(0)
            assert len(pieces) == number
            connection.drained()
        connection.lost()
        connection.resume_reading()
        await asyncio.sleep(0)
        assert len(pieces) == 3

    run(scenario)


@asynccontextmanager
async def driven(seen: list[bytes]) -> AsyncIterator[tuple[WebSocketProtocol, Wire]]:
    """Return a protocol after the upgrade, whose messages are appended to `seen`."""
    ready = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        ready.set()
        while (message := await receive())["type"] == "websocket.receive":
            seen.append(message["bytes"])

    config = uvicorn.Config(cast("Any", app), lifespan="off", log_level="warning", ws_per_message_deflate=False)
    config.load()
    connection, wire = wired()
    protocol = WebSocketProtocol(config, ServerState(), {})
    protocol.connection_made(connection)
    protocol.data_received(UPGRADE)
    await ready.wait()
    try:
        yield protocol, wire
    finally:
        protocol.connection_lost(None)
        await asyncio.gather(*protocol.tasks)


def in_frames(payload: bytes, way: str) -> list[bytes]:
    if way == "whole":
        return [as_sent(Opcode.BINARY, payload)]
    if way == "ping":
        return [as_sent(Opcode.PING, payload[:125]), as_sent(Opcode.BINARY, payload)]
    half = len(payload) // 2
    first = as_sent(Opcode.BINARY, payload[:half], fin=False)
    return [first, as_sent(Opcode.PING, b""), as_sent(Opcode.CONT, payload[half:])]


@given(
    st.lists(
        st.tuples(
            st.one_of(st.binary(max_size=200), st.integers(65_530, 65_540).map(bytes)),
            st.sampled_from(["whole", "parts", "ping"]),
        ),
        max_size=6,
    ),
    st.data(),
)
def test_messages_come_whole_and_in_order_however_the_bytes_are_cut(
    messages: list[tuple[bytes, str]], data: st.DataObject
) -> None:
    stream = b"".join(frame for payload, way in messages for frame in in_frames(payload, way))
    cuts = data.draw(st.sets(st.integers(0, len(stream)), max_size=20))

    async def scenario() -> list[bytes]:
        seen: list[bytes] = []
        async with driven(seen) as (protocol, wire):
            for begin, end in itertools.pairwise(sorted({0, len(stream), *cuts})):
                await until(lambda: not wire.paused)
                protocol.data_received(stream[begin:end])
            await until(lambda: not wire.paused)
            assert not wire.closed
        return seen

    assert asyncio.run(scenario()) == [payload for payload, _ in messages]


def test_the_process_may_open_as_many_files_as_it_is_allowed() -> None:
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(1024, before[1]), before[1]))
        assert 256 <= raise_file_limit() <= before[1]
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == before[1]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
