"""Registration of runs and writers by their greeting, and edits of a run.

Functions for the write thread, each inside a transaction begun by its caller; must not know threads.
"""

from collections.abc import Sequence

from recis.wire.messages import MAX_TEXT_CHARS, Hello
from recis.wire.text import as_name, as_text
from recis_server.errors import StoreUnavailable
from recis_server.store.engines.engine import Connection
from recis_server.store.json_columns import dump
from recis_server.store.tables.attempts import enter_attempt, started_ns
from recis_server.store.tables.frames import settle_run_state
from recis_server.store.values import StreamRow

__all__ = ["register", "update_run"]

MAX_TAGS = 64


def register(connection: Connection, hello: Hello, received_ns: int) -> StreamRow:
    """Register run, attempt and writer, and return the writer's committed state.

    Raises:
        StoreUnavailable: a run of this name is being deleted, or may still be restored.
    """
    deletion = connection.execute("SELECT kept FROM deletion WHERE run_id = ?", (hello.run,)).fetchone()
    if deletion is not None:
        is_final = deletion[0] == ""
        state = "is still being deleted" if is_final else "was deleted, which can be undone for a while"
        raise StoreUnavailable(f"run {hello.run} {state}; try again in a moment")
    known = connection.execute(
        "SELECT s.rank, s.attempt, s.acked, a.started_ns FROM stream AS s"
        " JOIN attempt AS a ON a.run_id = s.run_id AND a.ordinal = s.attempt WHERE s.run_id = ? AND s.writer = ?",
        (hello.run, hello.writer),
    ).fetchone()
    if known is not None:
        return StreamRow(hello.run, hello.writer, *known)
    _add_run(connection, hello, received_ns)
    begun_ns = _begun_ns(connection, hello, received_ns)
    attempt, attempt_ns = enter_attempt(connection, hello, begun_ns)
    connection.execute(
        "INSERT INTO stream (run_id, writer, rank, attempt, acked, dropped, state, message, host, pid, client,"
        " created_ns) VALUES (?, ?, ?, ?, 0, 0, 'running', '', ?, ?, ?, ?)",
        (
            hello.run,
            hello.writer,
            hello.rank,
            attempt,
            as_name(hello.host),
            hello.pid,
            as_name(hello.client),
            # Of a rank's writers the one that began last determines its state, whichever registers first.
            begun_ns,
        ),
    )
    _set_world_size(connection, hello, begun_ns)
    settle_run_state(connection, hello.run)
    return StreamRow(hello.run, hello.writer, hello.rank, attempt, 0, attempt_ns)


def _begun_ns(connection: Connection, hello: Hello, received_ns: int) -> int:
    """Return when the writer began; last of all if the server's clock was set back since a recorded start."""
    (newest_ns,) = connection.execute("SELECT max(created_ns) FROM stream WHERE run_id = ?", (hello.run,)).fetchone()
    if newest_ns is not None and received_ns < newest_ns:
        return int(newest_ns) + 1
    return started_ns(hello, received_ns)


def _add_run(connection: Connection, hello: Hello, received_ns: int) -> None:
    name = as_name(hello.name) or hello.run
    tags = dump([as_name(tag) for tag in hello.tags[:MAX_TAGS]])
    config = dump(hello.config)
    connection.execute(
        "INSERT INTO run (run_id, project, name, state, message, created_ns, updated_ns, world_size, last_attempt,"
        " last_step, tags, notes, config, points, missing)"
        " VALUES (?, ?, ?, 'running', '', ?, ?, ?, 0, NULL, ?, '', ?, 0, 0) ON CONFLICT DO NOTHING",
        (
            hello.run,
            as_name(hello.project),
            name,
            received_ns,
            received_ns,
            hello.world_size,
            tags,
            config,
        ),
    )
    # Ranks may know different things and register in any order: fill in what is still empty, keep what users changed.
    connection.execute(
        "UPDATE run SET updated_ns = updated_ns + 1,"
        " name = CASE WHEN name = run_id AND name_is_chosen = 0 THEN ? ELSE name END,"
        " tags = CASE WHEN tags = '[]' AND tags_are_chosen = 0 THEN ? ELSE tags END,"
        " config = CASE WHEN ? != '{}' AND (config = '{}' OR ? = 0) THEN ? ELSE config END WHERE run_id = ?",
        (name, tags, config, hello.rank, config, hello.run),
    )


def _set_world_size(connection: Connection, hello: Hello, begun_ns: int) -> None:
    """Record how many ranks there are now, and forget what those of a larger job have declared.

    The process that began last knows: what an earlier one has left may be sent at any time.
    """
    (newest_ns,) = connection.execute("SELECT max(created_ns) FROM stream WHERE run_id = ?", (hello.run,)).fetchone()
    if begun_ns == newest_ns:
        connection.execute("UPDATE run SET world_size = ? WHERE run_id = ?", (hello.world_size, hello.run))
        connection.execute("DELETE FROM control WHERE run_id = ? AND rank >= ?", (hello.run, hello.world_size))


def update_run(
    connection: Connection,
    run_id: str,
    name: str | None,
    tags: Sequence[str] | None,
    notes: str | None,
    archived: bool | None,
) -> None:
    """Change what is not None."""
    connection.execute(
        "UPDATE run SET name = coalesce(?, name), tags = coalesce(?, tags), notes = coalesce(?, notes),"
        " archived = coalesce(?, archived), name_is_chosen = coalesce(?, name_is_chosen),"
        " tags_are_chosen = coalesce(?, tags_are_chosen), updated_ns = updated_ns + 1 WHERE run_id = ?",
        (
            None if name is None else as_name(name),
            None if tags is None else dump(list(dict.fromkeys(as_name(tag) for tag in tags))),
            None if notes is None else as_text(notes, MAX_TEXT_CHARS),
            None if archived is None else int(archived),
            None if name is None else 1,
            None if tags is None else 1,
            run_id,
        ),
    )
