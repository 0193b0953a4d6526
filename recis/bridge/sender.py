"""Send an outbox to the server, with one thread and one socket.

Owns connecting, reconnecting, flushing and shutting down; `recis.wire.session` defines the protocol. No training step
ever waits for anything here. Nothing is lost here: unacknowledged data stays in the outbox.
"""

import asyncio
import contextlib
import logging
import random
import selectors
import threading
import time
from collections.abc import Callable, Iterable
from typing import Protocol

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from recis.bridge.address import ServerAddress
from recis.bridge.outbox_reader import OutboxReader
from recis.bridge.sockets import open_socket, send
from recis.bridge.traces import TraceUploads
from recis.wire.codec import WireError, decode_server, encode
from recis.wire.messages import Command, Hello, Schedule, Seen
from recis.wire.session import Acked, Arrived, ClientSession, Closed, Rejected, Welcomed

__all__ = ["CommandInbox", "Sender"]

FLUSH_S = 0.25
UNWATCHED_FLUSH_S = 0.8
"""Interval while nobody views the run, three times as long because a flush takes time from training. Less than a
second, because a kill may lose the values on a device of this time.
"""
BUSY_BYTES = 32 << 10
"""After a flush of this many bytes the next one follows in `FLUSH_S`, to allocate segments and pages in time."""
BACKOFF_S = (0.5, 15.0)
SAY_AGAIN_S = 600.0
"""Pause between two warnings about a connection that is lost repeatedly."""
TRIAL_S = 5.0
"""How long a connection has to last before it is used for a frame that may have broken earlier connections."""
MOST_SKIPPED = 16
"""Iterations of the event loop, with work in each, between two system calls of its selector."""
_FAILURES = (OSError, WebSocketException, WireError, TimeoutError)
_BREAKS = (ConnectionError, ConnectionClosed)
_logger = logging.getLogger(__name__)
_random = random.Random()


class _LessNextTimeError(ConnectionError):
    """The server has refused a greeting or a frame, which the next connection sends with less in it."""


class _PatientSelector(selectors.DefaultSelector):
    """A selector that makes no system call while the loop has work: a call releases the interpreter lock, and
    reacquiring it from a computing training thread stops that thread for the time that this one takes to wake up.
    """

    _skipped = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout == 0 and self._skipped < MOST_SKIPPED:
            self._skipped += 1
            return []
        self._skipped = 0
        return super().select(timeout)


def _make_loop() -> asyncio.AbstractEventLoop:
    return asyncio.SelectorEventLoop(_PatientSelector())


class CommandInbox(Protocol):
    """The receiver of commands; see `recis.bridge.controls.Controls`."""

    def receive(self, record: Command | Schedule) -> Seen | None:
        """Process a record, and return the answer."""

    def welcomed(self, desired: Iterable[Command]) -> None:
        """Process the server's greeting."""


