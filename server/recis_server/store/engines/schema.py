"""The tables, as numbered migrations that are applied in order and never edited.

Owns the creation and the changes of tables, including the migration of their rows. Every key starts with `run_id` where
there is one, so that the same tables can be distributed by run. Servers of two releases may use one store during an
upgrade: see `COMPATIBLE_FROM`.
"""

import math
import re
import struct
from collections.abc import Callable

from recis_server.errors import StoreError
from recis_server.store.engines import meta
from recis_server.store.engines.engine import Connection
from recis_server.store.json_columns import load_summary

__all__ = ["COMPATIBLE_FROM", "MIGRATIONS", "SCHEMA_VERSION", "TABLES", "check_version", "statements"]

_FIRST = """
CREATE TABLE run (
    run_id TEXT PRIMARY KEY, project TEXT NOT NULL, name TEXT NOT NULL, state TEXT NOT NULL, message TEXT NOT NULL,
    created_ns INTEGER NOT NULL, updated_ns INTEGER NOT NULL, world_size INTEGER NOT NULL,
    last_attempt INTEGER NOT NULL, last_step INTEGER, tags TEXT NOT NULL, notes TEXT NOT NULL, config TEXT NOT NULL,
    points INTEGER NOT NULL, missing INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE attempt (
    run_id TEXT NOT NULL, attempt_id TEXT NOT NULL, ordinal INTEGER NOT NULL, started_ns INTEGER NOT NULL,
    PRIMARY KEY (run_id, attempt_id)
) WITHOUT ROWID;
-- What each writer has had acknowledged: a frame with a number up to `acked` is a repeat.
CREATE TABLE stream (
    run_id TEXT NOT NULL, writer TEXT NOT NULL, rank INTEGER NOT NULL, attempt INTEGER NOT NULL, acked INTEGER NOT NULL,
    dropped INTEGER NOT NULL, state TEXT NOT NULL, message TEXT NOT NULL, host TEXT NOT NULL, pid INTEGER NOT NULL,
    client TEXT NOT NULL, created_ns INTEGER NOT NULL,
    PRIMARY KEY (run_id, writer)
) WITHOUT ROWID;
-- One name on one rank, with what is known of its points: the last one is that of the newest (attempt, step).
-- `last_value` is NULL for NaN, which SQLite cannot hold.
CREATE TABLE series (
    run_id TEXT NOT NULL, series INTEGER NOT NULL, rank INTEGER NOT NULL, key TEXT NOT NULL,
    count INTEGER NOT NULL, nan_count INTEGER NOT NULL, first_step INTEGER NOT NULL, last_step INTEGER NOT NULL,
    last_attempt INTEGER NOT NULL, last_value REAL,
    PRIMARY KEY (run_id, series)
) WITHOUT ROWID;
-- Series that were reported together; `position` is the place of the column in the frame's data.
CREATE TABLE keyset (
    run_id TEXT NOT NULL, series INTEGER NOT NULL, keyset INTEGER NOT NULL, position INTEGER NOT NULL,
    PRIMARY KEY (run_id, series, keyset)
) WITHOUT ROWID;
-- Hot points: one row per group of values that share steps. `id` rises in order of arrival.
CREATE TABLE frame (
    id INTEGER PRIMARY KEY, run_id TEXT NOT NULL, keyset INTEGER NOT NULL, attempt INTEGER NOT NULL,
    lo INTEGER NOT NULL, hi INTEGER NOT NULL, num_rows INTEGER NOT NULL,
    steps BLOB NOT NULL, times BLOB NOT NULL, data BLOB NOT NULL
);
CREATE INDEX frame_range ON frame (run_id, keyset, hi, lo);
CREATE TABLE filter_pass (
    id INTEGER PRIMARY KEY, run_id TEXT NOT NULL, step INTEGER NOT NULL, time_ns INTEGER NOT NULL,
    rank INTEGER NOT NULL, attempt INTEGER NOT NULL, table_name TEXT NOT NULL, interval INTEGER,
    rows_before INTEGER NOT NULL,
    evicted INTEGER NOT NULL, rows_after INTEGER NOT NULL, admitted INTEGER NOT NULL, milliseconds REAL,
    bytes INTEGER NOT NULL
);
CREATE INDEX filter_pass_step ON filter_pass (run_id, step);
CREATE TABLE line (
    id INTEGER PRIMARY KEY, run_id TEXT NOT NULL, rank INTEGER NOT NULL, time_ns INTEGER NOT NULL, step INTEGER,
    level TEXT NOT NULL, text TEXT NOT NULL
);
CREATE INDEX line_run ON line (run_id, id);
CREATE TABLE event (
    id INTEGER PRIMARY KEY, run_id TEXT NOT NULL, kind TEXT NOT NULL, level TEXT NOT NULL, time_ns INTEGER NOT NULL,
    step INTEGER, rank INTEGER, text TEXT NOT NULL, data TEXT NOT NULL
);
CREATE INDEX event_run ON event (run_id, id);
CREATE TABLE control (
    run_id TEXT NOT NULL, control TEXT NOT NULL, rank INTEGER NOT NULL, type TEXT NOT NULL, value TEXT NOT NULL,
    step INTEGER, minimum REAL, maximum REAL, nullable INTEGER NOT NULL, unit TEXT NOT NULL, description TEXT NOT NULL,
    PRIMARY KEY (run_id, control, rank)
) WITHOUT ROWID;
CREATE TABLE command (
    seq INTEGER PRIMARY KEY, command_id TEXT NOT NULL UNIQUE, run_id TEXT NOT NULL, control TEXT NOT NULL,
    value TEXT NOT NULL, state TEXT NOT NULL, requested_by TEXT NOT NULL, requested_ns INTEGER NOT NULL,
    reason TEXT NOT NULL, apply_at_step INTEGER
);
CREATE INDEX command_run ON command (run_id, seq);
CREATE TABLE command_rank (
    run_id TEXT NOT NULL, command_id TEXT NOT NULL, rank INTEGER NOT NULL, state TEXT NOT NULL, old TEXT NOT NULL,
    new TEXT NOT NULL, step INTEGER, time_ns INTEGER, message TEXT NOT NULL,
    PRIMARY KEY (run_id, command_id, rank)
) WITHOUT ROWID;
-- Append only, written in the transaction of the change that it tells of.
CREATE TABLE audit (
    id INTEGER PRIMARY KEY, at_ns INTEGER NOT NULL, actor TEXT NOT NULL, run_id TEXT NOT NULL, command_id TEXT NOT NULL,
    action TEXT NOT NULL, before TEXT NOT NULL, after TEXT NOT NULL
);
CREATE TABLE trace (
    trace_id TEXT PRIMARY KEY, run_id TEXT NOT NULL, name TEXT NOT NULL, rank INTEGER NOT NULL,
    attempt INTEGER NOT NULL, step INTEGER NOT NULL, size INTEGER NOT NULL, sha256 TEXT NOT NULL, state TEXT NOT NULL,
    created_ns INTEGER NOT NULL, blob TEXT NOT NULL, summary TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX trace_run ON trace (run_id, created_ns);
CREATE TABLE token (
    token_id TEXT PRIMARY KEY, name TEXT NOT NULL, scope TEXT NOT NULL, digest TEXT NOT NULL UNIQUE,
    created_ns INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO meta VALUES ('commit_number', 0);
"""

