"""The interface of a bus: hints such as "this run has changed", and messages on subjects between servers.

Owns the kinds of messages; must not carry state. Every hint refers to a committed row, so a lost one costs a delay and
never data: listeners read what they show from the store. Two buses implement it (`memory`, `nats`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

__all__ = ["COUNTS", "Bus", "Hint", "Topic"]

Topic = Literal["run", "metrics", "controls", "command", "events", "trace", "deleted", "watched"]

COUNTS = {
    "sent": "Messages sent to other servers",
    "received": "Messages received from other servers",
    "dropped": "Messages dropped because the bus was unavailable or slow, or does not take messages of this size",
    "malformed": "Messages from other servers that were not understood",
    "reconnects": "Times that the connection to the bus was restored",
    "connected": "1 while the bus is connected",
}
"""What a bus between servers counts."""


@dataclass(frozen=True, slots=True)
class Hint:
    """A change of `run`; `id` names the command, trace or event if the change concerns one.

    `watched` alone refers to no row: the run is being viewed. It is repeated as long as that lasts.
    """

    topic: Topic
    run: str
    id: str = ""


class Bus(Protocol):
    """Publish and subscribe; all calls and all listeners are on the server's event loop.

    Listeners must return at once. Each message is delivered at most once, and in order for each sender; delivery is not
    guaranteed.
    """

    @property
    def has_peers(self) -> bool:
        """Whether other servers may be on the bus."""

    async def open(self) -> None:
        """Connect; raise `StoreError` if that is not possible."""

    async def close(self) -> None:
        """Disconnect and remove all listeners; safe to call twice."""

    def publish(self, hint: Hint) -> None:
        """Notify all listeners, those of this server before the call returns; never block."""

    def subscribe(self, listener: Callable[[Hint], None]) -> None:
        """Call `listener` for every hint."""

    def subscribe_renewed(self, listener: Callable[[], None]) -> None:
        """Call `listener` when messages of other servers may have been lost, so that it can read the store again."""

    def send(self, subject: str, data: bytes) -> None:
        """Send a message to the other servers that receive this subject; never block.

        Args:
            subject: words of letters, digits, `-` and `_`, separated by dots.
            data: the message.
        """

    def receive(self, subject: str, listener: Callable[[bytes], None]) -> None:
        """Call `listener` for every message that another server sends; there is one listener per subject."""

    def ignore(self, subject: str) -> None:
        """End a `receive`."""

    def counts(self) -> Mapping[str, int]:
        """Return the numbers of `COUNTS`; nothing if the bus does not leave this process."""
