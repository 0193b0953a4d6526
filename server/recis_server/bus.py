"""Hints between the parts of the server (and later between replicas), such as "this run has changed".

Owns the subscriptions; must not carry state. Every hint refers to a committed row, so a lost hint costs a delay and
never data: listeners read what they show from the store.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

__all__ = ["Bus", "Hint", "MemoryBus", "Topic", "open_bus"]

Topic = Literal["run", "metrics", "controls", "command", "events", "trace", "deleted", "watched"]


@dataclass(frozen=True, slots=True)
class Hint:
    """A change of `run`; `id` names the command, trace or event if the change concerns one.

    `watched` alone refers to no row: the run is being viewed. It is repeated as long as that lasts.
    """

    topic: Topic
    run: str
    id: str = ""


class Bus(Protocol):
    """Publish and subscribe; both ends live on the server's event loop."""

    async def open(self) -> None:
        """Connect."""

    async def close(self) -> None:
        """Disconnect and remove all listeners; safe to call twice."""

    def publish(self, hint: Hint) -> None:
        """Notify all listeners; never block. Delivery is not guaranteed."""

    def subscribe(self, listener: Callable[[Hint], None]) -> None:
        """Call `listener` on the event loop for every hint; it must return at once and must not raise."""


class MemoryBus(Bus):
    """The bus of a single server process: listeners are called before `publish` returns."""

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


def open_bus(url: str) -> Bus:
    """Return the bus of a `--bus` URL.

    Raises:
        ValueError: the scheme is not supported.
    """
    if url == "memory://":
        return MemoryBus()
    raise ValueError(f"--bus: expected memory://, got {url!r}")
