"""Values of the store that belong to no run: its identity, its number of commits, and counters.

Owns the table `meta`. Functions on a connection inside a transaction.
"""

import secrets

from recis_server.store.engines.engine import Connection

__all__ = [
    "COMMIT_NUMBER",
    "COMPATIBLE_FROM",
    "IDENTITY",
    "PROBE",
    "UPKEEP_FAILURES",
    "add",
    "commit_number",
    "identify",
    "read",
    "write",
]

COMMIT_NUMBER = "commit_number"
"""Incremented by every commit of frames."""
COMPATIBLE_FROM = "compatible_from"
"""The oldest schema version whose servers can use the store, see `schema.COMPATIBLE_FROM`."""
IDENTITY = "identity"
"""Distinguishes this store from all others; a copy has the same identity."""
PROBE = "probe"
"""Time in ns at which the store was last probed for writing."""
UPKEEP_FAILURES = "upkeep_failures"
"""Counts how often maintenance has set a run aside."""


def read(connection: Connection) -> dict[str, int]:
    """Return all values by name."""
    return dict(connection.execute("SELECT name, value FROM meta").fetchall())


def commit_number(connection: Connection) -> int:
    """Return the number of the latest commit of frames."""
    return read(connection)[COMMIT_NUMBER]


def identify(connection: Connection) -> int:
    """Return the store's identity; assign one if it has none, in a write transaction."""
    known = read(connection).get(IDENTITY)
    if known is None:
        known = secrets.randbits(62)
        write(connection, IDENTITY, known)
    return known


def write(connection: Connection, name: str, value: int) -> None:
    """Set one value."""
    connection.execute(
        "INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        (name, value),
    )


def add(connection: Connection, name: str, number: int) -> None:
    """Add to a counter, which starts at zero."""
    connection.execute(
        "INSERT INTO meta (name, value) VALUES (?, ?)"
        " ON CONFLICT (name) DO UPDATE SET value = meta.value + excluded.value",
        (name, number),
    )
