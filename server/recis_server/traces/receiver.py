"""Trace files on their way in: kept in parts beside the data, made visible when the hash of the whole matches.

Owns the partial files, resumption and the row of a finished trace; must not know sockets or what a trace says. A
partial file is named by a digest of (run, rank, name, hash), so nothing from outside becomes a path, and an upload goes
on where it was cut, also after a restart of the server.

    receiver = TraceReceiver(store, blobs, bus, folder)     # app.state.traces; `open` and `close` in the lifespan
"""

import asyncio
import functools
import hashlib
import logging
import time
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from weakref import WeakValueDictionary

from recis.wire.codec import WireError
from recis.wire.messages import TraceChunk, TraceOpen
from recis_server.blobs import Blobs
from recis_server.bus import Bus, Hint
from recis_server.errors import ServerError, StoreUnavailable
from recis_server.store.interface import Store
from recis_server.store.values import TraceRow
from recis_server.traces.digest import DigestError, digest_apart

__all__ = ["HashMismatchError", "TraceReceiver", "Upload"]

_logger = logging.getLogger(__name__)

MAX_BYTES = 2 << 30
STALE_S = 7 * 86_400.0
_READ_BYTES = 1 << 20
MAX_UNDIGESTED = 256
"""Traces waiting for their summary; beyond that a trace is listed without one."""


class HashMismatchError(ServerError):
    """The whole file is here and is another one than was announced; `resumed`: an earlier part may be at fault."""

    code = "hash"
    status = 422

    def __init__(self, message: str, *, resumed: bool) -> None:
        super().__init__(message)
        self.resumed = resumed


class Upload:
    """One file arriving over one connection; made by `TraceReceiver.begin`, `write` in order, then `finish`.

    Attributes:
        offset: bytes that are on disk, of `opening.size`.
    """

    def __init__(self, opening: TraceOpen, path: Path) -> None:
        self.opening = opening
        self.path = path
        self.offset = 0
        self.resumed = False
        self._sha = hashlib.sha256()

    @property
    def complete(self) -> bool:
        """Whether all bytes are here."""
        return self.offset == self.opening.size

    def resume(self) -> None:
        """Reads what an earlier upload left, to go on with its hash; blocks, for a worker thread."""
        self.path.touch()
        if self.path.stat().st_size > self.opening.size:
            self.path.write_bytes(b"")
        with self.path.open("rb") as file:
            while piece := file.read(_READ_BYTES):
                self._sha.update(piece)
                self.offset += len(piece)
        self.resumed = self.offset > 0

    def write(self, data: bytes) -> None:
        """Appends to the partial file; blocks, for a worker thread."""
        with self.path.open("r+b") as file:
            file.seek(self.offset)
            file.write(data)
        self._sha.update(data)
        self.offset += len(data)

    def matches(self) -> bool:
        """Whether the bytes are those that were announced."""
        return self._sha.hexdigest() == self.opening.sha256


