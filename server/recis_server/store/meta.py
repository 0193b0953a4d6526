"""The store's own numbers, which belong to no run: how many commits there were, and what has been counted.

Owns the table `meta`. Functions on a connection inside of a transaction.
"""

from recis_server.store.engine import Connection

__all__ = ["UPKEEP_FAILURES", "add", "commit_number", "read", "write"]

UPKEEP_FAILURES = "upkeep_failures"
"""Counts how often the upkeep has set a run aside."""


def read(connection: Connection) -> dict[str, int]:
    """All of them by name."""
    return dict(connection.execute("SELECT name, value FROM meta").fetchall())


def commit_number(connection: Connection) -> int:
    """The number of the newest commit of frames."""
    return int(connection.execute("SELECT value FROM meta WHERE name = 'commit_number'").fetchone()[0])


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
