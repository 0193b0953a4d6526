"""Messages between the command services of servers that share a store.

Owns the messages; must not know the ledger or connections. Every message may be lost: the ledger has the same
information, except for the current steps of ranks, which only improve the choice of a common step.
"""

from collections.abc import Callable, Collection
from typing import Protocol

import msgspec
from msgspec import Struct

from recis_server.bus import Bus

__all__ = ["Changed", "Listener", "Peers", "SeenElsewhere", "Told"]

_SUBJECT = "commands"


class Changed(Struct, array_like=True, frozen=True, tag="changed"):
    """A command was written, or its state has changed."""

    run: str
    command: str


class SeenElsewhere(Struct, array_like=True, frozen=True, tag="seen"):
    """A rank has received a command; `step` is the last one that it has done, `rate` in steps per second.

    `took_s` is the delivery time in seconds.
    """

    run: str
    command: str
    rank: int
    step: int | None
    rate: float | None
    took_s: float


class Told(Struct, array_like=True, frozen=True, tag="told"):
    """The step of a command was chosen; None for the next one."""

    run: str
    command: str
    step: int | None


class Listener(Protocol):
    """Receives the messages of other servers."""

    def hear(self, message: Changed | SeenElsewhere | Told) -> None:
        """Take a message; return at once."""


class Peers:
    """The other servers; none if the bus connects no other servers.

    Args:
        bus: connects the servers.
        ranks: returns the ranks of a run that are connected to others.
    """

    def __init__(self, bus: Bus, ranks: Callable[[str], Collection[int]] = lambda run: ()) -> None:
        self._bus = bus
        self.ranks = ranks
        self._decoder: msgspec.msgpack.Decoder[Changed | SeenElsewhere | Told] = msgspec.msgpack.Decoder(
            Changed | SeenElsewhere | Told
        )

    @property
    def may_exist(self) -> bool:
        """Whether there may be other servers."""
        return self._bus.has_peers

    def listen(self, listener: Listener) -> None:
        """Pass the messages of other servers to a listener."""
        self._bus.receive(_SUBJECT, lambda data: listener.hear(self._decoder.decode(data)))

    def tell(self, message: Changed | SeenElsewhere | Told) -> None:
        """Send a message to all other servers."""
        if self._bus.has_peers:
            self._bus.send(_SUBJECT, msgspec.msgpack.encode(message))
