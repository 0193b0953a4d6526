"""Reports whose values are still on a device: read when their copy has arrived, off the training thread.

Owns the bounded queue between the two threads; how a copy is started and awaited is `recis.metrics.scalars`.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from recis.bridge.outbox import Outbox
from recis.metrics.scalars import PendingScalars

__all__ = ["DeferredRows"]

WAIT_PAUSE_S = 0.001
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Row:
    keys: tuple[str, ...]
    values: PendingScalars
    step: int
    time_ns: int


class DeferredRows:
    """At most `max_rows` reports wait; beyond that the oldest goes, counted in the outbox's `dropped`.

    So are those of a device that fails: after a fault of CUDA every question to it raises.
    """

    def __init__(self, max_rows: int = 4096) -> None:
        self._rows: deque[_Row] = deque()  # bounded in `offer`
        self._max_rows = max_rows
        self._lock = threading.RLock()  # a signal handler may report from inside `offer`
        self._lost = 0  # points that the outbox has not heard of yet
        self._has_failed = False

    def offer(self, keys: tuple[str, ...], values: Sequence[Any], step: int, time_ns: int) -> None:
        """Starts one non-blocking copy for the whole report; never waits for the device."""
        row = _Row(keys, PendingScalars.start(values), step, time_ns)
        with self._lock:
            if len(self._rows) >= self._max_rows:
                self._lost += len(self._rows.popleft().keys)
            self._rows.append(row)

    def resolve(self, outbox: Outbox, *, wait_s: float | None = None) -> None:
        """Moves what has arrived to the outbox, in order.

        Args:
            outbox: takes the rows, and the number of points that were lost.
            wait_s: waits so long for what has not arrived; then that is lost.
        """
        deadline = None if wait_s is None else time.monotonic() + wait_s
        while (row := self._next(deadline)) is not None:
            try:
                if deadline is not None and not _is_ready(row):
                    raise TimeoutError(f"expected the values of step {row.step} from the device within {wait_s:g} s")
                numbers = row.values.numbers()
            except Exception as error:  # noqa: BLE001 - a device that has failed raises whatever it is asked
                self._lose(row, error)
                continue
            outbox.append_row(row.keys, numbers, row.step, row.time_ns)
        with self._lock:
            lost, self._lost = self._lost, 0
        outbox.count_lost(lost)

    def _next(self, deadline: float | None) -> _Row | None:
        """The oldest report when it has arrived; with a deadline also when it has not by then."""
        while True:
            with self._lock:
                if not self._rows:
                    return None
                if _is_ready(self._rows[0]) or (deadline is not None and time.monotonic() >= deadline):
                    return self._rows.popleft()
            if deadline is None:
                return None
            time.sleep(WAIT_PAUSE_S)

    def _lose(self, row: _Row, error: Exception) -> None:
        with self._lock:
            self._lost += len(row.keys)
        if not self._has_failed:
            self._has_failed = True
            _logger.warning("values on a device are lost, from step %d on (said once): %s", row.step, error)


def _is_ready(row: _Row) -> bool:
    """Whether to ask for its numbers makes no one wait."""
    try:
        return row.values.ready()
    except Exception:  # noqa: BLE001 - a device that has failed; its numbers say so too
        return True
