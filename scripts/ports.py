"""A free port for a server that cannot use port 0."""

import random
import socket
from pathlib import Path

__all__ = ["free_port"]

_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_TRIES = 100


def free_port() -> int:
    """Return an unused port of the loopback address.

    It is below the kernel's ephemeral range, so that only another caller of this function could take it before the
    server does.
    """
    lowest = int(_EPHEMERAL.read_text().split()[0]) if _EPHEMERAL.exists() else 49152
    for _ in range(_TRIES):
        port = random.SystemRandom().randrange(min(10_000, lowest // 2), lowest)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise OSError(f"expected a free port below {lowest}, found none in {_TRIES} tries")
