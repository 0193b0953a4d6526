"""The TCP connections of a server: how many there may be, how long one may be idle, how much may be buffered in one.

uvicorn implements HTTP and WebSocket. What it leaves unbounded is bounded here, between its protocols and the event
loop's transports:

- the data of one read is parsed for a few milliseconds, then all other connections have their turn; - nothing more is
read from a client that does not read its answers (pongs included), and one that reads nothing for   `STALLED_S` is
disconnected; - a connection without an active request is closed after `ASK_S`, the oldest one earlier when there are
too many; - a message consists of at most `MOST_FRAGMENTS` fragments.

Must not know routes or what is sent. `Connection` is in the scope of every request, see `connection_of`.
"""

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, cast

import uvicorn
from starlette.types import Scope
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.frames import Frame

__all__ = [
    "Connection",
    "Connections",
    "Frames",
    "WebSocketProtocol",
    "connection_of",
    "frames_of",
    "raise_file_limit",
]

_logger = logging.getLogger(__name__)

SLICE_BYTES = 2 << 10
"""Bytes parsed at once: some milliseconds if they are hundreds of empty frames. Doubled as long as `TURN_S` lasts."""
TURN_S = 0.002
"""How long one connection is parsed without a pause; it then pauses for the same time."""
STALLED_S = 60.0
ASK_S = 15.0
MOST_FRAGMENTS = 4096
MOST_CONNECTIONS = 16_384
SPARE_FILES = 256
"""File descriptors reserved for other purposes: the store, traces, uploads, child processes."""

_KEY = "connection"
_FRAMES_KEY = "frames"
_NO_BYTES = memoryview(b"")


def connection_of(scope: Scope) -> "Connection | None":
    """Return the connection of a request; None if another server runs the app."""
    found: Connection | None = scope.get("state", {}).get(_KEY)
    return found


def raise_file_limit() -> int:
    """Raise the limit of open files to its maximum and return how many of them connections may use."""
    try:
        import resource
    except ImportError:  # there is no such limit where this module is missing
        return MOST_CONNECTIONS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    if soft == resource.RLIM_INFINITY:
        return MOST_CONNECTIONS
    return max(SPARE_FILES, min(MOST_CONNECTIONS, soft - SPARE_FILES))


class Frames:
    """The WebSocket frames of one connection, past ASGI: written in place, without a task or a copy for each message.

    What uvicorn writes are whole frames as well, so that both may be mixed.
    """

    def __init__(self, connection: "Connection", protocol: "WebSocketProtocol") -> None:
        self._connection = connection
        self._protocol = protocol

    def is_ready(self) -> bool:
        """Return whether the client reads what is written to it."""
        return not self._connection.is_full

    def write(self, frames: bytes) -> None:
        """Send whole frames from the server; ignore them before the connection is accepted and after its end."""
        protocol = self._protocol
        if protocol.handshake_complete and not protocol.close_sent and not self._connection.is_closing():
            self._connection.write(frames)


def frames_of(scope: Scope) -> Frames:
    """Return the frames of an accepted WebSocket."""
    frames: Frames = scope["state"][_FRAMES_KEY]
    return frames


class Connections:
    """All connections of one server.

    Args:
        most: the highest number of connections. At this bound, a new one replaces the oldest without an active request;
            if all have one, the new one is refused with 503.
        ask_s: how long a connection may be without an active request.
        stalled_s: how long a client may leave its buffered answers unread.
    """

    def __init__(self, most: int = MOST_CONNECTIONS, *, ask_s: float = ASK_S, stalled_s: float = STALLED_S) -> None:
        self.ask_s = ask_s
        self.stalled_s = stalled_s
        self.ended = dict.fromkeys(("idle", "stalled", "full"), 0)
        """Connections ended or refused, by bound."""
        self._most = most
        self._open: set[Connection] = set()
        self._idle: dict[Connection, None] = {}

    def __len__(self) -> int:
        return len(self._open)

    def protocol(self) -> Callable[..., asyncio.Protocol]:
        """Return the protocol factory for `uvicorn.Config(http=…)`."""
        return partial(_HttpProtocol, connections=self)

    def enter(self, connection: "Connection") -> bool:
        """Count a connection; return False if there is no room for it."""
        if len(self._open) >= self._most:
            self.ended["full"] += 1
            oldest = next(iter(self._idle), None)
            if oldest is None:
                return False
            oldest.abort()
            self.leave(oldest)
        self._open.add(connection)
        return True

    def leave(self, connection: "Connection") -> None:
        """Forget a connection."""
        self._open.discard(connection)
        self._idle.pop(connection, None)

    def idle(self, connection: "Connection") -> None:
        """Record that a connection has no active request."""
        self._idle[connection] = None

    def busy(self, connection: "Connection") -> None:
        """Record that a connection has an active request."""
        self._idle.pop(connection, None)


