"""Trace files on their way in: kept in parts beside the data, made visible when the hash of the whole matches.

Owns the partial files, resumption and the row of a finished trace; must not know sockets or what a trace says. A
partial file is named by a digest of (run, rank, name, hash), so nothing from outside becomes a path, and an upload
continues where it was interrupted, also after a restart of the server, and at another server that shares the store
(`parts`). A file that is being copied into the blobs already has a row, `uploading`, by which a later server finds what
a killed one has left.

    receiver = TraceReceiver(store, blobs, bus, folder)     # app.state.traces; `open` and `close` in the lifespan
"""

import asyncio
import contextlib
import functools
import hashlib
import logging
import math
import time
import uuid
from collections.abc import Callable, Sequence
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
from recis_server.traces.parts import PART_BYTES, PartName, SharedParts
from recis_server.traces.summaries import Summaries

__all__ = ["HashMismatchError", "TraceReceiver", "Upload"]

_logger = logging.getLogger(__name__)

MAX_BYTES = 2 << 30
STALE_S = 7 * 86_400.0
_READ_BYTES = 1 << 20
SWEEP_S = 3600.0
MAX_ACTIVE = 256
MAX_OF_RUN = 64
"""Most uploads at once, in all and of one run; a further one is asked to try again later. A run also keeps at most this
many partial files that nobody is sending; beyond that, the one written longest ago is removed."""
_SHARED_AT_ONCE = 2
"""Parts in memory at once, over all uploads."""
_RESUMED_AT_ONCE = 2
"""Partial files hashed at once when uploads resume: each may be gigabytes, and others need the disk and the threads."""


class HashMismatchError(ServerError):
    """The whole file is here and is another one than was announced; `resumed`: an earlier part may be at fault."""

    code = "hash"
    status = 422

    def __init__(self, message: str, *, resumed: bool) -> None:
        super().__init__(message)
        self.resumed = resumed


class Upload:
    """One file arriving over one connection; created by `TraceReceiver.begin`, `write` in order, then `finish`.

    Attributes:
        parts: names the parts that servers share.
        offset: bytes on disk, of `opening.size`.
        num_shared: number of parts that other servers have, too.
    """

    def __init__(self, opening: TraceOpen, path: Path) -> None:
        self.opening = opening
        self.path = path
        self.parts = PartName(*path.stem.split("-"))
        self.offset = 0
        self.num_shared = 0
        self.resumed = False
        self._sha = hashlib.sha256()

    @property
    def complete(self) -> bool:
        """Return whether all bytes have arrived."""
        return self.offset == self.opening.size

    def resume(self) -> None:
        """Read the data of an earlier upload to continue its hash; blocks, for a worker thread."""
        self.path.touch()
        if self.path.stat().st_size > self.opening.size:
            self.path.write_bytes(b"")
        with self.path.open("rb") as file:
            while piece := file.read(_READ_BYTES):
                self._sha.update(piece)
                self.offset += len(piece)
        self.resumed = self.offset > 0

    def write(self, data: bytes) -> None:
        """Append to the partial file; blocks, for a worker thread."""
        with self.path.open("r+b") as file:
            file.seek(self.offset)
            file.write(data)
        self._sha.update(data)
        self.offset += len(data)

    def part(self, number: int) -> bytes:
        """Return a whole part of what has arrived; blocks, for a worker thread."""
        with self.path.open("rb") as file:
            file.seek(number * PART_BYTES)
            return file.read(PART_BYTES)

    def matches(self) -> bool:
        """Return whether the bytes match the announced hash."""
        return self._sha.hexdigest() == self.opening.sha256


