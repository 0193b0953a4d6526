"""The bus that a `--bus` URL names.

Must not know what is sent over it.
"""

from recis_server.bus.interface import Bus
from recis_server.bus.memory import MemoryBus

__all__ = ["connects_servers", "open_bus"]

_MEMORY = "memory://"
_NATS = ("nats://", "tls://")


def connects_servers(url: str) -> bool:
    """Return whether the bus of this URL connects several servers.

    Raises:
        ValueError: the scheme is not supported.
    """
    if url != _MEMORY and not url.startswith(_NATS):
        # An unsupported URL may contain a password.
        raise ValueError(f"--bus: expected memory:// or nats://HOST[:PORT],…, got {url.split('@')[-1][:80]!r}")
    return url != _MEMORY


def open_bus(url: str, deployment: str = "") -> Bus:
    """Return the bus of `memory://` or `nats://[USER:PASSWORD@]HOST[:PORT],…`; not open yet.

    Args:
        url: where it is; `tls://` for NATS servers that require TLS.
        deployment: servers hear only those of the same deployment.

    Raises:
        ValueError: the scheme is not supported, a host or port is malformed, or the client is not installed.
    """
    if not connects_servers(url):
        return MemoryBus()
    try:
        # The client is an optional extra.
        from recis_server.bus.nats import NatsBus
    except ImportError as error:
        raise ValueError(
            f"--bus: expected the client of NATS to be installed (pip install 'recis-monitor[scale]'): {error}"
        ) from error
    return NatsBus(url, deployment)
