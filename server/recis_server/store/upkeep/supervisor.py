"""The process beside the server that compacts, deletes and cleans its store.

Owns the child: starts it, starts it again when it ends, ends it. A process of its own, because encoding would take the
interpreter's lock from ingest. What it does is in `worker`; must not know tables.
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
    """See the module.

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
        """Starts the child, on the event loop that runs; it works on the database of `anchor` and on no other."""
        self._anchor = anchor
        self._task = asyncio.create_task(self._run(), name="store-upkeep")

    async def close(self) -> None:
        """Lets the child finish what it is at and ends it; safe to call twice."""
        task, self._task = self._task, None
        if task is None:
            return
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    @property
    def pid(self) -> int | None:
        """The child's process number, None while there is none."""
        return None if self._child is None else self._child.pid

    async def _run(self) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            began = asyncio.get_running_loop().time()
            code = await self._run_once()
            if asyncio.get_running_loop().time() - began > LAST_PAUSE_S:
                pause_s = FIRST_PAUSE_S
            _logger.warning("the store's upkeep ended with %s; it starts again in %.1f s", code, pause_s)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LAST_PAUSE_S)

    async def _run_once(self) -> int:
        # The URL may hold a password: it goes through the pipe, not on the command line that everybody can read.
        order = json.dumps({"url": self._url, "retention": asdict(self._retention), "anchor": self._anchor})
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "recis_server.store.upkeep.worker", stdin=asyncio.subprocess.PIPE
        )
        self._child = child
        assert child.stdin is not None
        try:
            with contextlib.suppress(ConnectionError):
                child.stdin.write(order.encode() + b"\n")
                await child.stdin.drain()
            return await child.wait()
        finally:
            self._child = None
            if child.returncode is None:
                # The end of its input tells it to finish; a server that is killed says it in the same way.
                child.stdin.close()
                try:
                    await asyncio.wait_for(child.wait(), END_S)
                except TimeoutError:
                    child.kill()
                    await child.wait()
