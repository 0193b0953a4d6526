"""Reports whose values are still on a device: read when their copy has arrived, off the training thread.

Owns the bounded queue between the two threads; how a copy is started and awaited is `recis.metrics.scalars`.
"""

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from recis.bridge.outbox import Outbox
from recis.metrics.scalars import PendingScalars

__all__ = ["DeferredRows"]


@dataclass(frozen=True, slots=True)
class _Row:
    keys: tuple[str, ...]
    values: PendingScalars
    step: int
    time_ns: int


class DeferredRows:
    """At most `max_rows` reports wait; beyond that the oldest goes, counted in the outbox's `dropped`."""

    def __init__(self, max_rows: int = 4096) -> None:
        self._rows: deque[_Row] = deque()  # bounded in `offer`
        self._max_rows = max_rows
        self._lock = threading.RLock()  # a signal handler may report from inside `offer`
        self._lost = 0  # points that the outbox has not heard of yet

    def offer(self, keys: tuple[str, ...], values: Sequence[Any], step: int, time_ns: int) -> None:
        """Starts one non-blocking copy for the whole report; never waits for the device."""
        row = _Row(keys, PendingScalars.start(values), step, time_ns)
        with self._lock:
            if len(self._rows) >= self._max_rows:
                self._lost += len(self._rows.popleft().keys)
            self._rows.append(row)

    def resolve(self, outbox: Outbox, *, wait: bool = False) -> None:
        """Moves what has arrived to the outbox, in order; with `wait` all of it."""
        with self._lock:
            lost, self._lost = self._lost, 0
        outbox.count_lost(lost)
        while True:
            with self._lock:
                if not self._rows or not (wait or self._rows[0].values.ready()):
                    return
                row = self._rows.popleft()
            outbox.append_row(row.keys, row.values.numbers(), row.step, row.time_ns)
