"""A small pool of read-only connections, each used by one thread at a time.

Owns the threads, the connections and the read transaction; must not know tables.
"""

import asyncio
import queue
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from recis_server.errors import StoreLost, StoreUnavailable
from recis_server.store.engines.engine import Connection, Engine
from recis_server.store.engines.failures import FailureLog

__all__ = ["Reader"]

T = TypeVar("T")
NUM_THREADS = 4
"""Reads that run at once; further ones wait in order."""


class Reader:
    """Runs reads on a pool of threads, each in a read transaction of its own.

    Args:
        engine: opens read-only connections.
        failure_log: records failed reads.
    """

    def __init__(self, engine: Engine, failure_log: FailureLog) -> None:
        self._engine = engine
        self._failure_log = failure_log
        self._idle: queue.SimpleQueue[Connection] = queue.SimpleQueue()  # at most NUM_THREADS
        self._threads: ThreadPoolExecutor | None = None

    def open(self) -> None:
        """Open the connections."""
        for _ in range(NUM_THREADS):
            self._idle.put(self._engine.connect_reader())
        self._threads = ThreadPoolExecutor(NUM_THREADS, thread_name_prefix="store-reader")

    async def close(self) -> None:
        """Finish running reads and close the connections; safe to call twice."""
        threads, self._threads = self._threads, None
        if threads is None:
            return
        await asyncio.to_thread(threads.shutdown, cancel_futures=True)
        while not self._idle.empty():
            self._idle.get().close()

    async def call(self, action: Callable[[Connection], T]) -> T:
        """Run `action` on one snapshot of the database and return its result.

        Raises:
            StoreUnavailable: the pool is closed, or the engine could not read.
        """
        if self._threads is None:
            raise StoreUnavailable("the store is closed")
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._run, action)

    def _run(self, action: Callable[[Connection], T]) -> T:
        connection = self._idle.get()
        try:
            self._engine.begin_read(connection)
            try:
                return action(connection)
            finally:
                self._engine.rollback(connection)
        except StoreLost as error:
            self._failure_log.lost(error)
            raise
        except self._engine.failures as error:
            raise self._failure_log.failed("the store could not be read", error) from error
        finally:
            self._idle.put(connection)
