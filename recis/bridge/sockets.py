"""How a socket to the server is opened, and how long it may be silent before it counts as broken.

Owns the limits in time of one connection; must not know what is sent or what to do when it fails.
"""

import asyncio

from websockets.asyncio.client import ClientConnection, connect

from recis.bridge.address import ServerAddress
from recis.wire.messages import MAX_FRAME_BYTES

__all__ = ["open_socket", "send"]

CONNECT_S = 10.0
CLOSE_S = 1.0
PING_S = 20.0
SILENCE_S = 60.0
"""How long a pong, or room for what is to be sent, may be awaited. A frame and the kernel's buffers pass in this time
on any line of 100 kB/s; a connection that is only half there is given up after `PING_S` + `SILENCE_S`."""


def open_socket(address: ServerAddress, path: str) -> connect:
    """The connection to `path`, to be awaited or entered."""
    return connect(
        address.socket(path),
        additional_headers=address.headers,
        compression=None,
        max_size=MAX_FRAME_BYTES,
        open_timeout=CONNECT_S,
        close_timeout=CLOSE_S,
        ping_interval=PING_S,
        ping_timeout=SILENCE_S,
        proxy=None if address.is_loopback else True,
    )


async def send(socket: ClientConnection, data: bytes) -> None:
    """Sends one message; a connection that takes nothing is broken off.

    Raises:
        TimeoutError: nothing left for `SILENCE_S`; pings would not have noticed, they wait behind the message.
        ConnectionClosed: the connection is gone.
    """
    try:
        async with asyncio.timeout(SILENCE_S):
            await socket.send(data)
    except (TimeoutError, asyncio.CancelledError):
        # A closing handshake would wait for ever behind what does not leave.
        socket.transport.abort()
        raise
