"""Check at startup that servers which share a store also share a bus.

Servers of one store on different buses would not notice each other's changes. The database lists the servers that have
it open; each of them must answer on the bus.
"""

import asyncio
import time

from recis_server.bus import Bus
from recis_server.errors import StoreError
from recis_server.store.interface import Store

__all__ = ["Siblings"]

PATIENCE_S = 5.0
"""How long the others may take to answer: they may be starting or stopping."""
_ASK_S = 0.1
MAX_HEARD = 4096
_ASK, _ANSWER = "servers-ask", "servers"


class Siblings:
    """Check that the servers of one store share a bus; `open` it after the bus.

    Args:
        store: knows who has the database open.
        bus: the bus of this server.
    """

    def __init__(self, store: Store, bus: Bus) -> None:
        self._store = store
        self._bus = bus

    async def open(self) -> None:
        """Check that all other servers answer, and answer theirs from now on.

        Raises:
            StoreError: some of them do not.
        """
        if not self._bus.has_peers:
            return
        name = self._store.server_name.encode()
        heard: set[str] = set()

        def hear(data: bytes) -> None:
            if len(heard) < MAX_HEARD:
                heard.add(data.decode())

        self._bus.receive(_ASK, lambda data: self._bus.send(_ANSWER, name))
        self._bus.receive(_ANSWER, hear)
        deadline = time.monotonic() + PATIENCE_S
        while missing := await self._store.other_servers() - heard:
            if time.monotonic() > deadline:
                raise StoreError(
                    f"--bus: expected the bus of all servers of this --store, but {len(missing)} of them did not answer"
                    " on it; give each the same --bus, and each deployment a database of its own"
                )
            self._bus.send(_ASK, b"")
            await asyncio.sleep(_ASK_S)
        self._bus.ignore(_ANSWER)
