"""The training side of a connection, without the connection: records in, events out.

Owns what may be sent when (greeting, numbers, window) and what an answer means; must not know sockets, threads,
clocks or where frames come from. The other half is `recis_server.ingest.session`.
"""

from collections import deque
from dataclasses import dataclass

from recis.wire.messages import Ack, Command, Refuse, ServerRecord, Welcome

__all__ = ["Acked", "Arrived", "ClientSession", "Closed", "SessionEvent", "Welcomed"]


@dataclass(frozen=True, slots=True)
class Welcomed:
    """The server takes frames from `acked` + 1 on; `attempt` is this start's ordinal in the run."""

    acked: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Acked:
    """All frames up to `n` are committed and may be forgotten."""

    n: int


@dataclass(frozen=True, slots=True)
class Arrived:
    """A command to answer."""

    command: Command


@dataclass(frozen=True, slots=True)
class Closed:
    """The server refuses; with `retry` a later connection may succeed."""

    code: str
    message: str
    retry: bool


SessionEvent = Welcomed | Acked | Arrived | Closed


class ClientSession:
    """One writer over any number of connections: `connected`, then `receive` and `sent` in any order, then `lost`."""

    def __init__(self) -> None:
        self.acked = 0
        """Highest frame number that the server has committed, as far as is known here."""
        self.newest_sent = 0
        """Highest frame number sent on this connection; the next to send is the first one above it."""
        self.watched = True
        """Whether somebody looks at the run, as far as is known here; True until the server says otherwise."""
        self._open = False
        self._window_bytes = 0
        self._in_flight: deque[tuple[int, int]] = deque()  # bounded by the window: (frame number, bytes)
        self._in_flight_bytes = 0

    def connected(self) -> None:
        """A new connection: nothing may be sent but the greeting until the server has answered it."""
        self.lost()

    def lost(self) -> None:
        """The connection is gone: what was not acknowledged goes again on the next one."""
        self._open = False
        self.watched = True
        self._in_flight.clear()
        self._in_flight_bytes = 0
        self.newest_sent = self.acked

    @property
    def may_send(self) -> bool:
        """Whether one more frame may go: greeted, and the window has room (a first frame always fits)."""
        return self._open and (not self._in_flight or self._in_flight_bytes < self._window_bytes)

    def sent(self, n: int, num_bytes: int) -> None:
        """Notes a frame on its way.

        Raises:
            ValueError: not greeted yet, or `n` is not above all that were sent on this connection.
        """
        if not self._open or n <= self.newest_sent:
            raise ValueError(f"expected a greeted session and a number above {self.newest_sent}, got {n}")
        self.newest_sent = n
        self._in_flight.append((n, num_bytes))
        self._in_flight_bytes += num_bytes

    def receive(self, record: ServerRecord) -> SessionEvent | None:
        """What a record of the server means; None for one that says nothing new."""
        match record:
            case Welcome(acked=acked, attempt=attempt, window_bytes=window_bytes, watched=watched):
                # The server's word counts, even when it is lower: it may have lost its store.
                self._open = True
                self._window_bytes = window_bytes
                self.watched = watched
                self.acked = self.newest_sent = acked
                return Welcomed(acked, attempt)
            case Ack(n=n, watched=watched):
                self.watched = watched
                while self._in_flight and self._in_flight[0][0] <= n:
                    self._in_flight_bytes -= self._in_flight.popleft()[1]
                if n <= self.acked:
                    return None
                self.acked = n
                return Acked(n)
            case Command():
                return Arrived(record)
            case Refuse(code=code, message=message, retry=retry):
                self._open = False
                return Closed(code, message, retry)