_SECOND = """
-- Cold points: at most `chunks.CHUNK_ROWS` of one series in one attempt, each step once, rising; chunks of one attempt
-- do not overlap. Bit i of `levels`: level 6 + 3 i is in `pyramid`. Without `axis` the points are gone and the pyramid
-- is what is left.
CREATE TABLE chunk (
    run_id TEXT NOT NULL, series INTEGER NOT NULL, attempt INTEGER NOT NULL, lo INTEGER NOT NULL, hi INTEGER NOT NULL,
    num_rows INTEGER NOT NULL, levels INTEGER NOT NULL, axis INTEGER, data BLOB
);
-- Covering: the directory of a series is read without touching its data.
CREATE UNIQUE INDEX chunk_place ON chunk (run_id, series, attempt, lo, hi, num_rows, levels, axis);
-- Steps and times of the chunks that were reported together; goes with the last of them.
CREATE TABLE axis (
    run_id TEXT NOT NULL, axis INTEGER NOT NULL, num_chunks INTEGER NOT NULL, last_ns INTEGER NOT NULL,
    steps BLOB NOT NULL, times BLOB NOT NULL
);
CREATE UNIQUE INDEX axis_place ON axis (run_id, axis, num_chunks, last_ns);
CREATE INDEX axis_age ON axis (run_id, last_ns);
-- One level of one chunk's buckets (`chunks.encode_cells`); `lo` is the chunk's. Within its key: the cells of a level
-- lie side by side, and a chart of thousands of chunks reads a few pages.
CREATE TABLE pyramid (
    run_id TEXT NOT NULL, series INTEGER NOT NULL, attempt INTEGER NOT NULL, level INTEGER NOT NULL,
    lo INTEGER NOT NULL, cells BLOB NOT NULL,
    PRIMARY KEY (run_id, series, attempt, level, lo)
) WITHOUT ROWID;
-- A command's id is its run's, and so is a trace's: no key spans runs.
ALTER TABLE command RENAME TO command_1;
DROP INDEX command_run;
CREATE TABLE command (
    seq INTEGER PRIMARY KEY, command_id TEXT NOT NULL, run_id TEXT NOT NULL, control TEXT NOT NULL,
    value TEXT NOT NULL, state TEXT NOT NULL, requested_by TEXT NOT NULL, requested_ns INTEGER NOT NULL,
    reason TEXT NOT NULL, apply_at_step INTEGER
);
INSERT INTO command SELECT * FROM command_1;
DROP TABLE command_1;
CREATE UNIQUE INDEX command_place ON command (run_id, command_id);
CREATE INDEX command_run ON command (run_id, seq);
ALTER TABLE trace RENAME TO trace_1;
DROP INDEX trace_run;
CREATE TABLE trace (
    trace_id TEXT NOT NULL, run_id TEXT NOT NULL, name TEXT NOT NULL, rank INTEGER NOT NULL,
    attempt INTEGER NOT NULL, step INTEGER NOT NULL, size INTEGER NOT NULL, sha256 TEXT NOT NULL, state TEXT NOT NULL,
    created_ns INTEGER NOT NULL, blob TEXT NOT NULL, summary TEXT NOT NULL,
    PRIMARY KEY (run_id, trace_id)
) WITHOUT ROWID;
INSERT INTO trace SELECT * FROM trace_1;
DROP TABLE trace_1;
CREATE INDEX trace_run ON trace (run_id, created_ns);
-- A download is asked for by the trace's id alone.
CREATE INDEX trace_name ON trace (trace_id);
-- Runs that are gone for everybody and whose rows are still being removed.
CREATE TABLE deletion (run_id TEXT PRIMARY KEY, asked_ns INTEGER NOT NULL) WITHOUT ROWID;
DROP INDEX frame_range;
CREATE INDEX frame_order ON frame (run_id, id);
CREATE INDEX frame_range ON frame (run_id, keyset, hi, lo, attempt, num_rows);
"""

