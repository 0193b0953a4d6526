"""Filter passes: one row per pass of one hash table on one rank.

Owns the table `filter_pass`, whose columns are the fields of the wire record `pass`. Functions on a connection inside
of a transaction; must not know threads or who asks.
"""

# Names of columns are those of the record; every value is bound.
# ruff: noqa: S608

import math
from typing import Any

import msgspec

from recis.wire.messages import Pass
from recis.wire.text import as_name
from recis_server.store.engines.engine import Connection
from recis_server.store.steps import LAST_STEP
from recis_server.store.tables.attempts import attempt_places
from recis_server.store.tables.sql_parameters import question_marks
from recis_server.store.values import PassRow, StreamRow

__all__ = ["read_passes", "write_pass"]

MAX_PASSES = 10_000
_FIELDS = Pass.__struct_fields__
_COLUMNS = ", ".join("table_name" if name == "table" else name for name in _FIELDS)
_INSERT = f"INSERT INTO filter_pass (run_id, rank, attempt, {_COLUMNS}) VALUES ({question_marks(3 + len(_FIELDS))})"


def write_pass(connection: Connection, stream: StreamRow, record: Pass) -> None:
    """Add a pass."""
    values = msgspec.structs.astuple(msgspec.structs.replace(record, table=as_name(record.table)))
    connection.execute(_INSERT, (stream.run, stream.rank, stream.attempt, *values))


def read_passes(
    connection: Connection,
    run_id: str,
    table: str | None,
    rank: int | None,
    start: int | None,
    stop: int | None,
) -> tuple[PassRow, ...]:
    """Return the newest passes in order of step.

    Of several attempts with a pass over the same table at the same step and rank, the latest one counts.
    """
    if stop is not None and stop > LAST_STEP:
        stop = None
    limits = (("table_name = ?", table), ("rank = ?", rank), ("step >= ?", start), ("step < ?", stop))
    where = ["run_id = ?", *(condition for condition, value in limits if value is not None)]
    values = [run_id, *(value for _, value in limits if value is not None)]
    found = connection.execute(
        f"SELECT rank, attempt, {_COLUMNS} FROM filter_pass WHERE {' AND '.join(where)}"
        " ORDER BY step DESC, id DESC LIMIT ?",
        (*values, MAX_PASSES),
    ).fetchall()
    rows = [PassRow(rank, attempt, _record(fields)) for rank, attempt, *fields in found]
    places = attempt_places(connection, run_id)
    newest: dict[tuple[int, int, str], int] = {}
    for row in rows:
        newest[_spot(row)] = max(places[row.attempt], newest.get(_spot(row), 0))
    return tuple(row for row in reversed(rows) if places[row.attempt] == newest[_spot(row)])


def _record(values: list[Any]) -> Pass:
    fields = dict(zip(_FIELDS, values, strict=True))
    # SQLite stores NaN as NULL.
    if fields["milliseconds"] is None:
        fields["milliseconds"] = math.nan
    return Pass(**fields)


def _spot(row: PassRow) -> tuple[int, int, str]:
    return row.record.step, row.rank, row.record.table
