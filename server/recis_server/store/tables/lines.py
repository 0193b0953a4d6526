"""Lines of a run's log: reading a part of them, forward or backward, and what was lost of them.

Owns the cursors and the bound on the work of one search. Functions on a connection inside a transaction.
"""

# Names of columns below are constants of this file; every value is bound.
# ruff: noqa: S608

from collections.abc import Iterator, Sequence
from typing import Any

from recis.wire.messages import MAX_TEXT_CHARS, Line
from recis.wire.text import as_name, as_text
from recis_server.store.engines.engine import Connection
from recis_server.store.values import LinePage, LineRow, LinesWanted, StreamRow

__all__ = ["count_dropped", "count_removed", "line_values", "read_lines", "write_lines"]

BATCH_ROWS = 2000
MAX_EXAMINED = 20_000
"""Rows that one search looks at; it continues with the cursor of its answer."""
_COLUMNS = "id, rank, attempt, time_ns, step, level, stream, text"


def line_values(stream: StreamRow, record: Line) -> tuple[Any, ...]:
    """Return the values of a line for `write_lines`."""
    return (
        stream.run,
        stream.rank,
        stream.attempt,
        record.time_ns,
        record.step,
        as_name(record.level),
        as_name(record.stream),
        as_text(record.text, MAX_TEXT_CHARS),
    )


def write_lines(connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    """Add lines in their order."""
    connection.executemany(
        "INSERT INTO line (run_id, rank, attempt, time_ns, step, level, stream, text) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        rows,
    )


def count_dropped(connection: Connection, run_id: str, number: int) -> None:
    """Count lines that a writer has lost."""
    connection.execute("UPDATE run SET lines_dropped = lines_dropped + ? WHERE run_id = ?", (number, run_id))


def count_removed(connection: Connection, run_id: str, number: int) -> None:
    """Count lines that were deleted beyond the bound of a run."""
    connection.execute("UPDATE run SET lines_removed = lines_removed + ? WHERE run_id = ?", (number, run_id))


def read_lines(connection: Connection, run_id: str, wanted: LinesWanted) -> LinePage:
    """Return lines in order of arrival: the first ones after a cursor, else the last ones before one or the end.

    Of a search over more than `MAX_EXAMINED` lines the answer has what was found up to there.
    """
    dropped, removed = connection.execute(
        "SELECT lines_dropped, lines_removed FROM run WHERE run_id = ?", (run_id,)
    ).fetchone() or (0, 0)
    (newest,) = connection.execute("SELECT max(id) FROM line WHERE run_id = ?", (run_id,)).fetchone()
    newest = newest or 0
    forward = wanted.after is not None
    found: list[LineRow] = []
    place = wanted.after if forward else wanted.before
    is_whole = True
    for examined, row in enumerate(_rows(connection, run_id, wanted, place)):
        if len(found) == wanted.limit or examined == MAX_EXAMINED:
            is_whole = False
            break
        place = row.id
        text = row.text.lower()
        if all(word in text for word in wanted.words):
            found.append(row)
    if forward:
        # Having seen all there is, the next request need not look at it again.
        last = max(newest, wanted.after or 0) if is_whole else (place or 0)
        return LinePage(tuple(found), wanted.after or 0, last, not is_whole, dropped, removed)
    last = newest if wanted.before is None else max(0, wanted.before - 1)
    return LinePage(tuple(reversed(found)), (place or 0), last, not is_whole, dropped, removed)


def _rows(connection: Connection, run_id: str, wanted: LinesWanted, place: int | None) -> Iterator[LineRow]:
    """Yield the rows after or before a place, in batches: forward if there is a cursor `after`, else backward."""
    forward = wanted.after is not None
    filters = {"rank": wanted.rank, "stream": wanted.stream, "level": wanted.level, "attempt": wanted.attempt}
    given = {column: value for column, value in filters.items() if value is not None}
    where = "".join(f" AND {column} = ?" for column in given)
    sign, order = (">", "") if forward else ("<", " DESC")
    while True:
        start = "" if place is None else f" AND id {sign} ?"
        rows = connection.execute(
            f"SELECT {_COLUMNS} FROM line WHERE run_id = ?{where}{start} ORDER BY id{order} LIMIT ?",
            (run_id, *given.values(), *([] if place is None else [place]), min(BATCH_ROWS, wanted.limit + 1)),
        ).fetchall()
        for row in rows:
            yield LineRow(*row)
        if len(rows) < min(BATCH_ROWS, wanted.limit + 1):
            return
        place = rows[-1][0]