_THIRD = """
-- What is known of a key set's points, whose columns share their steps. The newest (attempt, step) has the last values;
-- `mark` is the run's number of points when they came, so that of two key sets with one series the later one speaks.
-- `nans` counts what is not finite per column (int64), empty for none; `lasts` has the last values (float64).
CREATE TABLE tally (
    run_id TEXT NOT NULL, keyset INTEGER NOT NULL, num_rows INTEGER NOT NULL, first_step INTEGER NOT NULL,
    last_step INTEGER NOT NULL, last_attempt INTEGER NOT NULL, mark INTEGER NOT NULL, nans BLOB NOT NULL,
    lasts BLOB NOT NULL,
    PRIMARY KEY (run_id, keyset)
) WITHOUT ROWID;
-- The other index on frames has all that is asked of this one.
DROP INDEX frame_order;
"""


def _count_by_keyset(connection: Connection) -> None:
    """Move the former per-series figures into tallies of key sets of their own; their original key set is unknown."""
    runs = connection.execute("SELECT run_id, max(keyset) FROM keyset GROUP BY run_id").fetchall()
    for run_id, num_keysets in runs:
        rows = connection.execute(
            "SELECT series, count, nan_count, first_step, last_step, last_attempt, last_value FROM series"
            " WHERE run_id = ? AND count > 0",
            (run_id,),
        ).fetchall()
        connection.executemany(
            "INSERT INTO keyset (run_id, series, keyset, position) VALUES (?, ?, ?, 0)",
            [(run_id, series, num_keysets + series) for series, *_ in rows],
        )
        connection.executemany(
            "INSERT INTO tally (run_id, keyset, num_rows, first_step, last_step, last_attempt, mark, nans, lasts)"
            " VALUES (?, ?, ?, ?, ?, ?, 0, ?, ?)",
            [
                (
                    run_id,
                    num_keysets + series,
                    count,
                    first_step,
                    last_step,
                    last_attempt,
                    struct.pack("<q", num_nans),
                    struct.pack("<d", math.nan if value is None else value),
                )
                for series, count, num_nans, first_step, last_step, last_attempt, value in rows
            ],
        )


