"""Baseline of `benchmarks.fanout`: a WebSocket server that sends the same bytes to every connection.

    python -m benchmarks.bare_broadcast SIZE RATE    # listens on 127.0.0.1, prints the port, runs until terminated

It measures the cost of the kernel and the event loop: one message of SIZE bytes, created once, is written to each
connection RATE times a second, and no data of clients is read.
"""

import asyncio
import os
import sys
from typing import cast

import uvloop
from websockets.frames import Frame, Opcode

from benchmarks.bare_server import BareServer, upgrade_answer

__all__ = ["BareBroadcast"]


class BareBroadcast(BareServer):
    """The server process.

    Args:
        size: bytes of a message.
        rate: messages a second to each connection.
        core: the only core it may use, or None for any.
    """

    def __init__(self, size: int, rate: float, *, core: int | None = None) -> None:
        super().__init__(__name__, str(size), str(rate), core=core)


class _Connection(asyncio.Protocol):
    """Answers the upgrade, then joins the open connections."""

    def __init__(self, connections: set[asyncio.Transport]) -> None:
        self._connections = connections
        self._transport: asyncio.Transport | None = None
        self._is_upgraded = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's has no such base

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        if not self._is_upgraded:
            self._is_upgraded = True
            self._transport.write(upgrade_answer(data))
            self._connections.add(self._transport)

    def connection_lost(self, exc: Exception | None) -> None:
        assert self._transport is not None
        self._connections.discard(self._transport)


async def _serve(size: int, rate: float) -> None:
    connections: set[asyncio.Transport] = set()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(connections), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    message = Frame(Opcode.BINARY, os.urandom(size)).serialize(mask=False)
    due_s = loop.time()
    while True:
        for transport in connections:
            transport.write(message)
        due_s = max(due_s + 1 / rate, loop.time())
        await asyncio.sleep(due_s - loop.time())


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]), float(sys.argv[2])))
