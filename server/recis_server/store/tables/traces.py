"""Rows of profiler traces, with their summaries.

Functions on a connection inside a transaction; must not know threads, files or the content of a summary.
"""

# Names of columns and tables below are constants of this package; every value is bound.
# ruff: noqa: S608

from dataclasses import replace
from typing import Any

from recis_server.errors import StoreUnavailable
from recis_server.store.engines.engine import Connection
from recis_server.store.json_columns import dump, load_summary
from recis_server.store.values import TraceRow

__all__ = [
    "delete_trace",
    "find_trace",
    "read_trace",
    "read_traces",
    "read_unfinished",
    "read_waiting",
    "update_trace",
    "write_trace",
]

_COLUMNS = (
    "name",
    "rank",
    "attempt",
    "step",
    "size",
    "sha256",
    "state",
    "created_ns",
    "blob",
    "summary",
    "summary_state",
    "summary_error",
)
_ALL_NAMES = ("trace_id", "run_id", *_COLUMNS)
_ALL = ", ".join(_ALL_NAMES)


def write_trace(connection: Connection, trace: TraceRow) -> None:
    """Insert or replace a trace.

    Raises:
        StoreUnavailable: its run is gone.
    """
    if connection.execute("SELECT 1 FROM run WHERE run_id = ?", (trace.run,)).fetchone() is None:
        raise StoreUnavailable(f"run {trace.run} was deleted while its trace arrived")
    connection.execute(
        f"INSERT INTO trace ({_ALL}) VALUES (?, ?, {', '.join('?' * len(_COLUMNS))})"
        f" ON CONFLICT (run_id, trace_id) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in _COLUMNS)}",
        (trace.id, trace.run, *_values(trace)),
    )


def update_trace(connection: Connection, trace: TraceRow) -> bool:
    """Replace a trace; return False if it is gone."""
    changed = connection.execute(
        f"UPDATE trace SET {', '.join(f'{name} = ?' for name in _COLUMNS)} WHERE run_id = ? AND trace_id = ?",
        (*_values(trace), trace.run, trace.id),
    )
    return changed.rowcount > 0


def delete_trace(connection: Connection, trace: TraceRow) -> None:
    """Remove a trace."""
    connection.execute("DELETE FROM trace WHERE run_id = ? AND trace_id = ?", (trace.run, trace.id))


def read_trace(connection: Connection, trace_id: str) -> TraceRow | None:
    """Return one trace; None for one of a deleted run, whose row exists for as long as the run can be restored."""
    row = connection.execute(
        f"SELECT {_ALL} FROM trace WHERE trace_id = ? AND EXISTS (SELECT 1 FROM run WHERE run.run_id = trace.run_id)",
        (trace_id,),
    ).fetchone()
    return None if row is None else _trace(row)


def read_traces(connection: Connection, run_id: str) -> tuple[TraceRow, ...]:
    """Return a run's traces, newest first."""
    rows = connection.execute(
        f"SELECT {_ALL} FROM trace WHERE run_id = ? ORDER BY created_ns DESC, trace_id",
        (run_id,),
    )
    return tuple(_trace(row) for row in rows)


def find_trace(connection: Connection, run_id: str, rank: int, name: str, sha256: str) -> TraceRow | None:
    """Return the ready trace with this content that this rank has sent under this name."""
    row = connection.execute(
        f"SELECT {_ALL} FROM trace WHERE run_id = ? AND rank = ? AND name = ? AND sha256 = ? AND state = 'ready'"
        " LIMIT 1",
        (run_id, rank, name, sha256),
    ).fetchone()
    return None if row is None else _trace(row)


def read_unfinished(connection: Connection) -> tuple[TraceRow, ...]:
    """Return the traces of all runs whose file is not known to be complete."""
    rows = connection.execute(f"SELECT {_ALL} FROM trace WHERE state = 'uploading'")
    return tuple(_trace(row) for row in rows)


def read_waiting(connection: Connection, last_run: str, most_bytes: int | None, limit: int) -> tuple[TraceRow, ...]:
    """Return traces whose summary is pending: runs after `last_run` first, and of each run the oldest first."""
    smaller, values = ("", ()) if most_bytes is None else (" AND size <= ?", (most_bytes,))
    rows = connection.execute(
        # The condition has to be identical to that of the index `trace_waiting`.
        f"SELECT {_ALL} FROM trace WHERE summary_state = 'pending' AND state = 'ready'{smaller}"
        " ORDER BY CASE WHEN run_id > ? THEN 0 ELSE 1 END, run_id, created_ns, trace_id LIMIT ?",
        (*values, last_run, limit),
    )
    return tuple(_trace(row) for row in rows)


def _values(trace: TraceRow) -> tuple[Any, ...]:
    return (
        trace.name,
        trace.rank,
        trace.attempt,
        trace.step,
        trace.size,
        trace.sha256,
        trace.state,
        trace.created_ns,
        trace.blob,
        dump(trace.summary),
        trace.summary_state,
        trace.summary_error,
    )


def _trace(row: tuple[Any, ...]) -> TraceRow:
    trace = TraceRow(*row)
    try:
        return replace(trace, summary=load_summary(row[_ALL_NAMES.index("summary")]))
    except ValueError as error:  # written by an earlier version, which stored what it found in the file
        return replace(trace, summary=None, summary_state="failed", summary_error=str(error))
