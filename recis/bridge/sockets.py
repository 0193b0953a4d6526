"""Open a socket to the server, and limit how long it may be silent before it counts as broken.

Owns the time limits of one connection; must not know what is sent or what to do when it fails.
"""

import asyncio
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from recis.bridge.address import ServerAddress
from recis.bridge.trust import tls_context
from recis.wire.messages import MAX_FRAME_BYTES

__all__ = ["open_socket", "send"]

CONNECT_S = 10.0
CLOSE_S = 1.0
PING_S = 20.0
SILENCE_S = 60.0
"""Longest wait for a pong, or for room to send. In this time a frame and the kernel's buffers are sent at 100 kB/s. A
half-open connection is given up after `PING_S` + `SILENCE_S`.
"""


def open_socket(address: ServerAddress, path: str) -> connect:
    """Return a connection to `path`, to be awaited or used as a context manager.

    Raises:
        ConnectionError: see `tls_context`.
    """
    context = tls_context(address)
    security: dict[str, Any] = {} if context is None else {"ssl": context}  # an ssl of None is refused for wss
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
        **security,
    )


async def send(socket: ClientConnection, data: bytes) -> None:
    """Send one message; abort a connection that accepts no data.

    Raises:
        TimeoutError: nothing was sent for `SILENCE_S`. Pings do not notice that: they wait behind the message.
        ConnectionClosed: the connection is gone.
    """
    try:
        async with asyncio.timeout(SILENCE_S):
            await socket.send(data)
    except (TimeoutError, asyncio.CancelledError):
        # A closing handshake would wait forever behind data that cannot be sent.
        socket.transport.abort()
        raise
