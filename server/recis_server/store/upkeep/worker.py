"""The maintenance worker: `python -m recis_server.store.upkeep.worker`, configured through its standard input.

Owns the order and the pace of its work: finish deletions, compact frames, drop expired points, trim runs to their
bounds, return space. It ends with its input, and so with the server, however that ends. Every change is a transaction
that checks what it is based on: the worker may be killed at any moment, and two of them may run. Where several servers
share a store, each has a worker, and one at a time works on a run.
"""

import json
import logging
import os
import select
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, TypeVar

from recis_server.errors import StoreError, StoreUnavailable
from recis_server.store.engines import meta
from recis_server.store.engines.engine import Anchor, Connection, Engine
from recis_server.store.engines.open import open_engine
from recis_server.store.points.compaction import compact, find_work
from recis_server.store.tables.deletion import delete_slice
from recis_server.store.upkeep.retention import FIRST_PLACE, Place, Retention, drop_slice, find_due
from recis_server.store.upkeep.trim import Excess, find_excess, trim_slice

__all__ = ["MaintenanceWorker", "main"]

T = TypeVar("T")
Stop = Callable[[], bool]
"""Whether to end; called between transactions."""

_logger = logging.getLogger(__name__)
BUSY_S, IDLE_S = 0.05, 2.0
"""The pause after a round with work, and the longest pause after rounds without."""
RETENTION_S = 60.0
TRIM_S = 600.0
ASIDE_S = 3600.0
"""How long a run is left alone after maintenance has failed on it for reasons other than the engine's."""
MOST_REMEMBERED = 1024
"""The most runs remembered for failures of the engine."""
_FINAL = "SELECT run_id FROM deletion WHERE kept = ''"
"""The other deletions can still be undone."""
LOOK_SHARE = 0.01
"""The share of time spent looking for runs to compact: with many hot frames a look takes long."""
UNITS = 8
"""The most consecutive transactions that compact one run."""
PIECES = 256
"""The most pieces of space returned in one round."""
LEAST_PAUSE_S = 0.002
"""The shortest pause between two changes, if the first one took less time; otherwise as long as it took. A waiting
writer retries every millisecond, and without a pause would rarely succeed."""