class Sender:
    """The sender thread. Start and close it once each.

    Args:
        outbox: what to send.
        uploads: files to send.
        hello: identity of the writer; the sender fills in `first` and `time_ns`.
        address: the server; None never connects and only does the regular work.
        inbox: receives commands, on the sender's thread; None where no process would follow them.
        tick: regular work on the sender's thread.
        may_send: whether frames may go yet; asked at every flush.
    """

    def __init__(
        self,
        outbox: OutboxReader,
        uploads: TraceUploads,
        hello: Hello,
        address: ServerAddress | None,
        *,
        tick: Callable[[], None],
        inbox: CommandInbox | None = None,
        may_send: Callable[[], bool] = lambda: True,
    ) -> None:
        self._outbox = outbox
        self._uploads = uploads
        self._hello = hello
        self._address = address
        self._inbox = inbox
        self._tick = tick
        self._may_send = may_send
        self._session = ClientSession()
        self._thread = threading.Thread(target=self._run, name="recis-sender", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._bytes_at_tick = 0
        self._wake = asyncio.Event()
        self._upload_due = asyncio.Event()
        self._deadline: float | None = None
        self._flush_due = False
        self._closing = asyncio.Event()
        self._limit = asyncio.timeout_at(None)
        self._refusal: Closed | None = None
        self._is_plain = False  # greeting without name, config and tags
        self._greeted_at = 0.0
        self._own_error = ""  # the last logged error that was not of the connection
        self._outage = False
        self._num_outages = 0
        self._said_outage_at: float | None = None
        self.bytes_sent = 0
        """Bytes of frames sent so far, including repeated ones."""
        self.connected = False
        """Whether the server has greeted this writer on the current connection."""
        self.has_tried = threading.Event()
        """Set when a server has greeted this writer, or the first attempt to reach one has failed."""

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def close(self, timeout_s: float) -> bool:
        """Send what is left, for at most `timeout_s`, and return whether everything is acknowledged.

        If the server is away, one attempt is made.
        """
        self._deadline = time.monotonic() + timeout_s
        if self._thread.ident is not None:
            self._call(self._begin_closing)
            self._thread.join(timeout_s + 2.0)
            if self._thread.is_alive():
                _logger.warning("the sender did not stop within %.0f s", timeout_s + 2.0)
        return self._drained()

    def run_until_drained(self, timeout_s: float) -> bool:
        """Do the same as `start` and `close`, on the calling thread."""
        self._deadline = time.monotonic() + timeout_s
        self._run()
        return self._drained()

    # --- the thread

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=_make_loop) as runner:
                runner.run(self._main())
        except Exception:  # boundary: the monitor's thread must not end with a bare traceback in the training's output
            _logger.exception("the sender stopped; training goes on, and its reports stay in the spool")

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._tick_regularly()
        uploader = asyncio.create_task(self._upload_traces(), name="recis-traces")
        try:
            async with self._limit:
                if self._deadline is not None:
                    self._begin_closing()
                await self._stay_connected()
        except TimeoutError:
            _logger.debug("the time limit for closing has passed")
        finally:
            self._cancel_timer()
            uploader.cancel()
            await asyncio.gather(uploader, return_exceptions=True)

    def _tick_regularly(self) -> None:
        """Do all regular work on one timer: whenever this thread runs, the training thread may have to wait."""
        self._work()
        self._flush_due = True
        self._wake.set()
        if self.connected and len(self._uploads):
            self._upload_due.set()
        busy = self.bytes_sent - self._bytes_at_tick >= BUSY_BYTES
        self._bytes_at_tick = self.bytes_sent
        pause_s = FLUSH_S if self._session.watched or busy else UNWATCHED_FLUSH_S
        self._timer = asyncio.get_running_loop().call_later(pause_s, self._tick_regularly)

    def flush_soon(self) -> None:
        """Send what is in the outbox without waiting for the next flush; from any thread."""
        self._call(self._flush_now)

    def _flush_now(self) -> None:
        self._flush_due = True
        self._wake.set()

    def _hurry(self) -> None:
        """Flush now if the next flush is more than `FLUSH_S` away, because a user views the run."""
        timer = self._timer
        if timer is not None and timer.when() - asyncio.get_running_loop().time() > FLUSH_S:
            timer.cancel()
            self._tick_regularly()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _work(self) -> None:
        try:
            self._tick()
        except Exception:  # boundary: an error in the regular work must not end the sender
            _logger.exception("the sender's regular work failed")

    async def _stay_connected(self) -> None:
        delay_s = BACKOFF_S[0]
        while not self._finished():
            if self._address is None or self._refusal is not None:
                self.has_tried.set()
                if self._deadline is not None:
                    return
                await self._pause(BACKOFF_S[1])
                continue
            try:
                async with self._connect("/ws/ingest") as socket:
                    await self._converse(socket)
                delay_s = BACKOFF_S[0]
            except Exception as error:  # noqa: BLE001 - boundary: nothing may end this thread
                if self.connected and not self._session.is_stuck:
                    delay_s = BACKOFF_S[0]
                self._note_failure(error)
                if self._deadline is not None and not self.connected and not isinstance(error, _LessNextTimeError):
                    return
            finally:
                self.connected = False
                self.has_tried.set()
                self._session.lost()
            if not self._finished():
                await self._pause(delay_s * _random.uniform(0.7, 1.3))
                delay_s = min(delay_s * 2, BACKOFF_S[1])

    def _note_failure(self, error: Exception) -> None:
        match self._session.broken() if isinstance(error, _BREAKS) else None:
            case Rejected(n=n, message=text):
                self._outbox.refused(n, text)
            case Closed() as refusal:
                self._refused(refusal)
        if isinstance(error, _LessNextTimeError):
            _logger.info("%s", error)
        elif isinstance(error, _FAILURES) or (isinstance(error, RuntimeError) and self._deadline is not None):
            # RuntimeError: at the interpreter's end asyncio can no longer resolve a host name.
            self._note_outage(error)
        elif repr(error) != self._own_error:
            self._own_error = repr(error)
            _logger.error("unexpected error in the sender, which reconnects (logged once)", exc_info=error)

    def _connect(self, path: str) -> connect:
        assert self._address is not None
        return open_socket(self._address, path)

    async def _converse(self, socket: ClientConnection) -> None:
        """Use one connection until everything is sent or it fails."""
        self._session.connected()
        await send(socket, self._greeting())
        reader = asyncio.create_task(self._read(socket), name="recis-reader")
        try:
            while not self._finished() and not reader.done():
                self._wake.clear()
                # An acknowledgement wakes this loop as well, but seals no frame: one per answer would be too many.
                allowed = self._may_send() and not (self._session.is_on_trial and self._is_fresh())
                if allowed and self._session.may_send and (self._flush_due or self._deadline is not None):
                    self._flush_due = False
                    self._outbox.seal()
                while (
                    allowed
                    and self._session.may_send
                    and (frame := self._outbox.frame(self._session.newest_sent)) is not None
                ):
                    try:
                        data = encode(frame)
                    except (ValueError, TypeError, OverflowError, RecursionError) as error:
                        self._outbox.refused(frame.n, str(error))
                        continue
                    self._session.sent(frame.n, len(data))
                    self.bytes_sent += len(data)
                    await send(socket, data)
                await self._wake.wait()
            if reader.done():
                await reader
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    def _greeting(self) -> bytes:
        hello = msgspec.structs.replace(self._hello, first=self._outbox.first_frame(), time_ns=time.time_ns())
        if not self._is_plain:
            try:
                return encode(hello)
            except (ValueError, TypeError, OverflowError, RecursionError) as error:
                self._greet_plainly(str(error))
        return encode(msgspec.structs.replace(hello, name="", config={}, tags=()))

    async def _read(self, socket: ClientConnection) -> None:
        try:
            async for message in socket:
                if isinstance(message, str):
                    raise WireError("malformed", f"expected a binary message, got text of {len(message)} characters")
                event = self._session.receive(decode_server(message))
                if self._session.watched:
                    self._hurry()
                match event:
                    case Welcomed(acked=acked, desired=desired):
                        self._outbox.ack(acked)
                        if self._inbox is not None:
                            self._inbox.welcomed(desired)
                        self._greeted()
                    case Acked(n=n):
                        self._outbox.ack(n)
                        if not self._waits_for_acks():
                            continue
                    case Arrived(command=command):
                        if self._inbox is not None and (seen := self._inbox.receive(command)) is not None:
                            await send(socket, encode(seen))
                        continue
                    case Rejected(n=n, message=text):
                        self._outbox.refused(n, text)
                        raise _LessNextTimeError(f"the server has refused frame {n}: {text}")
                    case Closed() as refusal:
                        self._refused(refusal)
                        raise ConnectionError(refusal.message)
                    case None:
                        continue
                self._wake.set()
            raise ConnectionError("the server closed the connection")
        finally:
            self._wake.set()

    async def _upload_traces(self) -> None:
        delay_s = BACKOFF_S[0]
        while True:
            if not self.connected or not len(self._uploads):
                await self._upload_due.wait()
                self._upload_due.clear()
                continue
            try:
                await self._uploads.send_next(lambda: self._connect("/ws/trace"))
                delay_s = BACKOFF_S[0]
            except Exception as error:  # noqa: BLE001 - boundary: one file must not block the others
                _logger.info("a trace upload was interrupted, trying again: %s", error)
                await asyncio.sleep(delay_s)
                delay_s = min(delay_s * 2, BACKOFF_S[1])
            self._wake.set()

    # --- small decisions

    def _waits_for_acks(self) -> bool:
        """Return whether sending may be waiting for an acknowledgement: needless wake-ups are a large part of the time
        that a flush takes from training.
        """
        unsent = self._session.newest_sent < self._outbox.newest_frame
        return unsent or self._flush_due or self._deadline is not None

    def _begin_closing(self) -> None:
        """Apply the deadline to everything awaited, even a connection that does not open; on the sender's thread."""
        assert self._deadline is not None
        with contextlib.suppress(RuntimeError):  # it has ended meanwhile
            self._limit.reschedule(asyncio.get_running_loop().time() + self._deadline - time.monotonic())
        self._closing.set()
        self._wake.set()

    def _drained(self) -> bool:
        return self._outbox.pending()[0] == 0 and not len(self._uploads)

    def _call(self, function: Callable[[], None]) -> None:
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(function)

    def _finished(self) -> bool:
        if self._deadline is None:
            return False
        return self._drained() or time.monotonic() > self._deadline

    async def _pause(self, delay_s: float) -> None:
        """Wait, but only until a request to close."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay_s):
                await self._closing.wait()

    def _is_fresh(self) -> bool:
        """Return whether the connection is too new to count as stable."""
        return time.monotonic() - self._greeted_at < TRIAL_S

    def _greeted(self) -> None:
        self.connected = True
        self.has_tried.set()
        self._greeted_at = time.monotonic()
        if self._outage:
            self._outage = False
            if not self._num_outages:
                _logger.warning("connected to %s again", self._address and self._address.base)

    def _note_outage(self, error: BaseException) -> None:
        if isinstance(error, InvalidStatus) and error.response.status_code in (401, 403):
            status = error.response.status_code
            self._refused(
                Closed("unauthorised", f"HTTP {status}: expected a token with the scope `write`", retry=False)
            )
        elif not self._outage and self._refusal is None and self._address is not None:
            self._outage = True
            now = time.monotonic()
            if self._said_outage_at is not None and now - self._said_outage_at < SAY_AGAIN_S:
                # Behind a proxy that closes idle connections, one line for each would bury the training's own output.
                self._num_outages += 1
                return
            again = f", {self._num_outages} times since the last such message" if self._num_outages else ""
            self._said_outage_at, self._num_outages = now, 0
            _logger.warning(
                "no connection to %s (%s)%s; training goes on, and its reports are kept and sent later",
                self._address.base,
                str(error) or type(error).__name__,
                again,
            )

    def _refused(self, refusal: Closed) -> None:
        if refusal.retry:
            return
        if refusal.code == "malformed" and not self.connected and not self._is_plain:
            self._greet_plainly(refusal.message)
            raise _LessNextTimeError(refusal.message)
        self._refusal = refusal
        _logger.warning("the server refuses this writer (%s): %s", refusal.code, refusal.message)

    def _greet_plainly(self, why: str) -> None:
        self._is_plain = True
        _logger.warning("cannot send the run's name, config and tags: %s", why)
