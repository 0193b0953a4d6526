"""Leases: named locks between servers that share a store, for work that only one of them may do at a time.

Owns the connection whose session holds them, and the names; must not know what they stand for. A lease ends with its
session: at once if the server is killed, and within the engine's bounds (`Engine.try_lease`) if the server or its
network hangs. It does not protect rows: transactions check their preconditions themselves.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from recis_server.errors import StoreLost, StoreUnavailable
from recis_server.store.engines.engine import Connection, Engine
from recis_server.store.engines.failures import FailureLog

__all__ = ["Leases"]

_logger = logging.getLogger(__name__)
T = TypeVar("T")
BEAT_S = 5.0
"""How often the session is used: the database ends idle sessions, and the server notices a lost one."""


class Leases:
    """The leases of this server; a server that does not share its store is granted every one.

    Args:
        engine: the engine of the store.
        failure_log: records failures.
    """

    def __init__(self, engine: Engine, failure_log: FailureLog) -> None:
        self._engine = engine
        self._failure_log = failure_log
        self._held: set[str] = set()
        self._connection: Connection | None = None
        self._turn = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Connect if there may be other servers."""
        if self._engine.is_shared:
            self._connection = await asyncio.to_thread(self._engine.connect_reader)
            self._task = asyncio.create_task(self._beat(), name="store-leases")

    async def close(self) -> None:
        """End all leases; safe to call twice."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        async with self._turn:
            connection, self._connection = self._connection, None
            if connection is not None:
                await asyncio.to_thread(connection.close)
        self._held.clear()

    @asynccontextmanager
    async def lease(self, name: str) -> AsyncIterator[bool]:
        """Take a lease for the block; the value says whether it was free.

        Raises:
            StoreUnavailable: the engine cannot be asked.
        """
        if name in self._held:
            yield False
            return
        self._held.add(name)  # before the first await: others of this server may ask meanwhile
        try:
            is_granted = await self._ask(lambda connection: self._engine.try_lease(connection, name), instead=True)
        except BaseException:
            self._held.discard(name)
            raise
        if not is_granted:
            self._held.discard(name)
            yield False
            return
        try:
            yield True
        finally:
            self._held.discard(name)
            # What fails ends the session, and with it the lease.
            with contextlib.suppress(StoreUnavailable):
                await self._ask(lambda connection: self._engine.end_lease(connection, name), instead=None)

    async def _ask(self, action: Callable[[Connection], T], *, instead: T) -> T:
        """Return the engine's answer, or `instead` where there are no other servers."""
        if not self._engine.is_shared:
            return instead
        async with self._turn:
            if self._connection is None:
                raise StoreUnavailable("the store is closed")
            try:
                return await asyncio.to_thread(action, self._connection)
            except StoreLost as error:
                self._failure_log.lost(error)
                raise
            except self._engine.failures as error:
                raise self._failure_log.failed("the store could not grant a lease", error) from error

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(BEAT_S)
            with contextlib.suppress(StoreUnavailable):
                await self._ask(self._renew, instead=None)

    def _renew(self, connection: Connection) -> None:
        """Use the session; if it was lost, take its leases again unless another server has taken them."""
        if self._engine.is_alive(connection):
            return
        for name in tuple(self._held):
            if not self._engine.try_lease(connection, name):
                _logger.warning("the lease %s was lost to another server", name)
                self._held.discard(name)
