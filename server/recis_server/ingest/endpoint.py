"""`/ws/ingest`: the sockets and tasks around the session core.

Owns reading, sending, back-pressure and the sequential commits of each writer; must not decide what a record means
(`session` does) or store anything (`store` does). A bad client ends its own connection and nothing else.

    intake = Intake(store, presence, audience, commands)    # app.state.intake; `close` before the store's
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Sequence
from functools import partial

from fastapi import APIRouter
from starlette.types import Message, Receive, Scope
from starlette.types import Send as Sender

from recis.wire.codec import WireError, decode_client, encode
from recis.wire.messages import Ack, ClientRecord, Command, Hello, Refuse, Schedule, ServerRecord
from recis.wire.text import close_reason
from recis_server.control.liverun import RankConnection
from recis_server.control.service import CommandService
from recis_server.errors import InvalidValue, ServerError
from recis_server.ingest.audience import Audience
from recis_server.ingest.presence import Presence
from recis_server.ingest.session import (
    Action,
    Close,
    Delivered,
    IngestSession,
    Keep,
    Register,
    Send,
    Stream,
    Streams,
)
from recis_server.store.interface import Store
from recis_server.store.values import Commit, StreamRow

__all__ = ["Intake", "router"]

_logger = logging.getLogger(__name__)
GREETING_S = 30.0
"""How long a connection may wait before its greeting."""
_FAREWELL_S = 5.0
_DRAIN_S = 10.0
_GOING_AWAY = 1012


class _Ingest:
    """The endpoint of one training process; bare ASGI, because wrappers cost as much as a short message."""

    async def __call__(self, scope: Scope, receive: Receive, send: Sender) -> None:
        intake: Intake = scope["app"].state.intake
        await intake.serve(receive, send)


router = APIRouter()
router.add_websocket_route("/ws/ingest", _Ingest(), name="ingest")  # type: ignore[arg-type]  # an app serves as well


class _SendQueue:
    """The outgoing records of one connection: acknowledgements merge into the latest, all others keep their order.

    Bounded: one greeting, one refusal, and twice the commands that may be open at a time.
    """

    def __init__(self, send: Sender) -> None:
        self._send = send
        self._records: deque[ServerRecord] = deque()  # bounded: see the class
        self._ack: Ack | None = None
        self._end: Close | None = None
        self._wake = asyncio.Event()

    @property
    def ending(self) -> bool:
        """Return whether a refusal was queued, sent or not."""
        return self._end is not None

    def put(self, action: Send | Close) -> None:
        """Queue what the session core wants to send."""
        if isinstance(action, Close):
            self._end = self._end or action
        elif isinstance(action.record, Ack):
            self._ack = action.record
        else:
            self._records.append(action.record)
        self._wake.set()

    def command(self, command: Command | Schedule) -> None:
        """Queue a message of the command service."""
        self.put(Send(command))

    async def run(self) -> None:
        """Send until the refusal is sent or the client has disconnected."""
        try:
            while self._end is None:
                await self._wake.wait()
                self._wake.clear()
                await self._flush()
            await self._put_out(self._end.refuse)
            reason = close_reason(self._end.refuse.message)
            await self._send({"type": "websocket.close", "code": self._end.code, "reason": reason})
        except OSError:  # raised by the server when the client has disconnected
            return

    async def _flush(self) -> None:
        while self._records:
            await self._put_out(self._records.popleft())
        ack, self._ack = self._ack, None
        if ack is not None:
            await self._put_out(ack)

    async def _put_out(self, record: ServerRecord) -> None:
        await self._send({"type": "websocket.send", "bytes": encode(record)})


class _Pump:
    """Frames of one stream waiting for the store, committed one after the other; exists only while there are any.

    Bounded in bytes by the window of the stream.
    """

    def __init__(self) -> None:
        self.keeps: deque[Keep] = deque()  # bounded: see the class
        self._waiting: list[asyncio.Future[None]] = []

    def forget(self) -> int:
        """Drop all frames but the one being committed; return their number."""
        left = max(0, len(self.keeps) - 1)
        while len(self.keeps) > 1:
            self.keeps.pop()
        return left

    async def move(self) -> None:
        """Wait until a commit has ended, successfully or not."""
        waiting = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        await waiting

    def moved(self) -> None:
        """Wake all waiters."""
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)
        self._waiting.clear()


class Intake:
    """All connections of training processes.

    Args:
        store: the destination of frames.
        presence: is told of connections and their ends.
        audience: knows which runs are being viewed.
        commands: receives the send queue of every connection.
        window_bytes: the most bytes of one writer waiting for the store; beyond that its socket is not read.
    """

    def __init__(
        self,
        store: Store,
        presence: Presence,
        audience: Audience,
        commands: CommandService,
        *,
        window_bytes: int = 8 << 20,
    ) -> None:
        self._store = store
        self._presence = presence
        self._commands = commands
        self._window_bytes = window_bytes
        self._streams = Streams(audience.is_watched)
        self._pumps: dict[Stream, _Pump] = {}
        self._queues: dict[IngestSession, _SendQueue] = {}
        self._ranks: dict[IngestSession, RankConnection] = {}
        audience.subscribe(self._looked_at)

    @property
    def num_connections(self) -> int:
        """Return the number of connected training processes."""
        return len(self._queues)

    async def close(self) -> None:
        """Refuse every connection and wait until received frames are committed, for `_DRAIN_S` at most.

        The others are not acknowledged, and will be sent again.
        """
        for session, queue in tuple(self._queues.items()):
            _put(queue, session.end("unavailable", "the server is stopping", retry=True))
        try:
            async with asyncio.timeout(_DRAIN_S):
                await self._drain()
        except TimeoutError:
            left = sum(pump.forget() for pump in self._pumps.values())
            _logger.warning("%d frames were not committed within %.0f s; they will be sent again", left, _DRAIN_S)
            await self._drain()

    async def _drain(self) -> None:
        while self._pumps:
            await next(iter(self._pumps.values())).move()

    async def serve(self, receive: Receive, send: Sender) -> None:
        """Serve one connection from upgrade to end."""
        await receive()
        await send({"type": "websocket.accept"})
        session = IngestSession(self._streams, window_bytes=self._window_bytes)
        queue = self._queues[session] = _SendQueue(send)
        reader = asyncio.create_task(self._read(receive, session, queue), name="ingest-read")
        sender = asyncio.create_task(queue.run(), name="ingest-send")
        try:
            await asyncio.wait({reader, sender}, return_when=asyncio.FIRST_COMPLETED)
            if queue.ending:
                await asyncio.wait({sender}, timeout=_FAREWELL_S)
        finally:
            reader.cancel()
            sender.cancel()
            ends = await asyncio.gather(reader, sender, return_exceptions=True)
            del self._queues[session]
            await self._leave(session, expected=queue.ending or ends[0] == _GOING_AWAY)
        for end in ends:
            if isinstance(end, Exception):
                raise end

    async def _read(self, receive: Receive, session: IngestSession, queue: _SendQueue) -> int:
        """Process messages until the client disconnects or is refused; return the close code, 0 after a refusal."""
        while not queue.ending:
            try:
                message = await _next(receive, session)
                if message["type"] == "websocket.disconnect":
                    return int(message.get("code") or 0)
                if session.stream is not None:
                    # With one message being processed and another one waiting, read no more.
                    await self._room(session.stream)
                data = _binary(message.get("bytes"), message.get("text"))
                actions = session.receive(_decoded(data), len(data), time.time_ns())
                await self._act(actions, session, queue)
            except TimeoutError:
                _put(queue, session.end("timeout", f"expected hello within {GREETING_S:g} s", retry=True))
            except WireError as error:
                _put(queue, session.end(error.code, str(error)))
            except ServerError as error:
                _put(queue, session.end("unavailable", error.message, retry=True))
            except Exception:  # boundary: a failing connection must not end the server
                _logger.exception("a connection to /ws/ingest failed")
                _put(queue, session.end("unavailable", "the server failed at this record", retry=True))
        return 0

    async def _act(self, actions: Sequence[Action], session: IngestSession, queue: _SendQueue) -> None:
        for action in actions:
            match action:
                case Register(hello=hello):
                    row = await self._register(hello)
                    desired = await self._commands.greeting(row, hello)
                    answers, older = session.registered(row, desired)
                    if older is not None:
                        # A delayed greeting of a connection that the writer has abandoned may arrive last: hence the
                        # retry.
                        reason = f"writer {row.writer} has connected again"
                        _put(self._queues[older], older.end("superseded", reason, retry=True))
                    _put(queue, answers)
                    await self._presence.joined(row, hello)
                    rank = await self._commands.attach(row, hello, queue.command, desired)
                    if rank is not None:
                        self._ranks[session] = rank
                case Keep():
                    assert session.stream is not None
                    self._commit(session.stream, action)
                case Delivered(seen=seen):
                    if session in self._ranks:
                        await self._commands.seen(self._ranks[session], seen)
                case Send() | Close():
                    queue.put(action)

    async def _register(self, hello: Hello) -> StreamRow:
        try:
            return await self._store.register(hello, time.time_ns())
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            # MessagePack has numbers that fit no column. Every attempt would send them again, so refuse permanently.
            raise WireError("malformed", f"expected a greeting that can be stored: {error}") from error

    async def _leave(self, session: IngestSession, *, expected: bool) -> None:
        stream = session.stream
        session.lost()
        if stream is None:
            return
        rank = self._ranks.pop(session, None)
        if rank is not None:
            self._commands.detach(rank)
        while (pump := self._pumps.get(stream)) is not None:
            # The rank's last status may still be waiting for the store.
            await pump.move()
        try:
            await self._presence.left(stream.row, expected=expected)
        except ServerError as error:
            _logger.warning("the end of writer %s could not be recorded: %s", stream.row.writer, error)

    # --- commits

    def _commit(self, stream: Stream, keep: Keep) -> None:
        pump = self._pumps.get(stream)
        if pump is None:
            pump = self._pumps[stream] = _Pump()
        pump.keeps.append(keep)
        if len(pump.keeps) == 1:
            self._append(stream, pump)

    def _append(self, stream: Stream, pump: _Pump) -> None:
        # A future's callback, not a task: most frames are short, and a task costs more than one.
        appended = asyncio.ensure_future(self._store.append(pump.keeps[0].frame))
        appended.add_done_callback(partial(self._appended, stream, pump))

    def _appended(self, stream: Stream, pump: _Pump, appended: "asyncio.Future[Commit]") -> None:
        keep = pump.keeps.popleft()
        queue = self._queues.get(stream.session) if stream.session is not None else None
        failure = _failure(keep, appended)
        if failure is None:
            actions = stream.on_commit(keep)
        else:
            pump.keeps.clear()
            actions = stream.on_failure(failure.code, failure.message, retry=failure.retry)
        if queue is not None:
            _put(queue, actions)
        if pump.keeps:
            self._append(stream, pump)
        else:
            del self._pumps[stream]
            self._streams.settle(stream)
        pump.moved()

    def _looked_at(self, run: str) -> None:
        for session, queue in self._queues.items():
            _put(queue, session.looked_at(run))

    async def _room(self, stream: Stream) -> None:
        while stream.pending_bytes >= self._window_bytes and (pump := self._pumps.get(stream)) is not None:
            await pump.move()


def _failure(keep: Keep, appended: "asyncio.Future[Commit]") -> Refuse | None:
    """Return why the frame was not stored; None if it was."""
    n, writer = keep.frame.frame.n, keep.frame.stream.writer
    try:
        appended.result()
    except asyncio.CancelledError:
        return Refuse(code="unavailable", message="the frame could not be stored", retry=True)
    except InvalidValue as error:
        # It would fail again; without this the writer would send it forever.
        return Refuse(code="malformed", message=error.message)
    except ServerError as error:
        _logger.warning("frame %d of %s was not kept: %s", n, writer, error)
        return Refuse(code="unavailable", message=error.message, retry=True)
    except Exception:  # boundary: a programming error in one frame must not leave the writer without an answer
        _logger.exception("frame %d of %s was not kept", n, writer)
        return Refuse(code="unavailable", message="the frame could not be stored", retry=True)
    return None


def _put(queue: _SendQueue, actions: Sequence[Action]) -> None:
    for action in actions:
        if isinstance(action, Send | Close):
            queue.put(action)


async def _next(receive: Receive, session: IngestSession) -> Message:
    """Return the next message; raise `TimeoutError` if the greeting does not arrive in time."""
    if session.stream is not None:
        return await receive()
    async with asyncio.timeout(GREETING_S):
        return await receive()


def _decoded(data: bytes) -> ClientRecord:
    try:
        return decode_client(data)
    except WireError:
        raise
    except Exception as error:
        # The same bytes would fail again, and the retries would never end.
        raise WireError(
            "malformed", f"expected a record of this protocol, got one that failed: {error!r:.200}"
        ) from error


def _binary(data: bytes | None, text: str | None) -> bytes:
    if data is None:
        raise WireError("malformed", f"expected a binary message, got text of {len(text or '')} characters")
    return data
