"""Runs and writers made known: what a greeting changes in the tables, and how a run is edited and removed.

Functions for the write thread, each inside of a transaction that its caller has begun; must not know threads.
"""

# Names of columns and tables below are constants of this package; every value is bound.
# ruff: noqa: S608

from collections.abc import Sequence

from recis.wire.messages import MAX_TEXT_CHARS, Hello
from recis_server.store.attempts import enter_attempt
from recis_server.store.codec import dump, shorten
from recis_server.store.engine import Connection
from recis_server.store.frames import settle_run_state
from recis_server.store.interface import StreamRow

__all__ = ["RUN_TABLES", "delete_run", "register", "update_run"]

MAX_NAME_CHARS = 256
MAX_TAGS = 64
RUN_TABLES = (
    "attempt",
    "stream",
    "series",
    "keyset",
    "frame",
    "filter_pass",
    "line",
    "event",
    "control",
    "command",
    "command_rank",
    "trace",
    "run",
)


def register(connection: Connection, hello: Hello, received_ns: int) -> StreamRow:
    """Makes run, attempt and writer known, and tells what of this writer is committed."""
    known = connection.execute(
        "SELECT s.rank, s.attempt, s.acked, a.started_ns FROM stream AS s"
        " JOIN attempt AS a ON a.run_id = s.run_id AND a.ordinal = s.attempt WHERE s.run_id = ? AND s.writer = ?",
        (hello.run, hello.writer),
    ).fetchone()
    if known is not None:
        return StreamRow(hello.run, hello.writer, *known)
    _add_run(connection, hello, received_ns)
    attempt, started_ns = enter_attempt(connection, hello, received_ns)
    connection.execute(
        "INSERT INTO stream (run_id, writer, rank, attempt, acked, dropped, state, message, host, pid, client,"
        " created_ns) VALUES (?, ?, ?, ?, 0, 0, 'running', '', ?, ?, ?, ?)",
        (
            hello.run,
            hello.writer,
            hello.rank,
            attempt,
            shorten(hello.host, MAX_NAME_CHARS),
            hello.pid,
            shorten(hello.client, MAX_NAME_CHARS),
            received_ns,
        ),
    )
    settle_run_state(connection, hello.run)
    return StreamRow(hello.run, hello.writer, hello.rank, attempt, 0, started_ns)


def _add_run(connection: Connection, hello: Hello, received_ns: int) -> None:
    name = shorten(hello.name, MAX_NAME_CHARS) or hello.run
    tags = dump([shorten(tag, MAX_NAME_CHARS) for tag in hello.tags[:MAX_TAGS]])
    config = dump(hello.config)
    connection.execute(
        "INSERT INTO run (run_id, project, name, state, message, created_ns, updated_ns, world_size, last_attempt,"
        " last_step, tags, notes, config, points, missing)"
        " VALUES (?, ?, ?, 'running', '', ?, ?, ?, 0, NULL, ?, '', ?, 0, 0) ON CONFLICT DO NOTHING",
        (
            hello.run,
            shorten(hello.project, MAX_NAME_CHARS),
            name,
            received_ns,
            received_ns,
            hello.world_size,
            tags,
            config,
        ),
    )
    # Ranks may know different things and come in any order: what is still empty is filled in, what users changed stays.
    connection.execute(
        "UPDATE run SET world_size = ?, name = CASE WHEN name = run_id THEN ? ELSE name END,"
        " tags = CASE WHEN tags = '[]' THEN ? ELSE tags END,"
        " config = CASE WHEN ? != '{}' AND (config = '{}' OR ? = 0) THEN ? ELSE config END WHERE run_id = ?",
        (hello.world_size, name, tags, config, hello.rank, config, hello.run),
    )


def update_run(
    connection: Connection, run_id: str, name: str | None, tags: Sequence[str] | None, notes: str | None
) -> None:
    """Changes what is not None."""
    connection.execute(
        "UPDATE run SET name = coalesce(?, name), tags = coalesce(?, tags), notes = coalesce(?, notes)"
        " WHERE run_id = ?",
        (
            name,
            None if tags is None else dump(list(tags)),
            None if notes is None else shorten(notes, MAX_TEXT_CHARS),
            run_id,
        ),
    )


def delete_run(connection: Connection, run_id: str) -> list[str]:
    """Removes all rows of a run but its audit, and returns the blobs that it had."""
    blobs = [blob for (blob,) in connection.execute("SELECT blob FROM trace WHERE run_id = ?", (run_id,))]
    for table in RUN_TABLES:
        connection.execute(f"DELETE FROM {table} WHERE run_id = ?", (run_id,))
    return [blob for blob in blobs if blob]
