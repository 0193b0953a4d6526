"""Baseline of `benchmarks.ingest`: a WebSocket server that only acknowledges messages.

    python -m benchmarks.bare_server    # listens on 127.0.0.1, prints the port, runs until terminated

It measures the cost of the kernel and the event loop: no message is unmasked, parsed or stored. Each is acknowledged by
its position in the connection, so messages must be small, unfragmented and spaced in time.
"""

import asyncio
import os
import subprocess
import sys
from types import TracebackType
from typing import Self, cast

import uvloop
from websockets.utils import accept_key

from benchmarks.measuring import ROOT, cpu_s_of
from recis.wire.codec import encode
from recis.wire.messages import Ack, ServerRecord, Welcome

__all__ = ["BareServer", "upgrade_answer"]


class BareServer:
    """The server process.

    Args:
        module: another module that prints its port.
        arguments: its command line.
        core: the only core it may use, or None for any.
    """

    def __init__(self, module: str = __name__, *arguments: str, core: int | None = None) -> None:
        command = [sys.executable, "-m", module, *arguments]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
        if core is not None:
            os.sched_setaffinity(self._process.pid, {core})
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def cpu_s(self) -> float:
        """Return CPU seconds used so far, in user and kernel mode."""
        return cpu_s_of(self._process.pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._process:
            self._process.kill()


class _Connection(asyncio.Protocol):
    """Answers the upgrade, the greeting, then every chunk received."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._num_pieces = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's has no such base

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        place, self._num_pieces = self._num_pieces, self._num_pieces + 1
        if place == 0:
            self._transport.write(upgrade_answer(data))
        elif place == 1:
            self._transport.write(_frame(Welcome(acked=0, attempt=1, window_bytes=8 << 20)))
        else:
            self._transport.write(_frame(Ack(place - 1)))


def upgrade_answer(request: bytes) -> bytes:
    """Return the answer to an upgrade request that is known to be valid."""
    key = request.partition(b"Sec-WebSocket-Key: ")[2].partition(b"\r\n")[0].decode()
    head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    return f"{head}Sec-WebSocket-Accept: {accept_key(key)}\r\n\r\n".encode()


def _frame(record: ServerRecord) -> bytes:
    payload = encode(record)
    return bytes((0x82, len(payload))) + payload


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(_Connection, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve())
