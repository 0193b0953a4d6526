"""Profiler traces on their way to the server, each on a connection of its own.

Owns the list of files still to send (kept beside the spool, so that the next start or `sync` goes on), hashing and
the upload with resumption; must not know how a trace is made. Runs on the sender's thread, a piece at a time.
"""

import asyncio
import hashlib
import json
import logging
import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Annotated

import msgspec
from websockets.asyncio.client import ClientConnection

from recis.bridge.sockets import send
from recis.wire.codec import decode_trace, encode
from recis.wire.messages import MAX_TEXT_CHARS, Event, Refuse, TraceAck, TraceChunk, TraceOpen, TraceReply
from recis.wire.text import as_file_name, as_text

__all__ = ["TraceFileJob", "TraceUploads"]

CHUNK_BYTES = 256 << 10
WINDOW_CHUNKS = 4
MAX_WAITING = 256
_logger = logging.getLogger(__name__)
_Count = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]


class TraceFileJob(msgspec.Struct, frozen=True, kw_only=True):
    """A file to send; `rank` and `attempt` are those of the process that made it."""

    run: str
    attempt: str
    rank: _Count
    path: str
    name: str
    step: _Count
    time_ns: _Count


class TraceUploads:
    """Files in order of their making; at most `MAX_WAITING` wait, beyond that the oldest is given up with an event.

    Args:
        folder: where the list is kept across a crash; None keeps it in memory.
        report: takes an event for the run: a file that vanished, that was refused or given up.
    """

    def __init__(self, folder: Path | None, report: Callable[[Event], None]) -> None:
        self._folder = folder
        self._report = report
        self._waiting: deque[TraceFileJob] = deque()  # bounded in `add`
        if folder is not None:
            for note in sorted(folder.glob("trace-*.json")):
                try:
                    job = msgspec.convert(json.loads(note.read_bytes()), TraceFileJob)
                    if self._note(job) != note:
                        raise ValueError(f"expected the note of a trace of {note.name}, got one of {job.time_ns}")
                    self._waiting.append(job)
                except ValueError as error:
                    _logger.warning("a trace is not sent, its note %s is not whole: %s", note, error)

    def __len__(self) -> int:
        """How many files still wait."""
        return len(self._waiting)

    def add(self, job: TraceFileJob) -> None:
        """Takes a finished file; called on any thread, costs one small file."""
        if self._folder is not None:
            # Not by msgspec: a path need not be valid text.
            self._note(job).write_text(json.dumps(msgspec.to_builtins(job)), encoding="ascii")
        if len(self._waiting) >= MAX_WAITING:
            self._give_up(self._waiting.popleft(), f"more than {MAX_WAITING} traces were waiting")
        self._waiting.append(job)

    async def send_next(self, connect: Callable[[], AbstractAsyncContextManager[ClientConnection]]) -> None:
        """Uploads the oldest file over a connection that `connect` opens.

        Raises:
            OSError, WebSocketException: the connection failed; the file stays first in the list.
        """
        job = self._waiting[0]
        path = Path(job.path)
        try:
            size, digest = await _measure(path)
        except OSError as error:
            self._give_up(self._waiting.popleft(), f"it vanished before upload: expected the file at {path} ({error})")
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
        async with connect() as socket:
            refusal = await _upload(socket, opening, path)
        self._waiting.popleft()
        if refusal is not None:
            self._give_up(job, f"the server refused it: {refusal}")
        else:
            self._forget(job)
            _logger.info("uploaded trace %s (%d bytes)", job.name, size)

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
    """Bytes and hex SHA-256 of a file; lets the sender's other work run between pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(CHUNK_BYTES):
            digest.update(piece)
            await asyncio.sleep(0)
        return file.tell(), digest.hexdigest()


async def _upload(socket: ClientConnection, opening: TraceOpen, path: Path) -> str | None:
    """Sends the file from where the server wants it; returns why it was refused, None when it arrived."""
    await send(socket, encode(opening))
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
                    raise ConnectionError(text)
                case TraceAck(offset=offset):
                    acked = offset
                    if sent is None:
                        sent = offset
                        file.seek(offset)
            while sent is not None and sent - acked < WINDOW_CHUNKS * CHUNK_BYTES and (piece := file.read(CHUNK_BYTES)):
                await send(socket, encode(TraceChunk(offset=sent, data=piece)))
                sent += len(piece)
