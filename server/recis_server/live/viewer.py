"""One browser: its merged pending messages, and the loop that sends them.

Owns merging, rate limits, limits on outstanding requests and closing a browser that does not read; must not decide what
a browser is sent (see `hub`).
Bounded: one pending message per thing that can change (`MAX_WAITING` things), one state per watch. A browser that
falls behind gets fewer and newer messages; one that reads nothing for `STALL_S` is closed with 1013 and reconnects.
"""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Hashable
from typing import Any

from fastapi import WebSocket
from starlette.websockets import WebSocketDisconnect

from recis_server.errors import ServerError
from recis_server.live.watch import Watch
from recis_server.query.charts import read_chart
from recis_server.store.interface import Store

__all__ = ["Viewer", "as_text"]

MAX_WAITING = 20_000
MAX_REQUESTS = 320
"""What a browser may ask before what it asked before is answered: all follows and watches that it may have."""
STALL_S = 30.0
PACE_S = 0.1
_TOO_SLOW = 1013


def as_text(message: Any) -> str:
    """Return a message as text; text is returned unchanged."""
    return message if isinstance(message, str) else json.dumps(message, separators=(",", ":"), allow_nan=False)


class Viewer:
    """See the module.

    Args:
        websocket: accepted.
        store: where snapshots are read from.
        reads: held while one is read.
        stall_s: how long sending one message may take, in seconds.
    """

    def __init__(
        self, websocket: WebSocket, store: Store, reads: asyncio.Semaphore, *, stall_s: float = STALL_S
    ) -> None:
        self._websocket = websocket
        self._store = store
        self._reads = reads
        self._stall_s = stall_s
        self._waiting: dict[Hashable, dict[str, Any] | str] = {}
        self._passes: dict[str, list[dict[str, Any]]] = {}
        self._num_passes = 0
        self._num_errors = 0
        self._overrun = False
        self._wake = asyncio.Event()
        self._num_requests = 0
        self._told = asyncio.Event()
        self.watches: dict[int, Watch] = {}

    def wake(self) -> None:
        """Wake the sending loop."""
        self._wake.set()

    async def take_request(self) -> None:
        """Wait until another request may be read, so that requests do not outrun their answers.

        Return at once if there were few requests since everything was last sent.
        """
        self._num_requests += 1
        # Yield to the other tasks of the loop even if many requests arrived at once.
        await asyncio.sleep(0)
        while self._num_requests > MAX_REQUESTS:
            self._told.clear()
            self._wake.set()
            await self._told.wait()

    def push(self, thing: Hashable, message: dict[str, Any] | str) -> None:
        """Queue a message about `thing`, or its text; replace one that is still pending."""
        # The replacement goes to the end, so that it is never sent before earlier messages about other things.
        self._waiting.pop(thing, None)
        self._waiting[thing] = message
        self._check()

    def push_passes(self, run: str, passes: list[dict[str, Any]]) -> None:
        """Queue filter passes, all of which are sent; too many of them are an overrun."""
        waiting = self._passes.setdefault(run, [])
        waiting += passes
        self._waiting.setdefault(("passes", run), {"type": "passes", "run": run, "passes": waiting})
        self._num_passes += len(passes)
        self._check()

    def push_error(self, error: ServerError, *, watch_id: int | None = None) -> None:
        """Queue an error in the HTTP error format, with the watch it belongs to; every error is sent."""
        self._num_errors += 1
        message = {"type": "error", "error": {"code": error.code, "message": error.message, "field": error.field}}
        self.push(("error", self._num_errors), message if watch_id is None else {**message, "id": watch_id})

    async def run(self) -> None:
        """Send until the browser disconnects or stops reading."""
        try:
            while not self._overrun:
                await self._wake.wait()
                self._wake.clear()
                await self._flush()
                self._num_requests = 0
                self._told.set()
                await asyncio.sleep(PACE_S)
            reason = f"more than {MAX_WAITING} changes wait; connect again"
        except TimeoutError:
            reason = f"nothing was read for {self._stall_s:g} s; connect again"
        except WebSocketDisconnect:
            return
        with contextlib.suppress(TimeoutError, WebSocketDisconnect):
            await self._send(self._websocket.close(_TOO_SLOW, reason))

    async def _flush(self) -> None:
        waiting, self._waiting, self._passes, self._num_passes = self._waiting, {}, {}, 0
        for message in waiting.values():
            await self._send(self._websocket.send_text(as_text(message)))
        for watch in tuple(self.watches.values()):
            try:
                data = await self._read(watch) if watch.stale else watch.delta()
            except ServerError as error:
                self.watches.pop(watch.id, None)
                self.push_error(error, watch_id=watch.id)
                continue
            if data is not None and self.watches.get(watch.id) is watch:
                await self._send(self._websocket.send_bytes(data))
            if watch.stale:
                self.wake()

    async def _read(self, watch: Watch) -> bytes | None:
        async with self._reads:
            watch.begin()
            read = await read_chart(
                self._store,
                watch.run,
                watch.keys,
                "all" if watch.rank is None else watch.rank,
                watch.start,
                watch.stop,
                watch.points,
                superseded=watch.superseded,
            )
            return watch.snapshot(read)

    async def _send(self, sending: Awaitable[None]) -> None:
        async with asyncio.timeout(self._stall_s):
            await sending

    def _check(self) -> None:
        self._overrun = self._overrun or len(self._waiting) + self._num_passes > MAX_WAITING
        self._wake.set()
