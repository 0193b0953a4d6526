"""Deletion of a run: its small tables at once, the others in slices that leave ingest room.

Functions for the write thread, each inside of a transaction that its caller has begun; must not know threads.
"""

# Names of columns and tables below are constants of this package; every value is bound.
# ruff: noqa: S608

from recis_server.store.engines.engine import Connection

__all__ = ["delete_run", "delete_slice"]

SLICE_ROWS, SLICE_BYTES = 256, 4 << 20
"""Rows of one table that one transaction of a deletion takes, and fewer once they have this many bytes."""
_AT_ONCE = ("attempt", "stream", "control", "command", "command_rank", "trace", "run")
"""Tables of a run that never have many rows of it: they go with the request, and the run is gone for everybody."""
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
)
"""The others, with what tells the rows of a run apart, and their bytes where they may have many."""


def delete_run(connection: Connection, run_id: str, asked_ns: int) -> list[str]:
    """Makes a run unknown but for its audit, and returns the blobs that it had; its points go with `delete_slice`."""
    blobs = [blob for (blob,) in connection.execute("SELECT blob FROM trace WHERE run_id = ?", (run_id,)).fetchall()]
    for table in _AT_ONCE:
        connection.execute(f"DELETE FROM {table} WHERE run_id = ?", (run_id,))
    connection.execute(
        "INSERT INTO deletion (run_id, asked_ns) VALUES (?, ?) ON CONFLICT (run_id) DO NOTHING", (run_id, asked_ns)
    )
    return [blob for blob in blobs if blob]


def delete_slice(connection: Connection, run_id: str) -> bool:
    """Removes a bounded number of a deleted run's rows; whether there may be more."""
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