class MaintenanceWorker:
    """Maintains a store, one small transaction after the other. Not thread-safe.

    Args:
        engine: an open engine.
        retention: how long raw points are kept.
    """

    def __init__(self, engine: Engine, retention: Retention) -> None:
        self._engine = engine
        self._failures: tuple[type[Exception], ...] = (StoreUnavailable, *engine.failures)
        self._retention = retention
        self._reader = engine.connect_reader()
        try:
            self._writer = engine.connect_writer()
        except BaseException:
            self._reader.close()
            raise
        self._next_retention = 0.0
        self._next_trim = 0.0
        self._trimmed_ns = 0
        self._next_look = 0.0
        self._num_failures: dict[str, int] = {}
        self._aside: dict[tuple[str, str], float] = {}

    def close(self) -> None:
        """Close both connections."""
        self._reader.close()
        self._writer.close()

    def round(self, stop: Stop) -> bool:
        """Process everything that is due once; return whether there was any work.

        Raises:
            Exception: one of the engine's failures; a later round resumes unfinished work.
        """
        failure: Exception | None = None
        worked = False
        for work in (self._delete, self._compact, self._retain, self._trim):
            try:
                worked |= work(stop)
            except self._failures as error:
                # Perhaps for lack of space, which the other kinds of work may free.
                failure = failure or error
        if failure is not None or not worked:
            for _ in range(PIECES):
                if stop() or not self._give_back():
                    break
        if failure is not None:
            raise failure
        return worked

    def _delete(self, stop: Stop) -> bool:
        runs = self._read(lambda connection: connection.execute(_FINAL).fetchall())

        def work(run: str) -> bool:
            while not stop() and self._write(partial(delete_slice, run_id=run), run):
                pass
            return True

        return self._each("deletion", (run for (run,) in runs), work)

    def _compact(self, stop: Stop) -> bool:
        began = time.monotonic()
        if began < self._next_look:
            return False
        runs = self._read(partial(find_work, now_ns=time.time_ns()))
        self._next_look = began + (time.monotonic() - began) / LOOK_SHARE

        def work(run: str) -> bool:
            worked = False
            for _ in range(UNITS):
                if stop() or not compact(self._engine, self._reader, self._writer, run):
                    break
                worked = True
                if not self._read(partial(find_work, now_ns=time.time_ns(), run_id=run)):
                    break
            return worked

        return self._each("compaction", runs, work)

    def _retain(self, stop: Stop) -> bool:
        if time.monotonic() < self._next_retention or stop():
            return False
        due = self._read(partial(find_due, retention=self._retention, now_ns=time.time_ns()))

        def work(run: str) -> bool:
            place: Place | None = FIRST_PLACE
            while place is not None and not stop():
                place = self._write(partial(drop_slice, run_id=run, before_ns=due[run], after=place), run)
            return True

        worked = self._each("retention", due, work)
        self._next_retention = time.monotonic() + RETENTION_S
        return worked

    def _trim(self, stop: Stop) -> bool:
        if time.monotonic() < self._next_trim or stop():
            return False
        now_ns = time.time_ns()
        found: dict[str, list[Excess]] = defaultdict(list)
        for excess in self._read(
            partial(find_excess, retention=self._retention, since_ns=self._trimmed_ns, now_ns=now_ns)
        ):
            found[excess.run_id].append(excess)

        def work(run: str) -> bool:
            for excess in found[run]:
                while not stop() and self._write(partial(trim_slice, excess=excess), run):
                    pass
            return True

        worked = self._each("trimming", found, work)
        # The time of a frame may lie a little before its commit.
        self._trimmed_ns = now_ns - int(TRIM_S * 1e9)
        self._next_trim = time.monotonic() + TRIM_S
        return worked

    def _each(self, what: str, runs: Iterable[str], work: Callable[[str], bool]) -> bool:
        """Process each run that is not set aside for this kind of work; return whether there was any.

        Raises:
            Exception: one of the engine's failures, at the first run to fail, which will be the last one the next time.
        """
        worked = False
        for run in sorted(runs, key=lambda one: self._num_failures.get(one, 0)):
            if time.monotonic() < self._aside.get((what, run), 0.0):
                continue
            try:
                with self._lease(run) as is_granted:
                    worked |= is_granted and work(run)
            except self._failures:
                if len(self._num_failures) >= MOST_REMEMBERED:
                    self._num_failures.clear()
                self._num_failures[run] = self._num_failures.get(run, 0) + 1
                raise
            except Exception:  # boundary: a failing run must not delay the others
                _logger.exception("the %s of run %s failed; retrying in %.0f minutes", what, run, ASIDE_S / 60)
                self._aside[what, run] = time.monotonic() + ASIDE_S
                self._write(partial(meta.add, name=meta.UPKEEP_FAILURES, number=1))
        return worked

    @contextmanager
    def _lease(self, run: str) -> Iterator[bool]:
        """Have a run for this worker alone, if no other one has it."""
        name = f"upkeep of {run}"
        if not self._engine.try_lease(self._writer, name):
            yield False
            return
        try:
            yield True
        finally:
            # What fails ends the session, and with it the lease.
            with suppress(*self._failures):
                self._engine.end_lease(self._writer, name)

    def _read(self, action: Callable[[Connection], T]) -> T:
        self._engine.begin_read(self._reader)
        try:
            return action(self._reader)
        finally:
            self._engine.rollback(self._reader)

    def _give_back(self) -> bool:
        with _pause():
            return self._engine.give_back(self._writer)

    def _write(self, action: Callable[[Connection], T], *runs: str) -> T:
        """Run a transaction that changes `runs`.

        Every one of these removes data, so retry it with the space reserved for removals.
        """
        with _pause():
            try:
                return self._write_once(action, runs)
            except self._engine.failures:
                if not self._engine.make_room(self._writer, reserve=True):
                    raise
            return self._write_once(action, runs)

    def _write_once(self, action: Callable[[Connection], T], runs: tuple[str, ...]) -> T:
        self._engine.begin_write(self._writer, runs)
        try:
            result = action(self._writer)
            self._writer.execute("COMMIT")
        except BaseException:
            self._engine.rollback(self._writer)
            raise
        return result


@contextmanager
def _pause() -> Iterator[None]:
    """Leave the store to others for as long as this context has kept it from them."""
    began = time.monotonic()
    try:
        yield
    finally:
        time.sleep(max(LEAST_PAUSE_S, time.monotonic() - began))


def main() -> None:
    """Maintain the store named by the first line of standard input until the input ends."""
    # Ctrl-C reaches the whole process group, but the server decides when the worker ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    os.nice(10)
    line = sys.stdin.readline()
    if not line:  # the server ended while this process was started
        return
    order = json.loads(line)
    engine = open_engine(order["url"])
    failures: tuple[type[Exception], ...] = (StoreError, StoreUnavailable, *engine.failures)
    worker: MaintenanceWorker | None = None
    pause_s = BUSY_S
    waits = False
    while not _ended(pause_s):
        worked = False
        try:
            worker = worker or _open(engine, Retention(**order["retention"]), order.get("anchor"))
            worked = worker.round(partial(_ended, 0.0))
            waits = False
        except failures as error:
            # A full disk, a lock held for long, an unavailable database: the change is rolled back and retried later.
            _logger.log(logging.DEBUG if waits else logging.WARNING, "store maintenance is waiting: %s", error)
            waits = True
        pause_s = BUSY_S if worked else min(2 * pause_s, IDLE_S)
    if worker is not None:
        worker.close()
    engine.close()


def _open(engine: Engine, retention: Retention, anchor: list[Any] | None) -> MaintenanceWorker:
    engine.open(exclusive=False, anchor=None if anchor is None else Anchor(anchor[0], tuple(anchor[1])))
    return MaintenanceWorker(engine, retention)


def _ended(wait_s: float) -> bool:
    return bool(select.select([sys.stdin], [], [], wait_s)[0])


if __name__ == "__main__":
    main()