_THIRD_AFTER = """
ALTER TABLE series DROP COLUMN count;
ALTER TABLE series DROP COLUMN nan_count;
ALTER TABLE series DROP COLUMN first_step;
ALTER TABLE series DROP COLUMN last_step;
ALTER TABLE series DROP COLUMN last_attempt;
ALTER TABLE series DROP COLUMN last_value;
"""

_FOURTH = """
-- pending, ready, or failed with the reason.
ALTER TABLE trace ADD COLUMN summary_state TEXT NOT NULL DEFAULT 'pending';
ALTER TABLE trace ADD COLUMN summary_error TEXT NOT NULL DEFAULT '';
-- Partial, and therefore small: it is read as a whole to choose the next trace.
CREATE INDEX trace_waiting ON trace (run_id, created_ns, trace_id, size)
    WHERE summary_state = 'pending' AND state = 'ready';
CREATE INDEX trace_unfinished ON trace (run_id) WHERE state = 'uploading';
"""


def _keep_good_summaries(connection: Connection) -> None:
    """Mark summaries that cannot be shown as pending, for example because of a name that is not valid text."""
    for run_id, trace_id, text in connection.execute(
        "SELECT run_id, trace_id, summary FROM trace WHERE summary <> 'null'"
    ).fetchall():
        kept, state = text, "ready"
        try:
            load_summary(text)
        except ValueError:
            kept, state = "null", "pending"
        connection.execute(
            "UPDATE trace SET summary = ?, summary_state = ? WHERE run_id = ? AND trace_id = ?",
            (kept, state, run_id, trace_id),
        )


_FIFTH = """
-- `control` is empty for a command that sets several, whose `value` maps names to values.
ALTER TABLE command ADD COLUMN superseded_by TEXT NOT NULL DEFAULT '';
ALTER TABLE command ADD COLUMN reverts TEXT NOT NULL DEFAULT '';
ALTER TABLE control ADD COLUMN choices TEXT NOT NULL DEFAULT '[]';
ALTER TABLE control ADD COLUMN apply TEXT NOT NULL DEFAULT 'together';
ALTER TABLE control ADD COLUMN confirm TEXT NOT NULL DEFAULT '';
-- The desired value of this rank and the command that requested it; empty without one.
ALTER TABLE control ADD COLUMN desired TEXT NOT NULL DEFAULT 'null';
ALTER TABLE control ADD COLUMN desired_by TEXT NOT NULL DEFAULT '';
CREATE INDEX audit_run ON audit (run_id, id);
"""


def _note_desired(connection: Connection) -> None:
    """Fill in the desired value of each rank from the commands accepted so far."""
    for run_id, command_id, control, value, rank in connection.execute(
        "SELECT c.run_id, c.command_id, c.control, c.value, r.rank FROM command AS c JOIN command_rank AS r"
        " ON r.run_id = c.run_id AND r.command_id = c.command_id"
        " WHERE c.state IN ('pending', 'delivered', 'applied') ORDER BY c.seq"
    ).fetchall():
        connection.execute(
            "UPDATE control SET desired = ?, desired_by = ?"
            " WHERE run_id = ? AND control = ? AND rank = ? AND type <> 'profile'",
            (value, command_id, run_id, control, rank),
        )
    # Part by part as well: an expired command was not answered by those that had not answered it.
    connection.execute(
        "UPDATE command_rank SET state = 'expired' WHERE state IN ('pending', 'delivered') AND EXISTS (SELECT 1 FROM"
        " command AS c WHERE c.run_id = command_rank.run_id AND c.command_id = command_rank.command_id"
        " AND c.state = 'expired')"
    )


