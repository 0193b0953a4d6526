"""Queue reports whose values are still on a device, and read them off the training thread once copied to the host.

Owns the bounded queue between the two threads; how a copy is started and awaited is `recis.metrics.scalars`.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from recis.bridge.outbox_writer import OutboxWriter
from recis.metrics.scalars import PendingScalars

__all__ = ["DeferredReports"]

WAIT_PAUSE_S = 0.001
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Row:
    keys: tuple[str, ...]
    values: PendingScalars
    step: int
    time_ns: int


class DeferredReports:
    """At most `max_reports` reports wait; beyond that the oldest is dropped and counted in the outbox's `dropped`.

    The values of a device that fails are dropped too, and no others: after a CUDA error every call to it raises.
    """

    def __init__(self, max_reports: int = 4096) -> None:
        self._rows: deque[_Row] = deque()  # bounded in `offer`
        self._max_reports = max_reports
        self._lock = threading.RLock()  # a signal handler may report from inside `offer`
        self._lost = 0  # points not yet counted in the outbox
        self._has_failed = False

    def offer(self, keys: tuple[str, ...], values: Sequence[Any], step: int, time_ns: int) -> None:
        """Start one non-blocking copy for the whole report; never waits for the device."""
        row = _Row(keys, PendingScalars.start(values), step, time_ns)
        with self._lock:
            if len(self._rows) >= self._max_reports:
                self._lost += len(self._rows.popleft().keys)
            self._rows.append(row)

    def resolve(self, outbox: OutboxWriter, *, wait_s: float | None = None) -> None:
        """Move the reports whose copies are complete to the outbox, in order.

        Args:
            outbox: receives the reports, and the number of points that were lost.
            wait_s: how long to wait for incomplete copies, which are lost after that.
        """
        deadline = None if wait_s is None else time.monotonic() + wait_s
        while (row := self._next(deadline)) is not None:
            if deadline is not None and not row.values.ready():
                late = TimeoutError(f"expected the values of step {row.step} from the device within {wait_s:g} s")
                self._lose(len(row.keys), row.step, late)
                continue
            found = {
                key: number for key, number in zip(row.keys, row.values.numbers(), strict=True) if number is not None
            }
            if len(found) < len(row.keys):
                self._lose(len(row.keys) - len(found), row.step, row.values.error)
            if found:
                outbox.append_report(tuple(found), found.values(), row.step, row.time_ns)
        with self._lock:
            lost, self._lost = self._lost, 0
        outbox.count_lost(lost)

    def _next(self, deadline: float | None) -> _Row | None:
        """Return the oldest report if its copy is complete; after the deadline, return it in any case."""
        while True:
            with self._lock:
                if not self._rows:
                    return None
                if self._rows[0].values.ready() or (deadline is not None and time.monotonic() >= deadline):
                    return self._rows.popleft()
            if deadline is None:
                return None
            time.sleep(WAIT_PAUSE_S)

    def _lose(self, points: int, step: int, error: Exception | None) -> None:
        with self._lock:
            self._lost += points
        if not self._has_failed:
            self._has_failed = True
            _logger.warning("values on a device are lost, from step %d on (logged once): %s", step, error)
