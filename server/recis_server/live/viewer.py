"""One browser: the messages that wait for it, the channels that it watches, and writing them to its socket.

Owns merging, the limit on outstanding requests and ending a browser that does not read; must not decide what a browser
is sent (see `hub`) or when (see `fanout`).
Bounded: one pending message per thing that can change (`MAX_WAITING` things), one number per channel. A browser that
falls behind gets fewer and newer messages; one that reads nothing for `STALL_S` is closed with 1013 and reconnects.
"""

import asyncio
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from recis_server.errors import ServerError
from recis_server.live.messages import text_message

__all__ = ["Outlet", "Source", "Viewer"]

MAX_WAITING = 20_000
MAX_REQUESTS = 320
"""Requests of a browser that may be unanswered: all follows and watches that it may have."""
STALL_S = 30.0
_MAX_JOINED = 1 << 16


class Outlet(Protocol):
    """The socket of a browser."""

    def is_ready(self) -> bool:
        """Return whether the client reads what is written."""

    def write(self, frames: bytes) -> None:
        """Send whole WebSocket frames; ignore them after the end."""


class Source(Protocol):
    """What a browser collects numbered messages from, see `channel` and `run_lists`."""

    @property
    def number(self) -> int:
        """The number of the newest message."""

    def collect(self, seen: int | None, watch_id: int) -> tuple[Sequence[bytes], int] | None:
        """Return the frames after the message `seen`, and what is seen then; None if there is nothing yet."""


@dataclass(slots=True)
class _Subscription:
    source: Source
    seen: int | None = None
    is_waiting: bool = False


class Viewer:
    """A connected browser and the messages that wait for it.

    Args:
        outlet: where messages go.
        mark: called with this viewer when it has something to send.
        stall_s: how long it may read nothing, in seconds.
    """

    def __init__(self, outlet: Outlet, mark: "Callable[[Viewer], None]", *, stall_s: float = STALL_S) -> None:
        self._outlet = outlet
        self._mark = mark
        self._stall_s = stall_s
        self._waiting: dict[Hashable, bytes] = {}
        self._subscriptions: dict[int, _Subscription] = {}
        self._num_pushed = 0
        self._num_requests = 0
        self._answered = asyncio.Event()
        self._blocked_s: float | None = None
        self._ended = asyncio.Event()
        self._reason = ""

    @property
    def num_subscriptions(self) -> int:
        """Return the number of sources that it collects from."""
        return len(self._subscriptions)

    async def take_request(self) -> None:
        """Wait until another request may be read, so that requests do not outrun their answers.

        Return at once if there were few requests since everything was last sent.
        """
        self._num_requests += 1
        # Yield to the other tasks of the loop even if many requests arrived at once.
        await asyncio.sleep(0)
        while self._num_requests > MAX_REQUESTS:
            self._answered.clear()
            self._mark(self)
            await self._answered.wait()

    def wake(self) -> None:
        """Send in the next round: a source has a message."""
        self._mark(self)

    def push(self, thing: Hashable, message: Any) -> None:
        """Queue a message about `thing`, a frame or a JSON value; replace one that is still pending."""
        # The replacement goes to the end, so that it is never sent before earlier messages about other things.
        self._waiting.pop(thing, None)
        self._waiting[thing] = message if isinstance(message, bytes) else text_message(message)
        if len(self._waiting) > MAX_WAITING:
            self._end(f"more than {MAX_WAITING} changes wait; connect again")
        self._mark(self)

    def push_each(self, message: Any) -> None:
        """Queue a message that replaces no other."""
        self._num_pushed += 1
        self.push(self._num_pushed, message)

    def push_error(self, error: ServerError, *, watch_id: int | None = None) -> None:
        """Queue an error in the HTTP error format, with the watch it belongs to; every error is sent."""
        message = {"type": "error", "error": {"code": error.code, "message": error.message, "field": error.field}}
        self.push_each(message if watch_id is None else {**message, "id": watch_id})

    def subscribe(self, watch_id: int, source: Source) -> None:
        """Collect from a source until `unsubscribe`."""
        self._subscriptions[watch_id] = _Subscription(source)
        self._mark(self)

    def unsubscribe(self, watch_id: int) -> Source | None:
        """Collect from a source no more; return it, None if there was none."""
        subscription = self._subscriptions.pop(watch_id, None)
        return None if subscription is None else subscription.source

    def watch_ids(self) -> tuple[int, ...]:
        """Return the ids of all subscriptions."""
        return tuple(self._subscriptions)

    def is_waiting_for(self, watch_id: int) -> bool:
        """Return whether its source had nothing when last asked."""
        return self._subscriptions[watch_id].is_waiting

    def flush(self) -> bool:
        """Write all that waits, as far as the client reads it; return False if something is left."""
        if self._ended.is_set():
            return True
        if not self._outlet.is_ready():
            return self._check_stall()
        self._blocked_s = None
        waiting, self._waiting = self._waiting, {}
        frames = list(waiting.values())
        num_bytes = sum(map(len, frames))
        is_waiting = False
        for watch_id, subscription in tuple(self._subscriptions.items()):
            if subscription.seen == subscription.source.number:
                continue
            found = subscription.source.collect(subscription.seen, watch_id)
            subscription.is_waiting = found is None
            if found is None:
                is_waiting = True
                continue
            more, subscription.seen = found
            for frame in more:
                frames.append(frame)
                num_bytes += len(frame)
            if num_bytes > _MAX_JOINED:
                self._write(frames, num_bytes)
                frames, num_bytes = [], 0
                if not self._outlet.is_ready():
                    return self._check_stall()
        self._write(frames, num_bytes)
        if not is_waiting:
            self._num_requests = 0
            self._answered.set()
        return True

    def leave(self) -> None:
        """Send nothing more: the browser has disconnected."""
        self._end("")

    async def end(self) -> str:
        """Wait until the browser has to be closed; return why."""
        await self._ended.wait()
        return self._reason

    def _write(self, frames: list[bytes], num_bytes: int) -> None:
        if len(frames) > 1 and num_bytes <= _MAX_JOINED:
            frames = [b"".join(frames)]
        for frame in frames:
            self._outlet.write(frame)

    def _check_stall(self) -> bool:
        now_s = time.monotonic()
        if self._blocked_s is None:
            self._blocked_s = now_s
        elif now_s - self._blocked_s >= self._stall_s:
            self._end(f"nothing was read for {self._stall_s:g} s; connect again")
        return self._ended.is_set()

    def _end(self, reason: str) -> None:
        if not self._ended.is_set():
            self._reason = reason
            self._waiting.clear()
            self._ended.set()
