"""The server's half of `/ws/ingest` without the connection: records and time in, actions out.

Owns which records are allowed when, which frames are new, what is acknowledged and the effect of a failed commit; must
not know sockets, tasks, clocks or the store. The other half is `recis.wire.session`.

A stream is one writer over all its connections: its numbers survive a reconnect. The caller commits the frames of a
stream one after the other, so a frame that could not be committed leaves no gap behind it.
"""

from collections.abc import Callable, Iterator
from typing import Literal

from msgspec import Struct

from recis.wire.codec import WireError
from recis.wire.messages import Ack, ClientRecord, Command, Frame, Hello, Refuse, Seen, ServerRecord, Welcome
from recis_server.store.values import StoredFrame, StreamRow

__all__ = [
    "Action",
    "Close",
    "Delivered",
    "IngestSession",
    "Keep",
    "Register",
    "Send",
    "Stream",
    "Streams",
    "refusal",
]

_CLOSE_CODES = {
    "malformed": 4400,
    "unauthorised": 4401,
    "timeout": 4408,
    "superseded": 4409,
    "too_large": 1009,
    "version": 4426,
    "unavailable": 1013,
}


# Structs, for the same reason as `StoredFrame`.


class Send(Struct, frozen=True):
    """Send this record on the session's connection."""

    record: ServerRecord


class Close(Struct, frozen=True):
    """Send the refusal, then close with `code`; the session sends and receives nothing more."""

    refuse: Refuse
    code: int


class Register(Struct, frozen=True):
    """Register the writer with the store, then call `IngestSession.registered`."""

    hello: Hello


class Keep(Struct, frozen=True):
    """Commit the frame, then call `Stream.on_commit` or `Stream.on_failure`."""

    frame: StoredFrame
    num_bytes: int


class Delivered(Struct, frozen=True):
    """The rank has seen a command."""

    seen: Seen


Action = Send | Close | Register | Keep | Delivered


def refusal(code: str, message: str, *, retry: bool = False) -> Close:
    """Return the end of a connection, with the close code for `code`."""
    return Close(Refuse(code=code, message=message, retry=retry), _CLOSE_CODES[code])


class Stream:
    """One writer: what was received, what is committed, and its current session.

    Attributes:
        row: the writer as the store knew it at a greeting; its number is older than `committed`.
        received: highest frame number received; all up to it are committed or in progress.
        committed: highest frame number committed.
        pending_bytes: size of the frames in progress; the caller stops reading while they fill the window.
        missing: numbers skipped since this server has known the writer.
        duplicates: frames received again.
    """

    def __init__(self, row: StreamRow, is_watched: Callable[[str], bool]) -> None:
        self.row = row
        self._is_watched = is_watched
        self.received = row.acked
        self.committed = row.acked
        self.pending_bytes = 0
        self.missing = 0
        self.duplicates = 0
        self.session: IngestSession | None = None

    def on_commit(self, keep: Keep) -> list[Action]:
        """Record a durable frame; return the actions of the current session."""
        n = keep.frame.frame.n
        self.missing += max(0, n - self.committed - keep.frame.frame.span)
        self.committed = max(self.committed, n)
        self.pending_bytes -= keep.num_bytes
        return self.ack() if self.session is not None else []

    @property
    def watched(self) -> bool:
        """Return whether the run is being viewed."""
        return self._is_watched(self.row.run)

    def ack(self) -> list[Action]:
        """Return the acknowledgement of what is committed."""
        return [Send(Ack(self.committed, watched=self.watched))]

    def on_failure(self, code: str, reason: str, *, retry: bool) -> list[Action]:
        """Forget all frames in progress after the oldest could not be committed, and end the session."""
        self.received = self.committed
        self.pending_bytes = 0
        return self.session.end(code, reason, retry=retry) if self.session is not None else []


