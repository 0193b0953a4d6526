"""Rows of the smaller tables as values of the interface: metrics, events, tokens.

Functions on a connection inside a transaction; must not know threads or who asks.
"""

# Names of columns and tables below are constants of this package; every value is bound.
# ruff: noqa: S608

from dataclasses import replace
from typing import Any

from recis.wire.messages import MAX_TEXT_CHARS
from recis.wire.text import as_text
from recis_server.store.engines.engine import Connection
from recis_server.store.json_columns import dump, load_or
from recis_server.store.tables import tallies
from recis_server.store.tables.attempts import attempt_places
from recis_server.store.tables.keyset_cache import KeySetCache
from recis_server.store.values import EventRow, MetricRow, TokenRow

__all__ = [
    "read_events",
    "read_events_after",
    "read_metrics",
    "read_tokens",
    "write_event",
]

_EVENT = "id, kind, level, time_ns, step, rank, text, data"


def read_metrics(connection: Connection, keyset_cache: KeySetCache, run_id: str) -> tuple[MetricRow, ...]:
    """Return the run's series names over all ranks, in order of first appearance."""
    found = connection.execute("SELECT created_ns FROM run WHERE run_id = ?", (run_id,)).fetchone()
    if found is None:
        return ()
    return tallies.read_metrics(connection, keyset_cache, run_id, found[0], attempt_places(connection, run_id))


def read_events(connection: Connection, run_id: str, limit: int) -> tuple[EventRow, ...]:
    """Return the latest events, oldest first. If there are more than `limit`, each kind gets an equal share."""
    rows = connection.execute(
        f"SELECT {_EVENT} FROM ("
        f" SELECT {_EVENT}, row_number() OVER (PARTITION BY kind ORDER BY id DESC) AS age FROM event WHERE run_id = ?"
        ") AS aged ORDER BY age, id DESC LIMIT ?",
        (run_id, limit),
    ).fetchall()
    return tuple(_event(row) for row in sorted(rows))


def read_events_after(connection: Connection, run_id: str, event_id: int, limit: int) -> tuple[EventRow, ...]:
    """Return the latest `limit` of the events with a higher id, oldest first; reads no others."""
    rows = connection.execute(
        f"SELECT {_EVENT} FROM event WHERE run_id = ? AND id > ? ORDER BY id DESC LIMIT ?", (run_id, event_id, limit)
    ).fetchall()
    return tuple(_event(row) for row in reversed(rows))


def write_event(connection: Connection, run_id: str, event: EventRow, repeated_ns: int = 0) -> EventRow:
    """Add an event and return it with its id; 0 if the run was deleted, and the event with it.

    An event repeated within `repeated_ns` is counted in the first one; see `interface.Store.add_event`.
    """
    if connection.execute("SELECT 1 FROM run WHERE run_id = ?", (run_id,)).fetchone() is None:
        return replace(event, id=0)
    before = _last_alike(connection, run_id, event) if repeated_ns else None
    if before is not None and 0 <= event.time_ns - before.time_ns < repeated_ns:
        times = int(before.data.get("times", 1)) + 1
        seconds = (event.time_ns - before.time_ns) / 1e9
        text = f"{event.text} {times} times within {seconds:.0f} s"
        again = replace(before, text=text, data={**before.data, "times": times, "last": event.time_ns / 1e9})
        connection.execute(
            "UPDATE event SET text = ?, data = ? WHERE run_id = ? AND id = ?",
            (again.text, dump(again.data), run_id, again.id),
        )
        return again
    (number,) = connection.execute(
        "INSERT INTO event (run_id, kind, level, time_ns, step, rank, text, data) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
        " RETURNING id",
        (
            run_id,
            event.kind,
            event.level,
            event.time_ns,
            event.step,
            event.rank,
            as_text(event.text, MAX_TEXT_CHARS),
            dump(event.data),
        ),
    ).fetchone()
    return replace(event, id=number)


def _last_alike(connection: Connection, run_id: str, event: EventRow) -> EventRow | None:
    """Return the latest event of the same kind, rank and attempt."""
    row = connection.execute(
        f"SELECT {_EVENT} FROM event WHERE run_id = ? AND kind = ? AND rank = ? ORDER BY id DESC LIMIT 1",
        (run_id, event.kind, event.rank),
    ).fetchone()
    found = None if row is None else _event(row)
    return found if found is not None and found.data.get("attempt") == event.data.get("attempt") else None


def read_tokens(connection: Connection) -> tuple[TokenRow, ...]:
    """Return all tokens, oldest first."""
    rows = connection.execute(
        "SELECT token_id, name, scope, digest, created_ns, expires_ns, used_ns FROM token ORDER BY created_ns, token_id"
    )
    return tuple(TokenRow(*row) for row in rows)


def _event(row: tuple[Any, ...]) -> EventRow:
    return replace(EventRow(*row), data=load_or(row[-1], {}))
