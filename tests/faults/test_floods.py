"""A client that floods the server and never reads costs it little memory, and does not delay other clients."""

import base64
import os
import socket
import statistics
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest
from recis_server.connections import raise_file_limit

from recis.wire.codec import encode
from recis.wire.messages import Frame, Hello
from tests.server.httpserver import Process, serve

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

TEXT, BINARY, CONTINUED, PING, PONG = 1, 2, 0, 9, 10
MOST_BYTES = 48 << 20
"""What the server may grow by: one message of the largest size, read and waiting to be understood, and some room."""
TIMES = 50
"""How much longer than before a request of another client may take in the middle; it used to be thousands of times."""
REQUESTS = 30


def ws_frame(opcode: int, payload: bytes = b"", *, fin: bool = True) -> bytes:
    """A client's frame, masked with zeros."""
    size, first = len(payload), opcode | (0x80 if fin else 0)
    if size < 126:
        return bytes((first, 0x80 | size)) + bytes(4) + payload
    if size < 1 << 16:
        return struct.pack("!BBH", first, 0xFE, size) + bytes(4) + payload
    return struct.pack("!BBQ", first, 0xFF, size) + bytes(4) + payload


HELLO = ws_frame(BINARY, encode(Hello(run="flood", writer="flood", attempt="a")))
FOLLOW = b'{"type":"follow","run":"flood"}'
FLOODS: dict[str, tuple[str, bytes, bytes]] = {
    "bad requests": ("/ws/live", b"", ws_frame(TEXT, b'{"type":"nonsense"}') * 2000),
    "empty requests": ("/ws/live", b"", ws_frame(TEXT) * 4000),
    "giant requests": ("/ws/live", b"", ws_frame(TEXT, b"x" * (4 << 20))),
    "follows": ("/ws/live", b"", (ws_frame(TEXT, FOLLOW) + ws_frame(TEXT, FOLLOW.replace(b"f", b"unf", 1))) * 1000),
    "pings": ("/ws/live", b"", ws_frame(PING, b"x" * 125) * 1000),
    "empty pings": ("/ws/trace", b"", ws_frame(PING) * 4000),
    "pongs": ("/ws/ingest", b"", ws_frame(PONG) * 4000),
    "frames again": ("/ws/ingest", HELLO, ws_frame(BINARY, encode(Frame(n=1, records=()))) * 2000),
    "fragments": ("/ws/ingest", ws_frame(BINARY, b"x", fin=False), ws_frame(CONTINUED, fin=False) * 4000),
}


class Flood:
    """A connection that repeats the same data as fast as it can, and reads nothing."""

    def __init__(self, port: int, path: str, first: bytes, data: bytes) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        key = base64.b64encode(os.urandom(16)).decode()
        self._socket.sendall(
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += self._socket.recv(1)
        assert b" 101 " in answer
        self._socket.sendall(first)
        self._data = data
        self._is_over = False
        self._thread = threading.Thread(target=self._run, name="flood")

    def _run(self) -> None:
        self._socket.settimeout(0.1)
        sent = 0
        while not self._is_over:
            try:
                sent += self._socket.send(memoryview(self._data)[sent % len(self._data) :])
            except TimeoutError:
                continue
            except OSError:
                return  # the server has closed the connection

    def __enter__(self) -> "Flood":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._is_over = True
        self._thread.join()
        self._socket.close()


@contextmanager
def started(folder: Path) -> Iterator[tuple[Process, int]]:
    with serve(folder / "data") as server:
        yield server, int(server.url.rpartition(":")[2])


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def answered_s(url: str) -> float:
    """Return the median time of requests, each on its own connection, as from many clients."""
    took = []
    for _ in range(REQUESTS):
        began = time.perf_counter()
        with urlopen(f"{url}/healthz", timeout=60) as answer:
            assert answer.status == 200
        took.append(time.perf_counter() - began)
    return statistics.median(took)


@pytest.mark.alone
def test_a_flood_costs_neither_memory_nor_the_others(tmp_path: Path) -> None:
    with started(tmp_path) as (server, port):
        before_s = answered_s(server.url)
        for name, (path, first, data) in FLOODS.items():
            before = resident_bytes(server.child.pid)
            with Flood(port, path, first, data):
                took_s = answered_s(server.url)
                grown = resident_bytes(server.child.pid) - before
            assert grown < MOST_BYTES, f"{name}: {grown >> 20} MiB"
            assert took_s < TIMES * before_s, f"{name}: {took_s * 1e3:.0f} ms, before {before_s * 1e3:.0f} ms"
    assert "ERROR" not in (tmp_path / "data.log").read_text()


@pytest.mark.alone
def test_connections_that_never_ask_are_no_hindrance(tmp_path: Path) -> None:
    raise_file_limit()
    with started(tmp_path) as (server, port), ExitStack() as stack:
        before_s = answered_s(server.url)
        before = resident_bytes(server.child.pid)
        for number in range(2000):
            one = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
            one.sendall(b"GET /heal"[: number % 10])
        took_s = answered_s(server.url)
        assert resident_bytes(server.child.pid) - before < 2 * MOST_BYTES
        assert took_s < TIMES * before_s
