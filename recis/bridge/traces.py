"""Upload profiler traces to the server, each on a connection of its own.

Owns the list of files still to send (kept in the spool, so that the next start or `sync` continues), hashing and the
resumable upload; must not know how a trace is made. Runs on the sender's thread, a chunk at a time.
"""

import asyncio
import hashlib
import logging
import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Annotated, Any

import msgspec
from websockets.asyncio.client import ClientConnection

from recis.bridge.files import read_checked, write_checked
from recis.bridge.identity import Identity
from recis.bridge.refusals import Refusals
from recis.bridge.report import as_step
from recis.bridge.set_aside import SetAside
from recis.bridge.sockets import send
from recis.wire.codec import decode_trace, encode
from recis.wire.messages import MAX_TEXT_CHARS, Event, Refuse, TraceAck, TraceChunk, TraceOpen, TraceReply
from recis.wire.showing import shown
from recis.wire.text import as_file_name, as_text

__all__ = ["TraceFileJob", "TraceUploads", "trace_job"]

CHUNK_BYTES = 256 << 10
WINDOW_CHUNKS = 4
MAX_WAITING = 256
MAX_FAILURES = 20
"""Number of consecutive attempts without progress after which a file is given up; requests of the server to try later
do not count.
"""
_logger = logging.getLogger(__name__)
_Count = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]


class _TryLaterError(ConnectionError):
    """The server asked the sender to try the file later."""


class TraceFileJob(msgspec.Struct, frozen=True, kw_only=True):
    """A file to send; `rank` and `attempt` are those of the process that made it."""

    run: str
    attempt: str
    rank: _Count
    path: str
    name: str
    step: _Count
    time_ns: _Count


def trace_job(identity: Identity, path: Any, step: Any, refusals: Refusals) -> TraceFileJob | None:
    """Return the job for a file that the program wants to send; refuse anything that is no file or no step, and return
    None.
    """
    number = as_step(step)
    if number is None or number < 0:
        refusals.refuse("upload_trace's step", f"expected an integer from 0 to 2^63 - 1, got {shown(step)}")
        return None
    try:
        place = Path(path).absolute()
        # A missing file is left to the upload, which reports it. A pipe or a device could be read for ever.
        is_other = "\0" in str(place) or (place.exists() and not place.is_file())
    except Exception:  # noqa: BLE001 - boundary: what is given for a path may raise anything
        refusals.refuse("upload_trace", f"expected the path of a file, got {shown(path)}")
        return None
    if is_other:
        refusals.refuse("upload_trace", f"expected a file, got {shown(str(place), 200)}, which is none")
        return None
    return TraceFileJob(
        run=identity.run,
        attempt=identity.attempt,
        rank=identity.rank,
        path=str(place),
        name=place.name,
        step=number,
        time_ns=time.time_ns(),
    )


