"""Two ends of a bus in one process, whose messages a test may lose, delay or put in another order."""

import asyncio
from collections.abc import Callable, Mapping

from recis_server.bus import Bus, Hint

__all__ = ["LinkedBus", "linked"]


class LinkedBus(Bus):
    """One end; `sent` has the subjects of all messages, `pass_on` says what becomes of one."""

    has_peers = True

    def __init__(self) -> None:
        self.peers: list[LinkedBus] = []
        self.sent: list[str] = []
        self.pass_on: Callable[[str, Callable[[], None]], None] = lambda subject, deliver: deliver()
        self._hints: list[Callable[[Hint], None]] = []
        self._renewed: list[Callable[[], None]] = []
        self._listeners: dict[str, Callable[[bytes], None]] = {}

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    def publish(self, hint: Hint) -> None:
        for bus in (self, *self.peers):
            for listener in bus._hints:
                listener(hint)

    def subscribe(self, listener: Callable[[Hint], None]) -> None:
        self._hints.append(listener)

    def subscribe_renewed(self, listener: Callable[[], None]) -> None:
        self._renewed.append(listener)

    def renew(self) -> None:
        """What a bus does that has been away."""
        for listener in self._renewed:
            listener()

    def send(self, subject: str, data: bytes) -> None:
        self.sent.append(subject)
        for peer in self.peers:
            self.pass_on(subject, lambda peer=peer: peer._hear(subject, data))  # type: ignore[misc]

    def _hear(self, subject: str, data: bytes) -> None:
        def hear() -> None:
            if subject in self._listeners:
                self._listeners[subject](data)

        asyncio.get_running_loop().call_soon(hear)

    def receive(self, subject: str, listener: Callable[[bytes], None]) -> None:
        self._listeners[subject] = listener

    def ignore(self, subject: str) -> None:
        self._listeners.pop(subject, None)

    def counts(self) -> Mapping[str, int]:
        return {}


def linked(number: int = 2) -> list[LinkedBus]:
    """The ends of one bus."""
    ends = [LinkedBus() for _ in range(number)]
    for end in ends:
        end.peers = [other for other in ends if other is not end]
    return ends