class TraceReceiver:
    """All uploads.

    Args:
        store: gets a row for every finished trace.
        blobs: gets its bytes.
        bus: hears of it.
        folder: for partial files; created when missing.
        max_bytes: largest trace taken.
        clock: Unix time in nanoseconds.
    """

    def __init__(
        self,
        store: Store,
        blobs: Blobs,
        bus: Bus,
        folder: Path,
        *,
        max_bytes: int = MAX_BYTES,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._bus = bus
        self._folder = folder
        self._max_bytes = max_bytes
        self._clock = clock
        self._active: dict[Path, Upload] = {}
        self._locks: WeakValueDictionary[Path, asyncio.Lock] = WeakValueDictionary()
        self._undigested: deque[tuple[TraceRow, Path]] = deque()  # bounded in `finish`
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Creates the folder and removes partial files that nobody has gone on with for a week."""
        removed = await asyncio.to_thread(self._clean)
        if removed:
            _logger.info("removed %d trace files that were never finished", removed)
        self._task = asyncio.create_task(self._digest_all(), name="trace-digest")

    async def close(self) -> None:
        """Stops summarising; safe to call twice."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def begin(self, opening: TraceOpen) -> Upload | TraceRow:
        """Where to go on, or the trace when it is here already. A newer upload of the same file ends an older one.

        Raises:
            WireError: too large.
            StoreUnavailable: the run is not known yet, or the disk cannot be written.
        """
        if opening.size > self._max_bytes:
            raise WireError(
                "too_large",
                f"expected a trace of at most {self._max_bytes} bytes (profile fewer steps), got {opening.size}",
                "$.size",
            )
        if max(opening.rank, abs(opening.step), abs(opening.time_ns)) >= 1 << 63:
            raise WireError("malformed", "expected rank, step and time_ns within 64 bits", "$.step")
        if await self._store.run(opening.run) is None:
            raise StoreUnavailable(f"there is no run {opening.run} yet; its connection to /ws/ingest comes first")
        known = await self._find(opening)
        if known is not None:
            return known
        path = self._folder / f"{_identity(opening)}.part"
        async with self._lock(path):
            upload = Upload(opening, path)
            await _on_disk(upload.resume)
            self._active[path] = upload
        return upload

    async def write(self, upload: Upload, chunk: TraceChunk) -> int:
        """Takes the next bytes and returns how many there are; bytes that were taken before are passed over.

        Raises:
            WireError: a gap, or more than was announced; or another connection has taken over.
            StoreUnavailable: the disk cannot be written.
        """
        async with self._lock(upload.path):
            self._check_active(upload)
            if chunk.offset > upload.offset:
                raise WireError("malformed", f"expected offset {upload.offset}, got {chunk.offset}", "$.offset")
            data = chunk.data[upload.offset - chunk.offset :]
            if upload.offset + len(data) > upload.opening.size:
                raise WireError(
                    "malformed",
                    f"expected at most the announced {upload.opening.size} bytes, got {upload.offset + len(data)}",
                    "$.data",
                )
            if data:
                await _on_disk(functools.partial(upload.write, data))
        return upload.offset

    async def finish(self, upload: Upload) -> TraceRow:
        """Checks the hash, keeps the file and lists the trace; it can be downloaded when this returns.

        Raises:
            HashMismatchError: what was kept is discarded.
            StoreUnavailable: it could not be kept; the partial file stays.
        """
        async with self._lock(upload.path):
            self._check_active(upload)
            opening = upload.opening
            if not upload.matches():
                upload.path.unlink()
                raise HashMismatchError(
                    f"expected SHA-256 {opening.sha256} over {opening.size} bytes of {opening.name[:80]!r}, "
                    "got another one; what was kept is discarded",
                    resumed=upload.resumed,
                )
            known = await self._find(opening)  # over two connections at once, the other one may have been first
            row = known or await self._keep(upload)
            if known is None and len(self._undigested) < MAX_UNDIGESTED:
                self._undigested.append((row, upload.path.rename(upload.path.with_name(f"{row.id}.whole"))))
                self._wake.set()
            else:
                upload.path.unlink()
        self.end(upload)
        self._bus.publish(Hint("trace", row.run, row.id))
        return row

    def end(self, upload: Upload) -> None:
        """The upload's connection is gone; the partial file stays for the next one."""
        if self._active.get(upload.path) is upload:
            del self._active[upload.path]

    async def discard(self, run: str) -> None:
        """Removes what has arrived of the run's unfinished traces."""
        paths = await asyncio.to_thread(lambda: list(self._folder.glob(f"{_digest(run)}-*.part")))
        for path in paths:
            async with self._lock(path):
                self._active.pop(path, None)
                path.unlink(missing_ok=True)

    async def _keep(self, upload: Upload) -> TraceRow:
        opening = upload.opening
        run = await self._store.run(opening.run)
        if run is None:
            raise StoreUnavailable(f"run {opening.run} was deleted while its trace arrived")
        trace_id = uuid.uuid4().hex
        row = TraceRow(
            id=trace_id,
            run=opening.run,
            name=opening.name,
            rank=opening.rank,
            attempt=run.attempts,
            step=opening.step,
            size=opening.size,
            sha256=opening.sha256,
            state="ready",
            created_ns=opening.time_ns or self._clock(),
            blob=f"traces/{trace_id}",
        )
        await self._blobs.put(row.blob, upload.path)
        try:
            await self._store.put_trace(row)
        except ServerError:
            await self._blobs.delete(row.blob)
            raise
        return row

    async def _digest_all(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._undigested:
                row, path = self._undigested.popleft()
                try:
                    summary = await digest_apart(path)
                    await self._store.put_trace(replace(row, summary=summary))
                    self._bus.publish(Hint("trace", row.run, row.id))
                except (DigestError, OSError, ServerError) as error:
                    _logger.warning("trace %r of run %s has no summary: %s", row.name[:80], row.run, error)
                finally:
                    path.unlink(missing_ok=True)

    async def _find(self, opening: TraceOpen) -> TraceRow | None:
        for row in await self._store.traces(opening.run):
            wanted = (opening.rank, opening.name, opening.sha256, "ready")
            if (row.rank, row.name, row.sha256, row.state) == wanted:
                return row
        return None

    def _check_active(self, upload: Upload) -> None:
        if self._active.get(upload.path) is not upload:
            raise WireError("superseded", "another connection uploads the same trace")

    def _lock(self, path: Path) -> asyncio.Lock:
        lock = self._locks.get(path)
        if lock is None:
            lock = self._locks[path] = asyncio.Lock()
        return lock

    def _clean(self) -> int:
        self._folder.mkdir(parents=True, exist_ok=True)
        oldest_s = self._clock() / 1e9 - STALE_S
        stale = [path for path in self._folder.glob("*.part") if path.stat().st_mtime < oldest_s]
        stale += self._folder.glob("*.whole")
        for path in stale:
            path.unlink()
        return len(stale)


def _identity(opening: TraceOpen) -> str:
    text = "\n".join((opening.run, str(opening.rank), opening.sha256, str(opening.size), opening.name))
    return f"{_digest(opening.run)}-{_digest(text)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


async def _on_disk(work: Callable[[], None]) -> None:
    """Runs `work` on a worker thread; a disk that fails is unavailable."""
    try:
        await asyncio.to_thread(work)
    except OSError as error:
        raise StoreUnavailable(f"the trace could not be written: {error}") from error
