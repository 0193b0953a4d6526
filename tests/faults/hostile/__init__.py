"""Clients that violate every rule, from seeded generators: each is a thread that runs until it is stopped."""

from tests.faults.hostile.attack import Attack
from tests.faults.hostile.bare import Sockets
from tests.faults.hostile.browsers import Browsers
from tests.faults.hostile.requests import Requests
from tests.faults.hostile.spools import Spools
from tests.faults.hostile.writers import Frames, Traces

__all__ = ["ATTACKS", "Attack"]

ATTACKS: tuple[type[Attack], ...] = (Frames, Traces, Browsers, Requests, Sockets, Spools)