class Connection(asyncio.Transport):
    """One connection: the transport that uvicorn's protocols see, wrapping that of the event loop."""

    def __init__(self, connections: Connections) -> None:
        super().__init__()
        self._connections = connections
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)  # until `open`
        self._parse: Callable[[bytes], None] = _nothing
        self._rest = _NO_BYTES
        self._is_scheduled = False
        self._is_reading = True
        self._is_wanted = True
        self._is_full = False
        self._num_requests = 0
        self._asking: asyncio.TimerHandle | None = None
        self._stalling: asyncio.TimerHandle | None = None
        self._lost = asyncio.Event()

    # --- what the protocols tell

    def open(self, transport: asyncio.BaseTransport) -> bool:
        """Adopt the event loop's transport; if there are too many connections, close it and return False."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's has no such base
        if not self._connections.enter(self):
            self.refuse("503 Service Unavailable", "unavailable", "too many connections; try again")
            return False
        self._await_request()
        return True

    def feed(self, data: bytes, parse: Callable[[bytes], None]) -> None:
        """Pass the data to `parse`, at most as much at once as other connections can wait for."""
        if self._rest:
            self._rest = memoryview(bytes(self._rest) + data)
        elif len(data) <= SLICE_BYTES:
            parse(data)
        else:
            self._parse, self._rest = parse, memoryview(data)
            self._parse_some()

    def full(self) -> None:
        """Record that the write buffer is full."""
        self._is_full = True
        self._settle()
        self._watch(self._transport.get_write_buffer_size())

    def drained(self) -> None:
        """Record that the write buffer has room again."""
        self._is_full = False
        self._settle()
        if self._stalling is not None:
            self._stalling.cancel()
            self._stalling = None
        if self._transport.is_closing():
            self._watch_rest()

    def lost(self) -> None:
        """Record that the connection is closed.

        Data that was read but not parsed is dropped: a writer closes after everything is acknowledged, or sends it
        again.
        """
        self._rest = _NO_BYTES
        self._parse = _nothing
        self._connections.leave(self)
        for timer in (self._asking, self._stalling):
            if timer is not None:
                timer.cancel()
        self._lost.set()

    @property
    def is_full(self) -> bool:
        """Return whether the write buffer is full."""
        return self._is_full

    # --- what the app tells

    @contextlib.contextmanager
    def request(self) -> Iterator[None]:
        """Mark the connection as busy while a request or a WebSocket is active."""
        # A pipelined request begins before the previous one has finished its cleanup.
        self._num_requests += 1
        if self._asking is not None:
            self._asking.cancel()
            self._asking = None
            self._connections.busy(self)
        try:
            yield
        finally:
            self._num_requests -= 1
            if not self._num_requests and not self._lost.is_set():
                self._await_request()

    def refuse(self, status: str, code: str, message: str) -> None:
        """Answer with an error in the common format and close; the app never sees the request."""
        body = json.dumps({"error": {"code": code, "message": message, "field": None}})
        head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
        self.write(f"{head}\r\nconnection: close\r\n\r\n{body}".encode())
        self.close()

    async def wait_lost(self) -> None:
        """Wait until the connection is closed."""
        await self._lost.wait()

    # --- the transport, for uvicorn

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send; ignore data written after the end."""
        if not self._lost.is_set():
            self._transport.write(data)

    def pause_reading(self) -> None:
        """Stop reading until `resume_reading`."""
        self._is_wanted = False
        self._settle()

    def resume_reading(self) -> None:
        """Resume reading once answers drain and earlier data is parsed."""
        self._is_wanted = True
        self._settle()

    def is_reading(self) -> bool:
        """Return whether the protocol wants to read."""
        return self._is_wanted

    def close(self) -> None:
        """Close after everything is sent; parse nothing more."""
        self._rest = _NO_BYTES
        self._transport.close()
        self._watch_rest()

    def abort(self) -> None:
        """Close at once."""
        self._rest = _NO_BYTES
        self._transport.abort()

    def is_closing(self) -> bool:
        """Return whether the connection is closed or closing."""
        return self._transport.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return information of the event loop about the connection."""
        return self._transport.get_extra_info(name, default)

    def get_write_buffer_size(self) -> int:
        """Return the number of buffered bytes."""
        return self._transport.get_write_buffer_size()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Replace the protocol."""
        self._transport.set_protocol(protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the protocol."""
        return self._transport.get_protocol()

    # --- inside

    def _parse_some(self) -> None:
        self._is_scheduled = False
        began = time.perf_counter()
        size = SLICE_BYTES
        while self._rest and self._may_parse():
            data, self._rest = bytes(self._rest[:size]), self._rest[size:]
            self._parse(data)
            size *= 2
            spent_s = time.perf_counter() - began
            if spent_s >= TURN_S:
                self._settle(spent_s)
                return
        self._settle()

    def _may_parse(self) -> bool:
        return self._is_wanted and not self._is_full

    def _settle(self, rest_s: float = 0.0) -> None:
        """Read, parse or pause, as all conditions allow; parse again after `rest_s`."""
        may = self._may_parse()
        if self._rest and may and not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call_later(rest_s, self._parse_some)
        wanted = may and not self._rest
        if wanted != self._is_reading and not self._lost.is_set() and not self._transport.is_closing():
            self._is_reading = wanted
            if wanted:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    def _await_request(self) -> None:
        self._connections.idle(self)
        self._asking = self._loop.call_later(self._connections.ask_s, self._end_idle)

    def _end_idle(self) -> None:
        if not self._transport.is_closing():
            self._connections.ended["idle"] += 1
            self.close()

    def _watch_rest(self) -> None:
        """Ensure that a closing connection ends even if the client does not read the remaining data."""
        if waiting := self._transport.get_write_buffer_size():
            self._watch(waiting)

    def _watch(self, waiting: int) -> None:
        if self._stalling is not None:
            self._stalling.cancel()
        self._stalling = self._loop.call_later(self._connections.stalled_s, self._check_progress, waiting)

    def _check_progress(self, waiting: int) -> None:
        now = self._transport.get_write_buffer_size()
        if 0 < now < waiting:
            self._watch(now)
        elif now:
            self._connections.ended["stalled"] += 1
            self.abort()


def _nothing(data: bytes) -> None:
    """Parse nothing."""


class _OnConnection(asyncio.Protocol):
    """Callbacks from a `Connection` to uvicorn's protocols, which follow this class in the bases of theirs."""

    _connection: Connection

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._connection.lost()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        super().pause_writing()
        self._connection.full()

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        super().resume_writing()
        self._connection.drained()


class _HttpProtocol(_OnConnection, H11Protocol):
    """uvicorn's HTTP/1.1 protocol on a `Connection`."""

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        connections: Connections,
    ) -> None:
        self._connection = Connection(connections)
        super().__init__(config, server_state, {**app_state, _KEY: self._connection}, _loop)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._connection.open(transport)
        super().connection_made(self._connection)

    def send_400_response(self, msg: str) -> None:
        """Answer a request that is not HTTP or whose head is too large."""
        self._connection.refuse(
            "400 Bad Request", "invalid", "expected an HTTP/1.1 request with a head of at most 64 KiB"
        )


class WebSocketProtocol(_OnConnection, WebSocketsSansIOProtocol):
    """uvicorn's WebSocket protocol on a `Connection`, for `uvicorn.Config(ws=…)`."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._connection = cast("Connection", transport)  # the HTTP protocol hands its own on
        self.app_state = {**self.app_state, _FRAMES_KEY: Frames(self._connection, self)}
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._connection.feed(data, super().data_received)
        if self.conn.handshake_exc is not None and not self.close_sent:
            # uvicorn does not send the library's answer to a head that is too large.
            self.close_sent = True
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.transport.close()

    def handle_cont(self, event: Frame) -> None:
        """Handle a further fragment of a message; many tiny ones take far more memory than their content."""
        if self.close_sent:
            return
        if len(self.frames) < MOST_FRAGMENTS:
            super().handle_cont(event)
        else:
            self.conn.send_close(1009, f"expected at most {MOST_FRAGMENTS} fragments per message")
            self.handle_parser_exception()
