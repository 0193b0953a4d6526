"""The training side of the protocol, without I/O: records in, events out.

Owns what may be sent when (greeting, numbers, window) and the meaning of answers; must not know sockets, threads,
clocks or where frames come from. The other half is `recis_server.ingest.session`.
"""

from collections import deque
from dataclasses import dataclass

from recis.wire.messages import Ack, Command, Refuse, Schedule, ServerRecord, Welcome

__all__ = ["Acked", "Arrived", "ClientSession", "Closed", "Rejected", "SessionEvent", "Welcomed"]

CAREFUL_BREAKS = 3
MOST_BREAKS = 10
"""Consecutive connections that break while the same frame is the first in flight: after `CAREFUL_BREAKS` it is sent
alone, after `MOST_BREAKS` it counts as refused. A server that is away sends no `welcome`, and one without room refuses
with `unavailable`: neither counts.
"""
MOST_REJECTED = 16
"""Frames refused in a row after which the server, not the frames, is considered wrong."""
_FRAME_FAULTS = frozenset({"malformed", "too_large"})


@dataclass(frozen=True, slots=True)
class Welcomed:
    """The server accepts frames from `acked` + 1 on; `attempt` is this start's ordinal in the run.

    `desired`: the values that a newly started process has to apply.
    """

    acked: int
    attempt: int
    desired: tuple[Command, ...] = ()


@dataclass(frozen=True, slots=True)
class Acked:
    """All frames up to `n` are committed and may be forgotten."""

    n: int


@dataclass(frozen=True, slots=True)
class Arrived:
    """A command to answer, or the step at which a command on hold takes effect."""

    command: Command | Schedule


@dataclass(frozen=True, slots=True)
class Closed:
    """The server refuses; with `retry` a later connection may succeed."""

    code: str
    message: str
    retry: bool


@dataclass(frozen=True, slots=True)
class Rejected:
    """The server will never accept frame `n` as it is; a later connection can continue without it, or with fewer
    records in it.
    """

    n: int
    code: str
    message: str


SessionEvent = Welcomed | Acked | Arrived | Closed | Rejected


class ClientSession:
    """One writer over any number of connections: `connected`, then `receive` and `sent` in any order, then `lost`.

    A refusal does not say which frame it is about. If several were in flight, the next connection sends them one at a
    time, so that another refusal identifies the frame.
    """

    def __init__(self) -> None:
        self.acked = 0
        """Highest frame number known to be committed by the server."""
        self.newest_sent = 0
        """Highest frame number sent on this connection; the next to send is the first one above it."""
        self.watched = True
        """Whether a user views the run; True until the server reports otherwise."""
        self._open = False
        self._window_bytes = 0
        self._in_flight: deque[tuple[int, int]] = deque()  # bounded by the window: (frame number, bytes)
        self._in_flight_bytes = 0
        self._careful_until = 0  # send frames up to this number one at a time
        self._suspect = 0  # first frame in flight when the last connection broke
        self._breaks = 0  # consecutive connections that broke there
        self._rejected: set[int] = set()  # since a frame was last accepted; bounded by MOST_REJECTED

    def connected(self) -> None:
        """Begin a new connection: only the greeting may be sent until the server has answered it."""
        self.lost()

    def lost(self) -> None:
        """Note that the connection is lost: unacknowledged frames are sent again on the next one."""
        self._open = False
        self.watched = True
        self._in_flight.clear()
        self._in_flight_bytes = 0
        self.newest_sent = self.acked

    @property
    def may_send(self) -> bool:
        """Whether another frame may be sent: the server has greeted, and the window has room (a first frame always
        fits).
        """
        if not self._in_flight:
            return self._open
        is_careful = self._in_flight[0][0] <= self._careful_until
        return self._open and not is_careful and self._in_flight_bytes < self._window_bytes

    @property
    def is_stuck(self) -> bool:
        """Whether consecutive connections broke with the same first frame in flight: do not reconnect at once."""
        return self._breaks > 1

    @property
    def is_on_trial(self) -> bool:
        """Whether the next frame is sent alone to find out if it breaks the connection.

        The caller waits before sending it: a connection that breaks meanwhile broke for another reason, such as a frame
        of another writer that crashes the server.
        """
        return self._breaks >= CAREFUL_BREAKS

    def broken(self) -> Rejected | Closed | None:
        """Note that the connection ended without a refusal, before `lost`; return which frame is to blame, if any."""
        if not self._open:
            return None
        if not self._in_flight:
            self._breaks = 0
            return None
        first = self._in_flight[0][0]
        self._breaks = self._breaks + 1 if first == self._suspect else 1
        self._suspect = first
        if self._breaks >= MOST_BREAKS and len(self._in_flight) == 1:
            return self._reject(first, "broken", f"{self._breaks} consecutive connections broke at this frame")
        if self._breaks >= CAREFUL_BREAKS:
            self._careful_until = self.newest_sent
        return None

    def sent(self, n: int, num_bytes: int) -> None:
        """Note a frame that is being sent.

        Raises:
            ValueError: not greeted yet, or `n` is not above all that were sent on this connection.
        """
        if not self._open or n <= self.newest_sent:
            raise ValueError(f"expected a greeted session and a number above {self.newest_sent}, got {n}")
        self.newest_sent = n
        self._in_flight.append((n, num_bytes))
        self._in_flight_bytes += num_bytes

    def receive(self, record: ServerRecord) -> SessionEvent | None:
        """Return the event for a record of the server; None for a record without news."""
        match record:
            case Welcome(acked=acked, attempt=attempt, window_bytes=window_bytes, watched=watched, desired=desired):
                # The server's number counts even if it is lower: it may have lost its store.
                self._open = True
                self._window_bytes = window_bytes
                self.watched = watched
                self.acked = self.newest_sent = acked
                self._note_progress()
                return Welcomed(acked, attempt, desired)
            case Ack(n=n, watched=watched):
                self.watched = watched
                while self._in_flight and self._in_flight[0][0] <= n:
                    self._in_flight_bytes -= self._in_flight.popleft()[1]
                if n <= self.acked:
                    return None
                self.acked = n
                self._note_progress()
                return Acked(n)
            case Command() | Schedule():
                return Arrived(record)
            case Refuse(code=code, message=message, retry=retry):
                self._open = False
                if retry or code not in _FRAME_FAULTS or not self._in_flight:
                    return Closed(code, message, retry)
                if len(self._in_flight) == 1:
                    return self._reject(self._in_flight[0][0], code, message)
                self._careful_until = self.newest_sent
                return Closed(code, message, retry=True)

    def _reject(self, n: int, code: str, message: str) -> Rejected | Closed:
        self._breaks = self._suspect = 0
        self._rejected.add(n)
        if len(self._rejected) > MOST_REJECTED:
            return Closed(
                code, f"more than {MOST_REJECTED} consecutive frames were refused, the last one: {message}", retry=False
            )
        return Rejected(n, code, message)

    def _note_progress(self) -> None:
        if self._suspect <= self.acked:
            self._breaks = 0
        if self._rejected and self.acked >= min(self._rejected):
            self._rejected.clear()
