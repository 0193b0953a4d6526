"""Probe of the store: commit something, and read from every table.

Owns the rate: requests within the same second get the same answer. Must not know engines or HTTP.
"""

import asyncio
import time
from functools import partial

from recis_server.errors import StoreLost, StoreUnavailable
from recis_server.store.engines import meta
from recis_server.store.engines.engine import Engine
from recis_server.store.engines.failures import FailureLog
from recis_server.store.writer import Writer

__all__ = ["Probe"]

SAME_S = 1.0
"""How long an answer is reused."""
ANSWER_S = 2.0
"""How long a probe may take before the store counts as unavailable."""


class Probe:
    """Checks at most once a second that the store commits and reads. Not thread-safe: used on the event loop.

    Args:
        engine: the engine of the store.
        writer: the writer of the store.
        failure_log: records failures.
    """

    def __init__(self, engine: Engine, writer: Writer, failure_log: FailureLog) -> None:
        self._engine = engine
        self._writer = writer
        self._failure_log = failure_log
        self._try: asyncio.Task[None] | None = None
        self._tried_at = 0.0

    async def ask(self) -> None:
        """Return if the store can be used.

        Raises:
            StoreUnavailable: it cannot, or does not answer within `ANSWER_S`.
        """
        if self._try is None or (self._try.done() and time.monotonic() - self._tried_at >= SAME_S):
            self._try = asyncio.create_task(self._attempt(), name="store-probe")
            self._try.add_done_callback(_look_at)
        try:
            async with asyncio.timeout(ANSWER_S):
                await asyncio.shield(self._try)
        except TimeoutError as error:
            raise StoreUnavailable(f"the store did not answer within {ANSWER_S:g} s") from error

    async def close(self) -> None:
        """Wait for a probe in progress; safe to call twice."""
        if self._try is not None:
            await asyncio.wait({self._try})

    async def _attempt(self) -> None:
        try:
            await self._writer.call(partial(meta.write, name=meta.PROBE, value=time.time_ns()))
            await asyncio.to_thread(self._inspect)
        finally:
            self._tried_at = time.monotonic()

    def _inspect(self) -> None:
        try:
            # A new connection: others may have cached what they read.
            connection = self._engine.connect_reader()
            try:
                self._engine.begin_read(connection)
                self._engine.inspect(connection)
                self._engine.rollback(connection)
            finally:
                connection.close()
        except StoreLost as error:
            self._failure_log.lost(error)
            raise
        except self._engine.failures as error:
            raise self._failure_log.failed("the store could not be read", error) from error


def _look_at(task: "asyncio.Task[None]") -> None:
    """Retrieve the exception, so that asyncio does not warn about a probe nobody waited for."""
    if not task.cancelled():
        task.exception()
