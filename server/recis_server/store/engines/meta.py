"""The store's own numbers, which belong to no run: which store it is, how many commits it has, what has been counted.

Owns the table `meta`. Functions on a connection inside of a transaction.
"""

import secrets

from recis_server.store.engines.engine import Connection

__all__ = ["COMMIT_NUMBER", "IDENTITY", "PROBE", "UPKEEP_FAILURES", "add", "commit_number", "identify", "read", "write"]

COMMIT_NUMBER = "commit_number"
"""Rises by one with every commit of frames."""
IDENTITY = "identity"
"""Tells this store from all others; a copy of it has the same."""
PROBE = "probe"
"""When it was last tried whether the store can be written, in ns."""
UPKEEP_FAILURES = "upkeep_failures"
"""Counts how often the upkeep has set a run aside."""


def read(connection: Connection) -> dict[str, int]:
    """All of them by name."""
    return dict(connection.execute("SELECT name, value FROM meta").fetchall())


def commit_number(connection: Connection) -> int:
    """The number of the newest commit of frames."""
    return read(connection)[COMMIT_NUMBER]


def identify(connection: Connection) -> int:
    """The store's identity; one that has none is given one, in a transaction that writes."""
    known = read(connection).get(IDENTITY)
    if known is None:
        known = secrets.randbits(62)
        write(connection, IDENTITY, known)
    return known


def write(connection: Connection, name: str, value: int) -> None:
    """Sets one."""
    connection.execute(
        "INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        (name, value),
    )


def add(connection: Connection, name: str, number: int) -> None:
    """Counts so many more; from zero where nothing was counted yet."""
    connection.execute(
        "INSERT INTO meta (name, value) VALUES (?, ?)"
        " ON CONFLICT (name) DO UPDATE SET value = meta.value + excluded.value",
        (name, number),
    )
