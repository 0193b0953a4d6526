"""Frames back into series: which frames hold a key, and which value counts for each step.

Functions on a read-only connection inside of a read transaction; must not know threads or who asks.
"""

import sqlite3
from collections.abc import Sequence

import numpy as np

from recis_server.store.codec import newest_rows
from recis_server.store.interface import PointsSlice

__all__ = ["read_points", "series_names"]

_FIRST, _LAST = -(2**63), 2**63 - 1

# The order of truth: a later attempt, then a later arrival, replaces what is there for a step.
_FRAMES = """
SELECT f.attempt, f.steps, f.times, substr(f.data, k.position * f.num_rows * 8 + 1, f.num_rows * 8)
FROM keyset AS k JOIN frame AS f ON f.run_id = k.run_id AND f.keyset = k.keyset
WHERE k.run_id = ? AND k.series = ? AND f.hi >= ? AND f.lo < ?
ORDER BY f.attempt, f.id
"""


def series_names(connection: sqlite3.Connection, run_id: str) -> list[tuple[int, int, str]]:
    """Number, rank and key of all series of a run, in order of their first appearance."""
    return connection.execute(
        "SELECT series, rank, key FROM series WHERE run_id = ? ORDER BY series", (run_id,)
    ).fetchall()


def read_points(
    connection: sqlite3.Connection,
    run_id: str,
    key: str,
    ranks: Sequence[int] | None,
    start: int | None,
    stop: int | None,
) -> tuple[PointsSlice, ...]:
    """The points of `start <= step < stop` of one key, rank after rank; ranks that have none are left out."""
    found = connection.execute(
        "SELECT series, rank FROM series WHERE run_id = ? AND key = ? ORDER BY rank", (run_id, key)
    ).fetchall()
    # SQLite's integers end there too: what lies beyond holds no step.
    low = _FIRST if start is None else max(_FIRST, min(start, _LAST))
    high = _LAST if stop is None else max(_FIRST, min(stop, _LAST))
    slices = (
        _read_series(connection, run_id, series, key, rank, low, high)
        for series, rank in found
        if ranks is None or rank in ranks
    )
    return tuple(one for one in slices if len(one.steps))


def _read_series(
    connection: sqlite3.Connection, run_id: str, series: int, key: str, rank: int, start: int, stop: int
) -> PointsSlice:
    attempts: list[int] = []
    columns: tuple[list[bytes], list[bytes], list[bytes]] = ([], [], [])
    for attempt, *blobs in connection.execute(_FRAMES, (run_id, series, start, stop)):
        attempts.append(attempt)
        for column, blob in zip(columns, blobs, strict=True):
            column.append(blob)
    steps, times, values = (
        np.frombuffer(b"".join(column), dtype) for column, dtype in zip(columns, ("<i8", "<i8", "<f8"), strict=True)
    )
    lengths = [len(blob) // 8 for blob in columns[0]]
    of_attempt = np.repeat(np.asarray(attempts, np.int32), lengths)
    # Newest first is only needed where steps do not rise by themselves; most runs never go back.
    rows = newest_rows(steps) if len(steps) and not bool((steps[1:] > steps[:-1]).all()) else np.arange(len(steps))
    rows = rows[(steps[rows] >= start) & (steps[rows] < stop)]
    return PointsSlice(key, rank, steps[rows], times[rows], values[rows], of_attempt[rows])