_SIXTH = """
-- What the process of a rank says about itself, as one JSON object.
CREATE TABLE process_info (
    run_id TEXT NOT NULL, attempt INTEGER NOT NULL, rank INTEGER NOT NULL, info TEXT NOT NULL,
    PRIMARY KEY (run_id, attempt, rank)
) WITHOUT ROWID;
"""

_SEVENTH = """
-- `stream` is stdout or stderr for output, empty for a line that the training reported.
ALTER TABLE line ADD COLUMN attempt BIGINT NOT NULL DEFAULT 1;
ALTER TABLE line ADD COLUMN stream TEXT NOT NULL DEFAULT '';
-- Lines that its writers have lost, and lines that were deleted beyond the bound.
ALTER TABLE run ADD COLUMN lines_dropped BIGINT NOT NULL DEFAULT 0;
ALTER TABLE run ADD COLUMN lines_removed BIGINT NOT NULL DEFAULT 0;
"""

_EIGHTH = """
ALTER TABLE run ADD COLUMN archived BIGINT NOT NULL DEFAULT 0;
-- Whether a user has set the name or the tags, which the greetings of its processes then leave alone.
ALTER TABLE run ADD COLUMN name_is_chosen BIGINT NOT NULL DEFAULT 0;
ALTER TABLE run ADD COLUMN tags_are_chosen BIGINT NOT NULL DEFAULT 0;
-- While a deletion can be undone, the run's row as JSON, and when the deletion becomes final; empty once it is final.
ALTER TABLE deletion ADD COLUMN kept TEXT NOT NULL DEFAULT '';
ALTER TABLE deletion ADD COLUMN final_ns BIGINT NOT NULL DEFAULT 0;
"""

_NINTH = """
-- Tells a compaction whether another one has changed the run since it was planned.
ALTER TABLE run ADD COLUMN compactions BIGINT NOT NULL DEFAULT 0;
-- When a token ceases to be valid, and when it was last used; NULL for never.
ALTER TABLE token ADD COLUMN expires_ns BIGINT;
ALTER TABLE token ADD COLUMN used_ns BIGINT;
-- Partial, and therefore small: servers that share a store read it once a second.
CREATE INDEX command_open ON command (run_id) WHERE state IN ('pending', 'delivered');
"""

_TENTH = """
-- Counts changes of commands, traces and events that are not made by frames, for servers that share the store.
ALTER TABLE run ADD COLUMN changes BIGINT NOT NULL DEFAULT 0;
"""

Part = str | Callable[[Connection], None]
"""SQL, or a function that migrates rows inside the migration's transaction."""
MIGRATIONS: tuple[tuple[Part, ...], ...] = (
    (_FIRST,),
    (_SECOND,),
    (_THIRD, _count_by_keyset, _THIRD_AFTER),
    (_FOURTH, _keep_good_summaries),
    (_FIFTH, _note_desired),
    (_SIXTH,),
    (_SEVENTH,),
    (_EIGHTH,),
    (_NINTH,),
    (_TENTH,),
)
SCHEMA_VERSION = len(MIGRATIONS)
COMPATIBLE_FROM = 10
"""The oldest schema version whose servers can use the tables of `SCHEMA_VERSION`; noted in the store by a migration.

A migration that only adds tables, indexes, or columns with a default leaves it unchanged. Raise it with a migration
that changes or removes what those servers use. What a release stops using may be removed by the release after it.
"""
TABLES = (
    *("run", "attempt", "stream", "series", "keyset", "tally", "frame", "chunk", "axis", "pyramid"),
    *("filter_pass", "line", "event", "control", "command", "command_rank", "audit", "trace"),
    *("process_info", "token", "deletion", "meta"),
)
"""All tables of the latest version."""


def statements(script: str) -> list[str]:
    """Return the statements of a script, without comments."""
    return [found for statement in re.sub(r"--.*", "", script).split(";") if (found := statement.strip())]


def check_version(connection: Connection, version: int, place: str) -> None:
    """Check that this program can use a store of a schema version.

    Raises:
        StoreError: a newer version has written the store, and has changed what this one uses.
    """
    if version <= SCHEMA_VERSION:
        return
    oldest = meta.read(connection).get(meta.COMPATIBLE_FROM, version)
    if oldest > SCHEMA_VERSION:
        raise StoreError(
            f"{place} was written by a newer version: expected schema version {SCHEMA_VERSION} or older, got {version},"
            f" which requires a server that knows version {oldest}"
        )
