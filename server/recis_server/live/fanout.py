"""Sends changes to browsers in rounds, at most ten a second, with lower priority than all other work of the event loop.

Owns the pace and the browsers that have something to send; must not know what is sent. Sending takes at most half of
the loop's time, some milliseconds at once. When the loop is busy, training processes come first: sending rests for as
long as the other work took, rounds become longer, and what changes meanwhile is merged into the next.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable

from recis_server.live.viewer import Viewer

__all__ = ["Fanout"]

_logger = logging.getLogger(__name__)

PACE_S = 0.1
SLICE_S = 0.002
BUSY_S = 0.005
"""Other work of the loop that is disregarded: some of it results from what was just written."""
MAX_REST_S = 0.1


class Fanout:
    """Sends changes to browsers in rounds, in the time that training processes leave.

    Args:
        step: computes the changes of a run, part by part; yields the viewers that have something to collect.
    """

    def __init__(self, step: Callable[[str], Iterable[Iterable[Viewer]]]) -> None:
        self._step = step
        self._runs: set[str] = set()
        self._viewers: set[Viewer] = set()
        self._blocked: set[Viewer] = set()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.num_flushes = 0
        """Writes of pending messages to browsers."""

    @property
    def num_blocked(self) -> int:
        """Return the number of browsers that do not read at the moment."""
        return len(self._blocked)

    async def open(self) -> None:
        """Start sending."""
        self._task = asyncio.create_task(self._work(), name="live-fanout")

    async def close(self) -> None:
        """Stop; safe to call twice."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    def changed(self, run: str) -> None:
        """Compute the changes of a run in the next round."""
        self._runs.add(run)
        self._wake.set()

    def mark(self, viewer: Viewer) -> None:
        """Send to a viewer in the next round."""
        self._viewers.add(viewer)
        self._wake.set()

    async def send(self, viewers: Iterable[Viewer]) -> None:
        """Send to these viewers now, taking turns with the rest of the loop."""
        turns = _Turns()
        for viewer in viewers:
            self.num_flushes += 1
            try:
                (self._blocked.discard if viewer.flush() else self._blocked.add)(viewer)
            except Exception:  # boundary: an error at one browser must not end the updates of the others
                _logger.exception("could not send to a browser")
            await turns.give_way()

    async def _work(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            began_s = time.monotonic()
            runs, self._runs = self._runs, set()
            await self._work_out(runs)
            viewers, self._viewers = self._viewers | self._blocked, set()
            await self.send(viewers)
            if self._blocked:
                self._wake.set()
            await asyncio.sleep(max(0.0, began_s + PACE_S - time.monotonic()))

    async def _work_out(self, runs: Iterable[str]) -> None:
        turns = _Turns()
        for run in runs:
            try:
                for viewers in self._step(run):
                    self._viewers.update(viewers)
                    await turns.give_way()
            except Exception:  # boundary: an error in one run must not end the updates of the others
                _logger.exception("could not work out what changed in run %s", run)


class _Turns:
    """Turns of one task with the rest of the loop, in processor time: other processes of the machine do not count."""

    def __init__(self) -> None:
        self._began_s = time.thread_time()

    async def give_way(self) -> None:
        """Rest after `SLICE_S` of work for as long as it took, and again for as long as the loop was busy meanwhile."""
        done_s = time.thread_time()
        spent_s = done_s - self._began_s
        if spent_s < SLICE_S:
            return
        await asyncio.sleep(spent_s)
        busy_s = time.thread_time() - done_s
        if busy_s > BUSY_S:
            await asyncio.sleep(min(busy_s, MAX_REST_S))
        self._began_s = time.thread_time()
