"""uvicorn's WebSocket protocol with a way past ASGI for connections of many short messages.

Through ASGI each message takes a queue, a task's turn and a stop and start of reading, and each answer another task:
more than to understand and store it. An app that finds a `Direct` in its scope may take messages as they are read and
answer at once; whatever it leaves, and everything where another server runs the app, goes through ASGI as ever.
A short message mostly comes alone and whole, and even the library's parser takes longer than to store it: such a one is
read here. Anything else, and whatever breaks the protocol, is the parser's.
Owns what depends on uvicorn's and the parser's insides; must not know what messages say.
"""

from collections.abc import Callable
from typing import Any, cast

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState
from websockets.frames import Frame
from websockets.http11 import Request
from websockets.protocol import State
from websockets.streams import StreamReader

try:
    from websockets.speedups import apply_mask
except ImportError:  # where the library was built without C
    from websockets.utils import apply_mask

__all__ = ["Direct", "DirectProtocol", "direct_of"]

_EXTENSION = "recis.direct"

_AT_REST = StreamReader.at_eof.__code__
"""Where the parser is while it has nothing in hand."""

# RFC 6455, section 5.2.
_WHOLE_BINARY = 0x82
_MASKED = 0x80
_SHORT = 125
_SIZE_OF_2_BYTES = 126
_SIZE_OF_8_BYTES = 127
_MASK_BYTES = 4
_LEAST = 2 + _MASK_BYTES


class DirectProtocol(WebSocketsSansIOProtocol):
    """See the module; for `uvicorn.Config(ws=…)`."""

    take: Callable[[bytes], bool] | None = None
    _is_resting = False

    def handle_connect(self, event: Request) -> None:
        """An upgrade was asked for."""
        super().handle_connect(event)
        if self.response.status_code == 101:
            extensions = cast("dict[str, Any]", self.scope["extensions"])
            extensions[_EXTENSION] = Direct(self)

    def data_received(self, data: bytes) -> None:
        """Something was read from the connection."""
        take = self.take
        # To ask the parser and the queue takes as long as to read a message, so only after they were given something.
        if take is not None and (self._is_resting or (self.queue.empty() and self._is_between_messages())):
            message = _only_message(data)
            if message is not None and not self.close_sent and take(message):
                self._is_resting = True
                return
        self._is_resting = False
        super().data_received(data)

    def handle_bytes(self, event: Frame) -> None:
        """A binary message or its beginning was read."""
        # In order: what waits for the app's task was sent before.
        if (
            self.take is None
            or not event.fin
            or self.close_sent
            or not self.queue.empty()
            or not self.take(bytes(event.data))
        ):
            super().handle_bytes(event)

    def _is_between_messages(self) -> bool:
        """Whether the next byte begins a message: the parser waits for one, not for the rest of something.

        False where the parser is not the one that this was written for.
        """
        conn = self.conn
        if conn.state is not State.OPEN or getattr(conn, "current_size", 0) is not None or conn.extensions:
            return False
        waits: Any = conn.parser
        while (inner := getattr(waits, "gi_yieldfrom", None)) is not None:
            waits = inner
        return getattr(waits, "gi_code", None) is _AT_REST


class Direct:
    """One connection, used by its app on the event loop."""

    def __init__(self, protocol: DirectProtocol) -> None:
        self._protocol = protocol

    def divert(self, take: Callable[[bytes], bool]) -> None:
        """From now on binary messages are given to `take` when no earlier one waits in ASGI.

        What it returns False for goes the usual way. It must not raise.
        """
        self._protocol.take = take

    def send(self, data: bytes) -> bool:
        """Sends a binary message now; False, and nothing is sent, when the connection has no room or is ending."""
        one = self._protocol
        if one.close_sent or not one.handshake_complete or not one.writable.is_set() or one.transport.is_closing():
            return False
        if len(data) <= _SHORT and one.conn.state is State.OPEN and not one.conn.extensions:
            one.transport.write(bytes((_WHOLE_BINARY, len(data))) + data)
            return True
        try:
            one.conn.send_binary(data)
        except InvalidState:
            return False
        one.transport.write(b"".join(one.conn.data_to_send()))
        return True


def _only_message(data: bytes) -> bytes | None:
    """What a client's binary message says, if `data` is all of it and nothing else."""
    if len(data) < _LEAST or data[0] != _WHOLE_BINARY:
        return None
    size, begin = data[1] - _MASKED, 2
    if size == _SIZE_OF_2_BYTES:
        begin = 4
        size = data[2] << 8 | data[3]
    elif size == _SIZE_OF_8_BYTES:
        begin = 10
        size = int.from_bytes(data[2:begin])
    mask_end = begin + _MASK_BYTES
    if len(data) - mask_end != size:
        return None
    return bytes(apply_mask(data[mask_end:], data[begin:mask_end]))


def direct_of(scope: Any) -> Direct | None:
    """The way past ASGI of a connection's scope, None where there is none."""
    found: Direct | None = scope.get("extensions", {}).get(_EXTENSION)
    return found