class TraceReceiver:
    """All uploads.

    Args:
        store: receives a row for every finished trace.
        blobs: receives its bytes.
        bus: is notified of it.
        folder: for partial files; created if missing.
        max_bytes: size of the largest trace accepted.
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
        self._resuming = asyncio.Semaphore(_RESUMED_AT_ONCE)
        self._sharing = asyncio.Semaphore(_SHARED_AT_ONCE)
        self._unsure: set[str] = set()  # traces that could not be stored, whose rows and blobs may be left over
        self._parts = SharedParts(blobs, is_shared=bus.has_peers)
        self._summaries = Summaries(store, blobs, bus)
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Create the folder, remove what a killed server has left, and start summarising.

        Raises:
            StoreError: the parts that servers share cannot be listed.
        """
        await self._parts.check()
        await asyncio.to_thread(functools.partial(self._folder.mkdir, parents=True, exist_ok=True))
        await self._sweep(await self._store.unfinished_traces())
        self._task = asyncio.create_task(self._sweep_often(), name="trace-sweep")
        await self._summaries.open()

    async def close(self) -> None:
        """Stop sweeping and summarising; safe to call twice."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        await self._summaries.close()

    async def _sweep(self, unfinished: Sequence[TraceRow]) -> None:
        """Remove partial files that have not grown for a week, and the traces in `unfinished`."""
        removed = await asyncio.to_thread(self._remove_stale)
        with contextlib.suppress(StoreUnavailable):  # logged; nothing else depends on it
            removed += await self._parts.sweep(self._clock() / 1e9 - STALE_S)
        for row in unfinished:
            async with self._store.lease(f"trace {row.id}") as is_granted:
                if is_granted:  # no other server is keeping it at this moment
                    await self._drop(row)
                    removed += 1
        if removed:
            _logger.info("removed %d trace files that were never finished", removed)

    async def _sweep_often(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            try:
                unsure = frozenset(self._unsure)  # other unfinished traces are being kept at this moment
                await self._sweep([row for row in await self._store.unfinished_traces() if row.id in unsure])
                self._unsure -= unsure
            except (ServerError, OSError) as error:
                _logger.warning("could not remove leftovers of traces: %s", error)

    async def begin(self, opening: TraceOpen) -> Upload | TraceRow:
        """Return where to continue, or the trace if it is stored already. A newer upload of a file ends an older one.

        Raises:
            WireError: too large.
            StoreUnavailable: the attempt is not known yet, too many uploads are in progress, or the disk cannot be
                written.
        """
        if opening.size > self._max_bytes:
            raise WireError(
                "too_large",
                f"expected a trace of at most {self._max_bytes} bytes (profile fewer steps), got {opening.size}",
                "$.size",
            )
        if await self._store.attempt(opening.run, opening.attempt) is None:
            raise StoreUnavailable(
                f"there is no run {opening.run} with an attempt {opening.attempt} yet;"
                " its connection to /ws/ingest comes first"
            )
        known = await self._find(opening)
        if known is not None:
            return known
        path = self._folder / f"{_identity(opening)}.part"
        async with self._lock(path):
            self._check_room(opening.run, path)
            upload = Upload(opening, path)
            self._active[path] = upload  # counts from here on, and replaces an older upload of the file
            try:
                async with self._resuming:
                    await _on_disk(functools.partial(self._make_room, opening.run, path))
                    await _on_disk(upload.resume)
                    await self._fetch(upload)
            except BaseException:
                self.end(upload)
                raise
        return upload

    def _check_room(self, run: str, path: Path) -> None:
        others = [upload for one, upload in self._active.items() if one != path]
        of_run = sum(upload.opening.run == run for upload in others)
        if len(others) >= MAX_ACTIVE or of_run >= MAX_OF_RUN:
            raise StoreUnavailable(
                f"expected at most {MAX_OF_RUN} uploads of a run and {MAX_ACTIVE} of all runs at once; try again later"
            )

    def _make_room(self, run: str, path: Path) -> None:
        """Remove the run's oldest partial files beyond the bound, except those being sent; blocks."""
        idle = [one for one in self._folder.glob(f"{_digest(run)}-*.part") if one != path and one not in self._active]
        for one in sorted(idle, key=_touched_s)[: len(idle) - MAX_OF_RUN + 1]:
            _logger.warning("run %s: removed a partial trace: there are more than %d", run, MAX_OF_RUN)
            one.unlink(missing_ok=True)

    async def _fetch(self, upload: Upload) -> None:
        """Continue the partial file with the parts that other servers have received."""
        upload.num_shared = await self._parts.count(upload.parts)
        stop = min(upload.num_shared * PART_BYTES, upload.opening.size)
        skip = upload.offset % PART_BYTES
        async for piece in self._parts.fetch(upload.parts, upload.offset // PART_BYTES, upload.num_shared):
            data = piece[skip : skip + stop - upload.offset]
            skip -= len(piece) - len(piece[skip:])
            if data:
                await _on_disk(functools.partial(upload.write, data))
                upload.resumed = True

    async def write(self, upload: Upload, chunk: TraceChunk) -> int:
        """Write the next bytes and return their number; skip bytes that were received before.

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
            while self._parts.is_due(upload.num_shared, upload.offset):
                async with self._sharing:
                    part = await asyncio.to_thread(upload.part, upload.num_shared)
                    await self._parts.share(upload.parts, upload.num_shared, part)
                upload.num_shared += 1
        return upload.offset

    async def finish(self, upload: Upload) -> TraceRow:
        """Check the hash, store the file and list the trace, which can then be downloaded.

        Raises:
            HashMismatchError: the data received is discarded.
            StoreUnavailable: it could not be stored; the partial file stays.
        """
        async with self._lock(upload.path):
            self._check_active(upload)
            opening = upload.opening
            if not upload.matches():
                await self._forget(upload)
                raise HashMismatchError(
                    f"expected SHA-256 {opening.sha256} over {opening.size} bytes of {opening.name[:80]!r}, "
                    "got another one; the data was discarded",
                    resumed=upload.resumed,
                )
            async with self._store.lease(f"upload {upload.path.stem}") as is_granted:
                if not is_granted:
                    raise StoreUnavailable("the trace is being stored by another server; try again in a moment")
                # Over two connections at once, the other one may have been first.
                row = await self._find(opening) or await self._keep(upload)
            await self._forget(upload)
        self.end(upload)
        self._bus.publish(Hint("trace", row.run, row.id))
        self._summaries.wake()
        return row

    async def _forget(self, upload: Upload) -> None:
        upload.path.unlink(missing_ok=True)
        await self._parts.remove(upload.parts, upload.num_shared)

    def end(self, upload: Upload) -> None:
        """End the upload after its connection is lost; the partial file stays for the next one."""
        if self._active.get(upload.path) is upload:
            del self._active[upload.path]

    async def discard(self, run: str) -> None:
        """Remove the partial files of the run, and the parts that servers share."""
        with contextlib.suppress(StoreUnavailable):  # logged; a sweep removes them
            await self._parts.discard(_digest(run))
        paths = await asyncio.to_thread(lambda: list(self._folder.glob(f"{_digest(run)}-*.part")))
        for path in paths:
            async with self._lock(path):
                self._active.pop(path, None)
                path.unlink(missing_ok=True)

    async def _keep(self, upload: Upload) -> TraceRow:
        opening = upload.opening
        attempt = await self._store.attempt(opening.run, opening.attempt)
        if attempt is None:
            raise StoreUnavailable(f"run {opening.run} was deleted while its trace arrived")
        trace_id = uuid.uuid4().hex
        row = TraceRow(
            id=trace_id,
            run=opening.run,
            name=opening.name,
            rank=opening.rank,
            attempt=attempt,
            step=opening.step,
            size=opening.size,
            sha256=opening.sha256,
            state="uploading",
            created_ns=opening.time_ns or self._clock(),
            blob=f"traces/{trace_id}",
        )
        ready = replace(row, state="ready")
        try:
            async with self._store.lease(f"trace {trace_id}"):
                await self._store.put_trace(row)
                await self._put(row, upload.path)
                # This may fail although the row was changed: the next upload finds the trace, or the next sweep removes
                # it.
                known = await self._store.update_trace(ready)
        except ServerError:
            self._unsure.add(row.id)
            raise
        if not known:
            await self._blobs.delete(row.blob)
            raise StoreUnavailable(f"run {opening.run} was deleted while its trace arrived")
        return ready

    async def _put(self, row: TraceRow, path: Path) -> None:
        try:
            await self._blobs.put(row.blob, path)
        except StoreUnavailable:
            with contextlib.suppress(ServerError):  # a part of the copy takes space that may be short
                await self._drop(row)
            raise

    async def _drop(self, row: TraceRow) -> None:
        """Remove a trace, the file first: as long as the row is there, a sweep finds what is left."""
        await self._blobs.delete(row.blob)
        await self._store.delete_trace(row)

    async def _find(self, opening: TraceOpen) -> TraceRow | None:
        return await self._store.find_trace(opening.run, opening.rank, opening.name, opening.sha256)

    def _check_active(self, upload: Upload) -> None:
        if self._active.get(upload.path) is not upload:
            raise WireError("superseded", "another connection is uploading the same trace")

    def _lock(self, path: Path) -> asyncio.Lock:
        lock = self._locks.get(path)
        if lock is None:
            lock = self._locks[path] = asyncio.Lock()
        return lock

    def _remove_stale(self) -> int:
        oldest_s = self._clock() / 1e9 - STALE_S
        stale = [path for path in self._folder.glob("*.part") if _touched_s(path) < oldest_s]
        stale += self._folder.glob("*.whole")  # earlier versions kept a copy for the summary
        removed = 0
        for path in stale:
            if path not in self._active:
                try:
                    path.unlink(missing_ok=True)
                    removed += 1
                except OSError as error:  # for example, of a folder; the server does not need it
                    _logger.warning("could not remove what is left of a trace: %s", error)
        return removed


def _identity(opening: TraceOpen) -> str:
    text = "\n".join((opening.run, str(opening.rank), opening.sha256, str(opening.size), opening.name))
    return f"{_digest(opening.run)}-{_digest(text)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _touched_s(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # finished or discarded in the meantime
        return math.inf


async def _on_disk(work: Callable[[], None]) -> None:
    """Run `work` on a worker thread; report a failing disk as unavailable."""
    try:
        await asyncio.to_thread(work)
    except OSError as error:
        _logger.warning("a trace could not be written: %s", error)
        raise StoreUnavailable(f"the trace could not be written: {error.strerror}") from error
