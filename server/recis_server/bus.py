"""Small hints between the parts of the server (and later between replicas): "look at this run".

Owns who hears what; must not carry truth. Every hint points at a committed row, so a hint that is lost costs a delay
and never data: listeners read what they show from the store.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

__all__ = ["Bus", "Hint", "MemoryBus", "Topic", "open_bus"]

Topic = Literal["run", "metrics", "controls", "command", "events", "trace", "deleted", "watched"]


@dataclass(frozen=True, slots=True)
class Hint:
    """Something about `run` has changed; `id` names the command, the trace or the event where there is one.

    `watched` alone points at no row: somebody looks at the run, and it is said again while that lasts.
    """

    topic: Topic
    run: str
    id: str = ""


class Bus(Protocol):
    """Publish and subscribe; both ends live on the server's event loop."""

    async def open(self) -> None:
        """Connects."""

    async def close(self) -> None:
        """Disconnects and forgets the listeners; safe to call twice."""

    def publish(self, hint: Hint) -> None:
        """Tells all listeners; never blocks, may be lost."""

    def subscribe(self, listener: Callable[[Hint], None]) -> None:
        """Calls `listener` on the event loop for every hint that arrives; it returns at once and does not raise."""


class MemoryBus:
    """The bus of a single server process: listeners are called before `publish` returns."""

    def __init__(self) -> None:
        self._listeners: list[Callable[[Hint], None]] = []

    async def open(self) -> None:
        """Nothing to connect."""

    async def close(self) -> None:
        """Forgets the listeners."""
        self._listeners.clear()

    def publish(self, hint: Hint) -> None:
        """See `Bus.publish`."""
        for listener in self._listeners:
            listener(hint)

    def subscribe(self, listener: Callable[[Hint], None]) -> None:
        """See `Bus.subscribe`."""
        self._listeners.append(listener)


def open_bus(url: str) -> Bus:
    """The bus that `url` names.

    Raises:
        ValueError: a scheme that no bus of this version serves.
    """
    if url == "memory://":
        return MemoryBus()
    raise ValueError(f"--bus: expected memory://, got {url!r}")
