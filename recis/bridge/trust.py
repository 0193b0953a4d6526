"""Which certificates of a server are accepted.

Owns the SSL context of connections to `https` and `wss` addresses; must not know what is sent.
"""

import ssl

from recis.bridge.address import ServerAddress
from recis.environment import monitor_setting

__all__ = ["tls_context"]


def tls_context(address: ServerAddress) -> ssl.SSLContext | None:
    """Return the TLS context for connections to a server; None for an address without TLS.

    The system's authorities are trusted, and those in the file of `RECIS_MONITOR_CA_FILE`. The file is read for each
    connection, so that one that is mended or renewed is used without a restart.

    Raises:
        ConnectionError: the file cannot be read, or contains no certificate.
    """
    if not address.base.startswith("https:"):
        return None
    context = ssl.create_default_context()
    path = monitor_setting("CA_FILE")
    if path is not None:
        try:
            context.load_verify_locations(path)
        except OSError as error:  # ssl.SSLError is one
            reason = "no certificate found" if isinstance(error, ssl.SSLError) else error.strerror
            raise ConnectionError(
                f"RECIS_MONITOR_CA_FILE: expected a file with certificates as PEM, got {path}: {reason}"
            ) from error
    return context