class Streams:
    """The streams that are connected or still committing; any other is forgotten, because the store knows it.

    Args:
        is_watched: whether a run is being viewed, by its id.
    """

    def __init__(self, is_watched: Callable[[str], bool] = lambda _: True) -> None:
        self._is_watched = is_watched
        self._streams: dict[tuple[str, str], Stream] = {}

    def __iter__(self) -> Iterator[Stream]:
        return iter(tuple(self._streams.values()))

    def join(self, row: StreamRow, session: "IngestSession") -> tuple[Stream, "IngestSession | None"]:
        """Return the stream of `row`, with `session` as its newest, and the session that it supersedes."""
        stream = self._streams.setdefault((row.run, row.writer), Stream(row, self._is_watched))
        # With frames in progress, the store's number may be older than ours, or newer if the writer was connected to
        # another server meanwhile; without, the store is right (the run may have been deleted).
        if stream.pending_bytes == 0:
            stream.row = row
            stream.received = stream.committed = row.acked
        else:
            stream.received = max(stream.received, row.acked)
            stream.committed = max(stream.committed, row.acked)
        older, stream.session = stream.session, session
        return stream, older

    def settle(self, stream: Stream) -> None:
        """Forget the stream unless it is in use."""
        place = stream.row.run, stream.row.writer
        # An old session may end after its stream was forgotten and the writer has registered anew.
        if stream.session is None and stream.pending_bytes == 0 and self._streams.get(place) is stream:
            del self._streams[place]


class IngestSession:
    """One connection of a writer: `receive` for every record, `registered` after `Register`, `lost` at its end.

    Args:
        streams: shared by all sessions of the server.
        window_bytes: the most unacknowledged bytes of a writer.
    """

    def __init__(self, streams: Streams, *, window_bytes: int) -> None:
        self._streams = streams
        self._window_bytes = window_bytes
        self._state: Literal["new", "registering", "open", "closed"] = "new"
        self.stream: Stream | None = None

    def receive(self, record: ClientRecord, num_bytes: int, now_ns: int) -> list[Action]:
        """Return the actions for a record of the writer.

        Raises:
            WireError: the record is not allowed here; refuse the connection.
        """
        if self._state == "closed":
            return []
        if isinstance(record, Hello) != (self._state == "new"):
            expected = "hello as the first record" if self._state == "new" else "hello once per connection"
            raise WireError("malformed", f"expected {expected}, got {type(record).__name__.lower()}")
        match record:
            case Hello():
                self._state = "registering"
                return [Register(record)]
            case Frame():
                return self._take(record, num_bytes, now_ns)
            case Seen():
                return [Delivered(record)]

    def registered(
        self, row: StreamRow, desired: tuple[Command, ...] = ()
    ) -> tuple[list[Action], "IngestSession | None"]:
        """The store knows the writer: the greeting, and the older session of the writer, which is to `end`."""
        self.stream, older = self._streams.join(row, self)
        self._state = "open"
        welcome = Welcome(
            acked=self.stream.committed,
            attempt=self.stream.row.attempt,
            window_bytes=self._window_bytes,
            watched=self.stream.watched,
            desired=desired,
        )
        return [Send(welcome)], older

    def looked_at(self, run: str) -> list[Action]:
        """Tell the writers of `run` that it is being viewed, without waiting for a commit."""
        stream = self.stream
        if self._state != "open" or stream is None or stream.session is not self or stream.row.run != run:
            return []
        return stream.ack()

    def end(self, code: str, message: str, *, retry: bool = False) -> list[Action]:
        """Refuse the rest of the connection; return nothing if it is over already."""
        if self._state == "closed":
            return []
        self.lost()
        return [refusal(code, message, retry=retry)]

    def lost(self) -> None:
        """Record the end of the connection; its frames are still committed."""
        self._state = "closed"
        if self.stream is not None:
            if self.stream.session is self:
                self.stream.session = None
            self._streams.settle(self.stream)

    def _take(self, frame: Frame, num_bytes: int, now_ns: int) -> list[Action]:
        stream = self.stream
        assert stream is not None, "frames come after the greeting"
        if frame.n <= stream.received:
            stream.duplicates += 1
            return stream.ack() if frame.n <= stream.committed else []
        if frame.n - frame.span < stream.received:
            raise WireError(
                "malformed", f"expected numbers above {stream.received}, got {frame.span} up to {frame.n}", "$.span"
            )
        stream.received = frame.n
        stream.pending_bytes += num_bytes
        return [Keep(StoredFrame(stream.row, frame, now_ns), num_bytes)]
