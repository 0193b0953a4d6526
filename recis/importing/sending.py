"""Send one writer's frames to a server, from the first that it lacks, until all are acknowledged.

Owns one connection and never reconnects: a repeated import continues where this one stopped. `recis.wire.session`
decides what may be sent when.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator

import msgspec
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from recis.bridge.address import ServerAddress
from recis.bridge.sockets import SILENCE_S, open_socket, send
from recis.wire.codec import WireError, decode_server, encode
from recis.wire.messages import Frame, Hello
from recis.wire.session import ClientSession, Closed, Rejected, Welcomed

__all__ = ["SendingError", "send_frames"]


class SendingError(ConnectionError):
    """The server cannot be reached, refuses the data, or disconnects; everything that it has acknowledged is stored."""


async def send_frames(address: ServerAddress, hello: Hello, frames: Callable[[int], Iterator[Frame]]) -> int:
    """Send a writer's frames.

    Args:
        address: the server.
        hello: identity of the writer.
        frames: called with the highest number that the server has; returns the frames above it.

    Returns:
        The number of the attempt that the server has assigned to the writer.

    Raises:
        SendingError: sending failed.
    """
    try:
        async with open_socket(address, "/ws/ingest") as socket:
            return await _converse(socket, hello, frames)
    except InvalidStatus as error:
        status = error.response.status_code
        what = "a token with the scope `write`" if status in (401, 403) else "a recis-monitor server"
        raise SendingError(f"expected {what} at {address.base}, got HTTP {status}") from error
    except (OSError, TimeoutError, WebSocketException, WireError) as error:
        if isinstance(error, SendingError):
            raise
        raise SendingError(f"no connection to {address.base}: {str(error) or type(error).__name__}") from error


async def _converse(socket: ClientConnection, hello: Hello, frames: Callable[[int], Iterator[Frame]]) -> int:
    session = ClientSession()
    session.connected()
    await _send(socket, encode(msgspec.structs.replace(hello, time_ns=time.time_ns(), features=("replay",))))
    waiting: Iterator[Frame] | None = None
    ordinal = 0
    while True:
        # Acknowledgements wait in the socket meanwhile; the window bounds how many.
        while waiting is not None and session.may_send:
            frame = next(waiting, None)
            if frame is None:
                waiting = iter(())
                break
            data = encode(frame)
            session.sent(frame.n, len(data))
            await _send(socket, data)
        if waiting is not None and session.acked >= session.newest_sent:
            return ordinal
        async with asyncio.timeout(SILENCE_S):
            message = await socket.recv(decode=False)
        match session.receive(decode_server(message)):
            case Welcomed(acked=acked, attempt=attempt):
                ordinal, waiting = attempt, frames(acked)
            case Closed(code=code, message=why) | Rejected(code=code, message=why):
                how = " (RECIS_MONITOR_TOKEN, or ?token=… in the address)" if code == "unauthorised" else ""
                raise SendingError(f"the server refuses {hello.run} ({code}): {why}{how}")
            case _:
                pass


async def _send(socket: ClientConnection, data: bytes) -> None:
    # The server sent the reason before it closed the connection: read it.
    with contextlib.suppress(ConnectionClosed):
        await send(socket, data)
