"""The supervisor of the maintenance worker, the process that compacts, deletes and cleans a store.

Owns the child process: starts it, restarts it when it ends, ends it. A process of its own, because encoding would take
the interpreter's lock from ingest. `worker` defines what it does; must not know tables.
"""

import asyncio
import contextlib
import json
import logging
import sys
from dataclasses import asdict

from recis_server.store.engines.engine import Anchor
from recis_server.store.upkeep.retention import Retention

__all__ = ["MaintenanceSupervisor"]

_logger = logging.getLogger(__name__)
FIRST_PAUSE_S = 0.5
LAST_PAUSE_S = 30.0
END_S = 20.0


class MaintenanceSupervisor:
    """Starts, restarts and ends the maintenance worker of a store.

    Args:
        url: the store, as for `open_store`.
        retention: how long raw points are kept.
    """

    def __init__(self, url: str, retention: Retention) -> None:
        self._url = url
        self._retention = retention
        self._anchor: Anchor | None = None
        self._child: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None

    def open(self, anchor: Anchor) -> None:
        """Start the child, on the current event loop; it works on the database of `anchor` and no other."""
        self._anchor = anchor
        self._task = asyncio.create_task(self._run(), name="store-maintenance")

    async def close(self) -> None:
        """Let the child finish its current transaction and end it; safe to call twice."""
        task, self._task = self._task, None
        if task is None:
            return
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    @property
    def pid(self) -> int | None:
        """Return the process ID of the child, None if there is none."""
        return None if self._child is None else self._child.pid

    async def _run(self) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            began = asyncio.get_running_loop().time()
            code = await self._run_once()
            if asyncio.get_running_loop().time() - began > LAST_PAUSE_S:
                pause_s = FIRST_PAUSE_S
            _logger.warning("the maintenance worker exited with code %s; restarting in %.1f s", code, pause_s)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LAST_PAUSE_S)

    async def _run_once(self) -> int:
        # The URL may contain a password, so it is sent through the pipe: command lines are public.
        order = json.dumps({"url": self._url, "retention": asdict(self._retention), "anchor": self._anchor})
        starting = asyncio.create_task(
            asyncio.create_subprocess_exec(
                sys.executable, "-m", "recis_server.store.upkeep.worker", stdin=asyncio.subprocess.PIPE
            )
        )
        try:
            child = await asyncio.shield(starting)
        except asyncio.CancelledError:
            # The server ends while the child starts, for example because another part cannot be opened.
            await _end(await starting)
            raise
        self._child = child
        assert child.stdin is not None
        try:
            with contextlib.suppress(ConnectionError):
                child.stdin.write(order.encode() + b"\n")
                await child.stdin.drain()
            return await child.wait()
        finally:
            self._child = None
            await _end(child)


async def _end(child: asyncio.subprocess.Process) -> None:
    """End a child that still runs.

    It ends at the end of its input, which is also how it notices a server that was killed.
    """
    if child.returncode is not None:
        return
    assert child.stdin is not None
    child.stdin.close()
    try:
        await asyncio.wait_for(child.wait(), END_S)
    except TimeoutError:
        child.kill()
        await child.wait()
