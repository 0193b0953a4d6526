"""Frames back into series: which frames hold a key, and which value counts for each step.

Functions on a read-only connection inside of a read transaction; must not know threads or who asks.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recis_server.store.attempts import attempt_places
from recis_server.store.codec import newest_rows
from recis_server.store.interface import PointsSlice

__all__ = ["read_points", "series_names"]

_FIRST, _LAST = -(2**63), 2**63 - 1

_FRAMES = """
SELECT f.attempt, f.steps, f.times, substr(f.data, k.position * f.num_rows * 8 + 1, f.num_rows * 8)
FROM keyset AS k JOIN frame AS f ON f.run_id = k.run_id AND f.keyset = k.keyset
WHERE k.run_id = ? AND k.series = ? AND f.hi >= ? AND f.lo < ?
ORDER BY f.id
"""


_FIRSTS = """
SELECT f.attempt, min(f.lo)
FROM keyset AS k JOIN frame AS f ON f.run_id = k.run_id AND f.keyset = k.keyset
WHERE k.run_id = ? AND k.series = ?
GROUP BY f.attempt
"""


@dataclass(frozen=True, slots=True)
class _Rows:
    """Every row of one series in the order of truth: a later attempt, then a later arrival, replaces a step's value.

    Arrays have length n; `places` is each row's attempt by its place in time and never falls.
    """

    key: str
    rank: int
    steps: npt.NDArray[np.int64]
    times: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]
    attempts: npt.NDArray[np.int32]
    places: npt.NDArray[np.int32]

    def pick(self, rows: npt.NDArray[np.int64], *, superseded: bool) -> PointsSlice:
        """These rows, at least one, in their order."""
        attempts = self.attempts[rows]
        newest = int(attempts[np.argmax(self.places[rows])])
        return PointsSlice(
            self.key, self.rank, self.steps[rows], self.times[rows], self.values[rows], attempts, newest, superseded
        )


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
    *,
    superseded: bool,
) -> tuple[PointsSlice, ...]:
    """The points of `start <= step < stop` of one key, rank after rank; ranks that have none are left out.

    With `superseded` those that a newer attempt has gone back behind are apart, after the others, attempt by attempt.
    """
    found = connection.execute(
        "SELECT series, rank FROM series WHERE run_id = ? AND key = ? ORDER BY rank", (run_id, key)
    ).fetchall()
    # SQLite's integers end there too: what lies beyond holds no step.
    low = _FIRST if start is None else max(_FIRST, min(start, _LAST))
    high = _LAST if stop is None else max(_FIRST, min(stop, _LAST))
    places = attempt_places(connection, run_id)
    slices: list[PointsSlice] = []
    for series, rank in found:
        if ranks is not None and rank not in ranks:
            continue
        rows = _read_rows(key, rank, connection.execute(_FRAMES, (run_id, series, low, high)).fetchall(), places)
        inside = (rows.steps >= low) & (rows.steps < high)
        firsts = _read_firsts(connection, run_id, series, places) if superseded and len(places) > 1 else {}
        lost = _lost(rows, firsts)
        slices.extend(_pick(rows, inside & ~lost, superseded=False))
        for place in sorted(firsts):
            slices.extend(_pick(rows, inside & lost & (rows.places == place), superseded=True))
    return tuple(slices)


def _read_rows(key: str, rank: int, frames: list[tuple[int, bytes, bytes, bytes]], places: dict[int, int]) -> _Rows:
    """Rows of frames that are given in order of arrival."""
    frames.sort(key=lambda frame: places[frame[0]])
    lengths = [len(frame[1]) // 8 for frame in frames]
    attempts = [frame[0] for frame in frames]
    return _Rows(
        key,
        rank,
        steps=np.frombuffer(b"".join(frame[1] for frame in frames), "<i8"),
        times=np.frombuffer(b"".join(frame[2] for frame in frames), "<i8"),
        values=np.frombuffer(b"".join(frame[3] for frame in frames), "<f8"),
        attempts=np.repeat(np.asarray(attempts, np.int32), lengths),
        places=np.repeat(np.asarray([places[attempt] for attempt in attempts], np.int32), lengths),
    )


def _read_firsts(connection: sqlite3.Connection, run_id: str, series: int, places: dict[int, int]) -> dict[int, int]:
    """Place of each attempt that has reported the series, with the first step that it has reported."""
    return {places[attempt]: first for attempt, first in connection.execute(_FIRSTS, (run_id, series))}


def _lost(every: _Rows, firsts: dict[int, int]) -> npt.NDArray[np.bool_]:
    """Which rows a newer attempt has gone back behind."""
    lost = np.zeros(len(every.steps), dtype=bool)
    for place in firsts:
        newer = [first for later, first in firsts.items() if later > place]
        if newer:
            lost |= (every.places == place) & (every.steps >= min(newer))
    return lost


def _pick(every: _Rows, mask: npt.NDArray[np.bool_], *, superseded: bool) -> Iterator[PointsSlice]:
    """The newest of the rows in `mask` for each step; nothing when there is none."""
    rows = np.flatnonzero(mask)
    steps = every.steps[rows]
    # Most runs never go back: then rows are in order of step as they are.
    if not bool((steps[1:] > steps[:-1]).all()):
        rows = rows[newest_rows(steps)]
    if len(rows):
        yield every.pick(rows, superseded=superseded)
