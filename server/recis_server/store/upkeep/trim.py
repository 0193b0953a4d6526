"""Bounds on the log lines, events and filter passes of a run: keep the latest rows, and drop expired lines and passes.

Owns the bounds and the excess; every slice is one short transaction. Must not know processes.
"""

# Names of columns and tables below are constants of this file; every value is bound.
# ruff: noqa: S608

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from recis_server.store.engines import meta
from recis_server.store.engines.engine import Connection
from recis_server.store.tables.lines import count_removed
from recis_server.store.upkeep.retention import DAY_NS, Retention

__all__ = ["Excess", "find_excess", "read_trimmed", "trim_slice"]

SLICE_ROWS = 256


@dataclass(frozen=True, slots=True)
class _Bound:
    """The highest number of rows of a table per run, the last ones by `place`; with `ages`, retention applies too.

    `most` None stands for the bound that retention sets. The values of the column `shared_by` share the bound: the
    oldest row of the most frequent value is removed first.
    """

    most: int | None
    place: tuple[str, ...]
    ages: bool
    shared_by: str | None = None


BOUNDS: dict[str, _Bound] = {
    "line": _Bound(None, ("id",), ages=True),
    # Events explain a curve and stay as long as it does. Many checkpoints must not remove the alerts.
    "event": _Bound(10_000, ("id",), ages=False, shared_by="kind"),
    "filter_pass": _Bound(1_000_000, ("step", "id"), ages=True),
}


@dataclass(frozen=True, slots=True)
class Excess:
    """Rows of one run to remove: those up to the place `upto`, then those older than `before_ns`."""

    run_id: str
    table: str
    upto: tuple[int, ...] | None
    before_ns: int | None


def find_excess(connection: Connection, retention: Retention, since_ns: int, now_ns: int) -> list[Excess]:
    """Return the excess and expired rows; look for excess only in runs that have changed since `since_ns`.

    Call it in a read transaction.
    """
    found = []
    for run_id, project, updated_ns in connection.execute("SELECT run_id, project, updated_ns FROM run").fetchall():
        days = retention.days_of(project)
        for table, bound in BOUNDS.items():
            most = retention.lines if bound.most is None else bound.most
            upto = _last_too_much(connection, run_id, table, most) if updated_ns >= since_ns else None
            before_ns = None
            if days is not None and bound.ages:
                before_ns = now_ns - int(days * DAY_NS)
                if not any(time_ns < before_ns for *_, time_ns in _oldest(connection, run_id, table, 1)):
                    before_ns = None
            if upto is not None or before_ns is not None:
                found.append(Excess(run_id, table, upto, before_ns))
    return found


def trim_slice(connection: Connection, excess: Excess) -> bool:
    """Remove the oldest excess rows, and count those beyond the bound; return whether there may be more.

    Call it in a write transaction.
    """
    upto = excess.upto
    if BOUNDS[excess.table].shared_by is not None:
        rows = too_many = _most_frequent(connection, excess.run_id, excess.table)
    else:
        rows = list(_oldest(connection, excess.run_id, excess.table, SLICE_ROWS))
        too_many = [] if upto is None else list(takewhile(lambda row: row[:-1] <= upto, rows))
    before_ns = excess.before_ns
    too_old = [] if before_ns is None else list(takewhile(lambda row: row[-1] < before_ns, rows[len(too_many) :]))
    places = [row[:-1] for row in too_many + too_old]
    where = " AND ".join(f"{column} = ?" for column in ("run_id", *BOUNDS[excess.table].place))
    connection.executemany(f"DELETE FROM {excess.table} WHERE {where}", [(excess.run_id, *place) for place in places])
    if too_many:
        meta.add(connection, f"trimmed_{excess.table}", len(too_many))
        if excess.table == "line":
            count_removed(connection, excess.run_id, len(too_many))
    return len(places) == SLICE_ROWS


def read_trimmed(connection: Connection) -> dict[str, int]:
    """Return how many rows of each table were beyond the bounds since the store was created."""
    found = meta.read(connection)
    return {table: found.get(f"trimmed_{table}", 0) for table in BOUNDS}


def _last_too_much(connection: Connection, run_id: str, table: str, most: int) -> tuple[int, ...] | None:
    bound = BOUNDS[table]
    row = connection.execute(
        f"SELECT {', '.join(bound.place)} FROM {table} WHERE run_id = ?"
        f" ORDER BY {', '.join(f'{column} DESC' for column in bound.place)} LIMIT 1 OFFSET ?",
        (run_id, most),
    ).fetchone()
    return None if row is None else tuple(row)


def _most_frequent(connection: Connection, run_id: str, table: str) -> list[tuple[Any, ...]]:
    """Return place and time of the rows to remove first where values share the bound; at most `SLICE_ROWS`."""
    bound = BOUNDS[table]
    place = ", ".join(bound.place)
    latest_first = ", ".join(f"{column} DESC" for column in bound.place)
    (number,) = connection.execute(f"SELECT count(*) FROM {table} WHERE run_id = ?", (run_id,)).fetchone() or (0,)
    excess = min(SLICE_ROWS, number - (bound.most or 0))
    if excess <= 0:
        return []
    return connection.execute(
        f"SELECT {place}, time_ns FROM ("
        f" SELECT {place}, time_ns,"
        f" row_number() OVER (PARTITION BY {bound.shared_by} ORDER BY {latest_first}) AS age"
        f" FROM {table} WHERE run_id = ?"
        f") AS aged ORDER BY age DESC, {place} LIMIT ?",
        (run_id, excess),
    ).fetchall()


def _oldest(connection: Connection, run_id: str, table: str, most: int) -> Iterator[tuple[Any, ...]]:
    """Yield the place and the time of a run's first rows."""
    place = ", ".join(BOUNDS[table].place)
    yield from connection.execute(
        f"SELECT {place}, time_ns FROM {table} WHERE run_id = ? ORDER BY {place} LIMIT ?", (run_id, most)
    ).fetchall()
