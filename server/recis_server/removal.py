"""Removal of runs: at once, or after a grace period in which it can be undone.

Owns the order in which files and rows of a run are removed, and the wait for the end of grace periods, which the store
remembers across restarts; must not know HTTP.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from weakref import WeakValueDictionary

from recis_server.blobs import Blobs
from recis_server.bus import Bus, Hint
from recis_server.errors import Busy, Conflict, NotFound, ServerError
from recis_server.ingest.presence import Presence
from recis_server.query.runs import no_run
from recis_server.store.interface import Store
from recis_server.store.values import RunRow

__all__ = ["MAX_GRACE_S", "RunRemoval"]

MAX_GRACE_S = 86_400
PATIENCE_S = 5.0
"""How long to wait for another server that is removing the same run."""
LOOK_S = 60.0
"""The longest wait before looking again, in case the clock was set; also the pause after a failure."""

_logger = logging.getLogger(__name__)


class RunRemoval:
    """See the module; used on the event loop.

    Args:
        store: has the runs.
        blobs: has the files of their traces.
        bus: is told what is removed and restored.
        presence: knows which runs are connected.
        discard_uploads: removes the partial files of a run's traces.
    """

    def __init__(
        self,
        store: Store,
        blobs: Blobs,
        bus: Bus,
        presence: Presence,
        discard_uploads: Callable[[str], Awaitable[None]],
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._bus = bus
        self._presence = presence
        self._discard_uploads = discard_uploads
        self._wake = asyncio.Event()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Start waiting for the grace periods known to the store."""
        self._task = asyncio.create_task(self._work(), name="run-removal")

    async def close(self) -> None:
        """Stop; the store keeps what is due. Safe to call twice."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def remove(self, run: str, grace_s: int = 0) -> int | None:
        """Remove a run; with a grace period hide it, and return when its removal becomes final.

        Raises:
            Conflict: the run is connected.
            NotFound: there is no such run.
        """
        if self._presence.connected(run):
            raise Conflict(f"run {run} is connected; expected a run whose training has ended")
        final_ns: int | None = None
        if grace_s == 0:
            async with self._alone(run):
                await self._purge(run)
        else:
            final_ns = time.time_ns() + grace_s * 10**9
            if not await self._store.hide_run(run, final_ns):
                raise no_run(run)
            self._wake.set()
        self._bus.publish(Hint("deleted", run))
        return final_ns

    async def restore(self, run: str) -> RunRow:
        """Return a hidden run to all lists.

        Raises:
            NotFound: the run is not hidden: it was not deleted, or its removal is final.
        """
        # Exclusively, so that a run whose removal has begun is not restored without its files.
        async with self._alone(run):
            row = await self._store.restore_run(run)
        if row is None:
            raise NotFound(f"there is no deleted run {run[:200]!r} that can be restored")
        self._bus.publish(Hint("run", run))
        return row

    @contextlib.asynccontextmanager
    async def _alone(self, run: str) -> AsyncIterator[None]:
        """Exclude all servers from removing a run for the duration of a block.

        Raises:
            Busy: another server is removing it for longer than `PATIENCE_S`.
        """
        async with self._locks.setdefault(run, asyncio.Lock()):
            deadline = time.monotonic() + PATIENCE_S
            while True:
                async with self._store.lease(f"removal of {run}") as is_granted:
                    if is_granted:
                        yield
                        return
                if time.monotonic() > deadline:
                    raise Busy(f"run {run} is being removed by another server; try again in a moment")
                await asyncio.sleep(0.05)

    async def _purge(self, run: str) -> None:
        # The files first: a server that is killed in between still knows the run, so that this can be repeated.
        for trace in await self._store.traces(run):
            if trace.blob:
                await self._blobs.delete(trace.blob)
        for blob in await self._store.delete_run(run):
            await self._blobs.delete(blob)
        await self._discard_uploads(run)

    async def _work(self) -> None:
        while True:
            self._wake.clear()
            try:
                pause_s = await self._purge_due()
            except ServerError as error:
                _logger.warning("deleted runs: retrying in %.0f s: %s", LOOK_S, error)
                pause_s = LOOK_S
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._wake.wait()

    async def _purge_due(self) -> float:
        """Purge the runs whose grace period is over; return the seconds until there may be another."""
        pause_s = LOOK_S
        for one in await self._store.hidden_runs():
            left_s = (one.final_ns - time.time_ns()) / 1e9
            if left_s > 0:
                return min(pause_s, left_s)
            try:
                async with self._alone(one.id):
                    # Again, because it may have been restored meanwhile.
                    if one in await self._store.hidden_runs():
                        await self._purge(one.id)
            except Exception:  # boundary: a failing run must not delay the others
                _logger.exception("deleting run %s failed; retrying in %.0f s", one.id, LOOK_S)
        return pause_s
