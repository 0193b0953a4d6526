"""Hot frames, which are not compacted into chunks yet, read for several series of a run at once.

Owns how columns are extracted from frames and their order of arrival. Functions on a connection inside a read
transaction; must not know chunks, attempts' order or who asks.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from recis_server.store.engines.engine import Connection
from recis_server.store.points.arrays import PointArrays
from recis_server.store.steps import last_step
from recis_server.store.tables.sql_parameters import cut, names, question_marks, table_of

__all__ = ["HotSeries", "read_hot_series"]

_MOST_NAMED = 512
"""The most series, or key sets, named in one statement."""
_MOST_READ = 16
"""The most key sets whose frames are read by one statement."""
_KEYSETS = "SELECT series, keyset, position FROM keyset WHERE run_id = ? AND series IN ({})"
_FIRSTS = "SELECT keyset, attempt, min(lo) FROM frame WHERE run_id = ? AND keyset IN ({}) GROUP BY keyset, attempt"
_FRAMES = """
SELECT id, attempt, num_rows, steps, times, data FROM frame
WHERE run_id = ? AND keyset = ? AND hi >= ? AND lo <= ?
"""
_COLUMNS = """
SELECT w.column1, f.id, f.attempt, f.steps, f.times,
    substr(f.data, CAST(w.column2 * f.num_rows * 8 + 1 AS INTEGER), CAST(f.num_rows * 8 AS INTEGER))
FROM {} AS w JOIN frame AS f ON f.run_id = ? AND f.keyset = w.column1 AND f.hi >= ? AND f.lo <= ?
"""


@dataclass(frozen=True, slots=True)
class HotSeries:
    """The first step of each attempt of a series in any hot frame, and its points in the range."""

    firsts: dict[int, int] = field(default_factory=dict)
    rows: dict[int, PointArrays] = field(default_factory=dict)


class _Piece(NamedTuple):
    frame: int
    attempt: int
    steps: bytes
    times: bytes
    values: bytes


def read_hot_series(
    connection: Connection, run_id: str, wanted: Sequence[int], low: int, high: int
) -> Mapping[int, HotSeries]:
    """Return the hot points of `low <= step < high` for each series, reading each frame once."""
    hot_series = {series: HotSeries() for series in wanted}
    pieces: dict[int, list[_Piece]] = {series: [] for series in wanted}
    members = _keysets(connection, run_id, wanted)
    hot = set()
    for keyset, attempt, first in _select(connection, _FIRSTS, run_id, list(members)):
        hot.add(keyset)
        for series, _ in members[keyset]:
            firsts = hot_series[series].firsts
            firsts[attempt] = min(first, firsts.get(attempt, first))
    if low >= high:  # and a range that ends before the first step has no last step that an engine could compare
        return hot_series
    last = last_step(high)
    # Of a key set with one wanted series, the other columns stay in the database.
    alone = [(keyset, members[keyset][0][1]) for keyset in members if keyset in hot and len(members[keyset]) == 1]
    for part in cut(alone, _MOST_READ):
        table, places = table_of(part)
        for keyset, *piece in connection.execute(_COLUMNS.format(table), (*places, run_id, low, last)):
            pieces[members[keyset][0][0]].append(_Piece(*piece))
    for keyset in hot.difference(keyset for keyset, _ in alone):
        for frame, attempt, num_rows, steps, times, data in connection.execute(_FRAMES, (run_id, keyset, low, last)):
            size = num_rows * 8
            for series, position in members[keyset]:
                values = data[position * size : (position + 1) * size]
                pieces[series].append(_Piece(frame, attempt, steps, times, values))
    for series, found in pieces.items():
        found.sort(key=lambda piece: piece.frame)
        hot_series[series].rows.update(_join(found))
    return hot_series


def _keysets(connection: Connection, run_id: str, wanted: Sequence[int]) -> Mapping[int, Sequence[tuple[int, int]]]:
    """Return the key sets that contain wanted series, with the position of each."""
    found: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for series, keyset, position in _select(connection, _KEYSETS, run_id, wanted):
        found[keyset].append((series, position))
    return found


def _select(connection: Connection, sql: str, run_id: str, named: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Yield the rows for any number of names."""
    for part in names(named, _MOST_NAMED):
        yield from connection.execute(sql.format(question_marks(len(part))), (run_id, *part)).fetchall()


def _join(pieces: Sequence[_Piece]) -> dict[int, PointArrays]:
    """Return points per attempt; of equal steps the one that arrived last counts."""
    attempts: dict[int, list[_Piece]] = defaultdict(list)
    for piece in pieces:
        attempts[piece.attempt].append(piece)
    rows: dict[int, PointArrays] = {}
    for attempt, group in attempts.items():
        steps = np.frombuffer(b"".join([piece.steps for piece in group]), "<i8")
        times = np.frombuffer(b"".join([piece.times for piece in group]), "<i8")
        values = np.frombuffer(b"".join([piece.values for piece in group]), "<f8")
        rows[attempt] = PointArrays.join([PointArrays(steps, times, values)])
    return rows
