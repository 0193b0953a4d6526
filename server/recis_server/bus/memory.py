"""The bus of a single server process."""

from collections.abc import Callable, Mapping

from recis_server.bus.interface import Bus, Hint

__all__ = ["MemoryBus"]


class MemoryBus(Bus):
    """A bus without other servers: listeners are called before `publish` returns."""

    has_peers = False

    def __init__(self) -> None:
        self._listeners: list[Callable[[Hint], None]] = []

    async def open(self) -> None:
        """Do nothing; there is no connection."""

    async def close(self) -> None:
        """Remove all listeners."""
        self._listeners.clear()

    def publish(self, hint: Hint) -> None:
        for listener in self._listeners:
            listener(hint)

    def subscribe(self, listener: Callable[[Hint], None]) -> None:
        self._listeners.append(listener)

    def subscribe_renewed(self, listener: Callable[[], None]) -> None:
        """Do nothing: no message is lost."""

    def send(self, subject: str, data: bytes) -> None:
        """Do nothing: there are no other servers."""

    def receive(self, subject: str, listener: Callable[[bytes], None]) -> None:
        """Do nothing: there are no other servers."""

    def ignore(self, subject: str) -> None:
        """Do nothing: there are no other servers."""

    def counts(self) -> Mapping[str, int]:
        return {}
