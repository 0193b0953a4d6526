"""What the processes of a run say about themselves, per attempt and rank.

Functions on a connection inside a transaction; must not know what the parts mean.
"""

from collections.abc import Mapping
from typing import Any

from recis_server.store.engines.engine import Connection
from recis_server.store.json_columns import dump, load_or
from recis_server.store.values import AttemptRow, ProcessRow, StreamRow

__all__ = ["merge_info", "read_attempts", "read_processes"]

MAX_INFO_CHARS = 1 << 19
"""Of what one process says, as JSON."""


def merge_info(connection: Connection, stream: StreamRow, parts: Mapping[str, Any]) -> None:
    """Add parts to what a process has said; later parts replace earlier ones of the same name.

    What would make it longer than `MAX_INFO_CHARS` is left out.
    """
    place = (stream.run, stream.attempt, stream.rank)
    row = connection.execute(
        "SELECT info FROM process_info WHERE run_id = ? AND attempt = ? AND rank = ?", place
    ).fetchone()
    known = load_or(row[0], {}) if row is not None else {}
    info = dump({**(known if isinstance(known, dict) else {}), **parts})
    if len(info) > MAX_INFO_CHARS:
        return
    connection.execute(
        "INSERT INTO process_info (run_id, attempt, rank, info) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (run_id, attempt, rank) DO UPDATE SET info = excluded.info",
        (*place, info),
    )


def read_attempts(connection: Connection, run_id: str) -> tuple[AttemptRow, ...]:
    """Return the attempts of a run in order of their start."""
    rows = connection.execute(
        "SELECT ordinal, started_ns FROM attempt WHERE run_id = ? ORDER BY started_ns, ordinal", (run_id,)
    ).fetchall()
    return tuple(AttemptRow(*row) for row in rows)


def read_processes(connection: Connection, run_id: str, attempt: int, limit: int) -> tuple[ProcessRow, ...]:
    """Return the ranks of an attempt, lowest first; of a rank's writers the latest."""
    rows = connection.execute(
        "SELECT s.rank, s.host, s.pid, s.client, s.created_ns, p.info FROM stream AS s LEFT JOIN process_info AS p"
        " ON p.run_id = s.run_id AND p.attempt = s.attempt AND p.rank = s.rank"
        " WHERE s.run_id = ? AND s.attempt = ? ORDER BY s.rank, s.created_ns DESC",
        (run_id, attempt),
    ).fetchall()
    found: dict[int, ProcessRow] = {}
    for rank, host, pid, client, started_ns, info in rows:
        if rank not in found and len(found) < limit:
            known = load_or(info, {}) if info is not None else {}
            found[rank] = ProcessRow(rank, host, pid, client, started_ns, known if isinstance(known, dict) else {})
    return tuple(found.values())
