"""Deletion of a run: its small tables at once, the others in slices that leave room for ingest.

A deletion that can be undone moves the run's row into the table of deletions, so that the run is gone for every reader
and writer; all other rows stay until the deletion becomes final. Functions for the write thread, each inside a
transaction begun by its caller; must not know threads.
"""

# Names of columns and tables below are constants of this package; every value is bound.
# ruff: noqa: S608

import json

from recis_server.store.engines.engine import Connection
from recis_server.store.json_columns import load
from recis_server.store.values import HiddenRun

__all__ = ["delete_run", "delete_slice", "hide_run", "read_hidden", "restore_run"]

SLICE_ROWS, SLICE_BYTES = 256, 4 << 20
"""Rows of one table removed by one transaction of a deletion; fewer once they have this many bytes."""
_AT_ONCE = ("attempt", "stream", "control", "command", "command_rank", "trace", "run")
"""Tables with few rows per run: their rows are removed with the request, and the run is gone for everybody."""
_IN_SLICES = (
    ("frame", ("id",), "length(steps) + length(times) + length(data)"),
    ("chunk", ("series", "attempt", "lo"), "coalesce(length(data), 0)"),
    ("pyramid", ("series", "attempt", "level", "lo"), "length(cells)"),
    ("axis", ("axis",), "length(steps) + length(times)"),
    ("tally", ("keyset",), "length(nans) + length(lasts)"),
    ("keyset", ("series", "keyset"), "0"),
    ("series", ("series",), "0"),
    ("filter_pass", ("id",), "0"),
    ("line", ("id",), "0"),
    ("event", ("id",), "0"),
    ("process_info", ("attempt", "rank"), "length(info)"),
)
"""The other tables, with the key of a row within its run, and its size where that may be large."""
_RUN_COLUMNS = (
    *("run_id", "project", "name", "state", "message", "created_ns", "updated_ns", "world_size", "last_attempt"),
    *("last_step", "tags", "notes", "config", "points", "missing", "lines_dropped", "lines_removed", "archived"),
    *("name_is_chosen", "tags_are_chosen", "compactions", "changes"),
)
"""All columns of a run's row."""


def hide_run(connection: Connection, run_id: str, asked_ns: int, final_ns: int) -> bool:
    """Hide a run until it is restored or deleted; return False if there is none."""
    row = connection.execute(f"SELECT {', '.join(_RUN_COLUMNS)} FROM run WHERE run_id = ?", (run_id,)).fetchone()
    if row is None:
        return False
    connection.execute(
        "INSERT INTO deletion (run_id, asked_ns, kept, final_ns) VALUES (?, ?, ?, ?)",
        (run_id, asked_ns, json.dumps(dict(zip(_RUN_COLUMNS, row, strict=True)), default=str), final_ns),
    )
    connection.execute("DELETE FROM run WHERE run_id = ?", (run_id,))
    return True


def restore_run(connection: Connection, run_id: str) -> bool:
    """Undo `hide_run`; return False if the run is not hidden."""
    found = connection.execute("SELECT kept FROM deletion WHERE run_id = ?", (run_id,)).fetchone()
    if found is None or not found[0]:
        return False
    row = load(found[0])
    row["updated_ns"] += 1
    connection.execute(f"INSERT INTO run ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})", tuple(row.values()))
    connection.execute("DELETE FROM deletion WHERE run_id = ?", (run_id,))
    return True


def read_hidden(connection: Connection) -> tuple[HiddenRun, ...]:
    """Return the hidden runs, the first to be deleted first."""
    rows = connection.execute("SELECT run_id, final_ns FROM deletion WHERE kept <> '' ORDER BY final_ns, run_id")
    return tuple(HiddenRun(*row) for row in rows)


def delete_run(connection: Connection, run_id: str, asked_ns: int) -> list[str]:
    """Remove a run except for its audit, and return the blobs that it had; `delete_slice` removes its points."""
    blobs = [blob for (blob,) in connection.execute("SELECT blob FROM trace WHERE run_id = ?", (run_id,)).fetchall()]
    for table in _AT_ONCE:
        connection.execute(f"DELETE FROM {table} WHERE run_id = ?", (run_id,))
    connection.execute(
        "INSERT INTO deletion (run_id, asked_ns) VALUES (?, ?) ON CONFLICT (run_id) DO UPDATE SET kept = ''",
        (run_id, asked_ns),
    )
    return [blob for blob in blobs if blob]


def delete_slice(connection: Connection, run_id: str) -> bool:
    """Remove a bounded number of a deleted run's rows; return whether there may be more."""
    for table, place, size in _IN_SLICES:
        rows: list[tuple[str | int, ...]] = []
        num_bytes = 0
        for *row, row_bytes in connection.execute(
            f"SELECT {', '.join(place)}, {size} FROM {table} WHERE run_id = ? LIMIT {SLICE_ROWS}", (run_id,)
        ).fetchall():
            rows.append((run_id, *row))
            num_bytes += row_bytes
            if num_bytes >= SLICE_BYTES:
                break
        if rows:
            where = " AND ".join(f"{column} = ?" for column in ("run_id", *place))
            connection.executemany(f"DELETE FROM {table} WHERE {where}", rows)
            return True
    connection.execute("DELETE FROM deletion WHERE run_id = ?", (run_id,))
    return False