class TraceUploads:
    """Files in the order of their creation; beyond `MAX_WAITING` the oldest is given up with an event.

    Args:
        folder: where the list is kept across a crash; None keeps it in memory.
        report: called with an event for the run: a file that is missing, or was refused or given up.
        set_aside: account of unreadable entries of the list; by default that of `folder`.
    """

    def __init__(self, folder: Path | None, report: Callable[[Event], None], set_aside: SetAside | None = None) -> None:
        self._folder = folder
        set_aside = set_aside if set_aside is not None else SetAside(folder)
        self._report = report
        self._waiting: deque[TraceFileJob] = deque()  # bounded in `add`
        self._failures = 0  # consecutive tries of the first file
        self._reached = 0  # bytes of the first file that the server has acknowledged
        for note in sorted(folder.glob("trace-*.json")) if folder is not None else ():
            try:
                job = msgspec.convert(read_checked(note), TraceFileJob)
                if self._note(job) != note:
                    raise ValueError(f"expected the note of a trace of {note.name}, got one of {job.time_ns}")
                self._waiting.append(job)
            except (OSError, ValueError) as error:
                set_aside.note(note.name, 0, 0, 1, f"a trace: {error}")
                set_aside.keep(note)
        event = set_aside.news()
        if event is not None:
            report(event)

    def __len__(self) -> int:
        """Return the number of files that wait."""
        return len(self._waiting)

    def add(self, job: TraceFileJob) -> None:
        """Add a finished file; may be called on any thread, and writes one small file."""
        if self._folder is not None:
            write_checked(self._note(job), msgspec.to_builtins(job))
        if len(self._waiting) >= MAX_WAITING:
            self._give_up(self._waiting.popleft(), f"more than {MAX_WAITING} traces were waiting")
        self._waiting.append(job)

    async def send_next(self, connect: Callable[[], AbstractAsyncContextManager[ClientConnection]]) -> None:
        """Upload the oldest file over a connection that `connect` opens.

        Raises:
            OSError, WebSocketException: the connection failed; the file stays first in the list.
        """
        job = self._waiting[0]
        path = Path(job.path)
        try:
            if not path.is_file():  # noqa: ASYNC240 - does not block, unlike opening a pipe
                raise FileNotFoundError("there is none")
            size, digest = await _measure(path)
        except OSError as error:
            self._next(f"it vanished before upload: expected the file at {path} ({error})")
            return
        opening = TraceOpen(
            run=job.run,
            attempt=job.attempt,
            rank=job.rank,
            name=as_file_name(job.name),
            step=job.step,
            size=size,
            sha256=digest,
            time_ns=job.time_ns,
        )
        try:
            data = encode(opening)
        except (ValueError, OverflowError) as error:
            self._next(f"it cannot be announced: {error}")
            return
        reached = self._reached
        try:
            async with connect() as socket:
                refusal = await self._upload(socket, data, path)
        except _TryLaterError:
            raise
        except Exception:  # any error, but not forever
            self._failures = self._failures + 1 if self._reached <= reached else 0
            if self._failures < MAX_FAILURES:
                raise
            refusal = f"{MAX_FAILURES} consecutive tries made no progress"
        self._next(f"the server refused it: {refusal}" if refusal is not None else None)

    async def _upload(self, socket: ClientConnection, opening: bytes, path: Path) -> str | None:
        """Send the file from the server's offset on; return why it was refused, or None if it arrived."""
        await send(socket, opening)
        with path.open("rb") as file:
            sent: int | None = None
            acked = 0
            while True:
                message = await socket.recv(decode=False)
                match decode_trace(message):
                    case TraceReply():
                        return None
                    case Refuse(message=text, retry=False):
                        return text
                    case Refuse(message=text):
                        raise _TryLaterError(text)
                    case TraceAck(offset=offset):
                        acked = self._reached = offset
                        if sent is None:
                            sent = offset
                            file.seek(offset)
                while (
                    sent is not None
                    and sent - acked < WINDOW_CHUNKS * CHUNK_BYTES
                    and (piece := file.read(CHUNK_BYTES))
                ):
                    await send(socket, encode(TraceChunk(offset=sent, data=piece)))
                    sent += len(piece)

    def _next(self, trouble: str | None) -> None:
        """Remove the first file from the list: it has arrived, or is given up because of `trouble`."""
        job = self._waiting.popleft()
        self._failures = self._reached = 0
        if trouble is not None:
            self._give_up(job, trouble)
        else:
            self._forget(job)
            _logger.info("uploaded trace %s", job.name)

    def _give_up(self, job: TraceFileJob, why: str) -> None:
        text = as_text(f"trace {job.name} of step {job.step} is not on the server: {why}", MAX_TEXT_CHARS)
        _logger.warning("%s", text)
        self._report(Event(kind="trace_lost", level="error", time_ns=time.time_ns(), step=job.step, text=text))
        self._forget(job)

    def _forget(self, job: TraceFileJob) -> None:
        if self._folder is not None:
            self._note(job).unlink(missing_ok=True)

    def _note(self, job: TraceFileJob) -> Path:
        assert self._folder is not None
        return self._folder / f"trace-{job.time_ns:020d}.json"


async def _measure(path: Path) -> tuple[int, str]:
    """Return size and hex SHA-256 of a file; let the sender's other work run between chunks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(CHUNK_BYTES):
            digest.update(piece)
            await asyncio.sleep(0)
        return file.tell(), digest.hexdigest()
