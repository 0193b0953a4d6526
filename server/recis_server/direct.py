"""uvicorn's WebSocket protocol with a way past ASGI for connections of many short messages.

Through ASGI each message takes a queue, a task's turn and a stop and start of reading, and each answer another task:
more than to understand and store it. An app that finds a `Direct` in its scope may take messages as they are read and
answer at once; whatever it leaves, and everything where another server runs the app, goes through ASGI as ever.
Owns what depends on uvicorn's insides; must not know what messages say.
"""

from collections.abc import Callable
from typing import Any, cast

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState
from websockets.frames import Frame
from websockets.http11 import Request

__all__ = ["Direct", "DirectProtocol", "direct_of"]

_EXTENSION = "recis.direct"


class DirectProtocol(WebSocketsSansIOProtocol):
    """See the module; for `uvicorn.Config(ws=…)`."""

    take: Callable[[bytes], bool] | None = None

    def handle_connect(self, event: Request) -> None:
        """An upgrade was asked for."""
        super().handle_connect(event)
        if self.response.status_code == 101:
            extensions = cast("dict[str, Any]", self.scope["extensions"])
            extensions[_EXTENSION] = Direct(self)

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
        try:
            one.conn.send_binary(data)
        except InvalidState:
            return False
        one.transport.write(b"".join(one.conn.data_to_send()))
        return True


def direct_of(scope: Any) -> Direct | None:
    """The way past ASGI of a connection's scope, None where there is none."""
    found: Direct | None = scope.get("extensions", {}).get(_EXTENSION)
    return found
