"""Series read from hot frames and cold chunks, each step once, attempts distinguished.

Owns the precedence between frames, chunks and attempts. Functions on a connection inside a read transaction; must not
know threads, buckets or who asks.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, pairwise, product

import numpy as np
import numpy.typing as npt

from recis_server.store.engines.engine import Connection
from recis_server.store.points.arrays import NO_POINTS, PointArrays
from recis_server.store.points.chunks import FIRST_LEVEL, LEVEL_STEP, decode_steps, decode_values
from recis_server.store.points.hot_frames import HotSeries, read_hot_series
from recis_server.store.steps import FIRST_STEP, LAST_STEP, last_step
from recis_server.store.tables.sql_parameters import cut, names, question_marks, table_of
from recis_server.store.values import PointsSlice

__all__ = [
    "AttemptSpan",
    "ChunkPlace",
    "ChunkPlaces",
    "read_chunks",
    "read_points",
    "read_series",
    "read_spans",
    "series_names",
]

_MOST_NAMED = 512
"""The most series, or attempts, named in one statement."""
_MOST_READ = 16
"""Chunks read by one statement: some megabytes."""
_FIRSTS = """
SELECT s.series, a.ordinal,
    (SELECT min(c.lo) FROM chunk AS c WHERE c.run_id = ? AND c.series = s.series AND c.attempt = a.ordinal)
FROM attempt AS a JOIN series AS s ON s.run_id = a.run_id
WHERE a.run_id = ? AND s.series IN ({}) ORDER BY a.started_ns, a.ordinal
"""
_PLACES = """
SELECT series, attempt, lo, hi, num_rows, levels, CASE WHEN axis IS NULL THEN 0 ELSE 1 END FROM chunk
WHERE run_id = ? AND series IN ({}) AND attempt IN ({}) AND lo <= ? AND hi >= ?
ORDER BY series, attempt, lo
"""
_CHUNKS = """
SELECT c.series, c.attempt, c.lo, c.axis, c.data, a.steps, a.times FROM {} AS w
JOIN chunk AS c ON c.run_id = ? AND c.series = w.column1 AND c.attempt = w.column2 AND c.lo = w.column3
JOIN axis AS a ON a.run_id = c.run_id AND a.axis = c.axis
"""

Place = tuple[int, int, int]
"""The key of a chunk in its run: series, attempt, first step."""


@dataclass(frozen=True, slots=True)
class ChunkPlace:
    """The directory entry of a chunk: its steps `lo` to `hi`, its number of rows, and its pyramid levels.

    Without `axis`, retention has dropped its rows, and only its levels remain.
    """

    lo: int
    hi: int
    num_rows: int
    levels: int
    axis: int | None

    def every_level(self) -> list[int]:
        """Return its levels, the finest first."""
        return [FIRST_LEVEL + LEVEL_STEP * bit for bit in range(self.levels.bit_length()) if self.levels >> bit & 1]


@dataclass(frozen=True, slots=True)
class ChunkPlaces:
    """Directory entries of chunks in order of step, as int64 columns of equal length; see `ChunkPlace`.

    Columns, because a long series has thousands of chunks and a chart examines all of them. `has_rows` is bool.
    """

    lo: npt.NDArray[np.int64]
    hi: npt.NDArray[np.int64]
    num_rows: npt.NDArray[np.int64]
    levels: npt.NDArray[np.int64]
    has_rows: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.lo)

    def __getitem__(self, which: slice | npt.NDArray[np.bool_]) -> "ChunkPlaces":
        return ChunkPlaces(
            self.lo[which], self.hi[which], self.num_rows[which], self.levels[which], self.has_rows[which]
        )

    def coarsest(self, most: int) -> npt.NDArray[np.int64]:
        """Return the highest level up to `most` of each, 0 if all are higher."""
        kinds, kind = np.unique(self.levels, return_inverse=True)
        allowed = (1 << max(0, (most - FIRST_LEVEL) // LEVEL_STEP + 1)) - 1
        bits = [(levels & allowed).bit_length() for levels in kinds.tolist()]
        return np.asarray([FIRST_LEVEL + LEVEL_STEP * (n - 1) if n else 0 for n in bits], np.int64)[kind]

    def reaching(self, low: int, high: int) -> "ChunkPlaces":
        """Return those that may have rows of `low <= step < high`."""
        return self[(self.lo <= last_step(high)) & (self.hi >= low)]

    def finest(self) -> int:
        """Return the level below which some rows were dropped; 0 if all exist."""
        gone = set(self.levels[~self.has_rows].tolist())
        return max((FIRST_LEVEL + LEVEL_STEP * ((levels & -levels).bit_length() - 1) for levels in gone), default=0)


_NONE = np.empty(0, np.int64)
NO_PLACES = ChunkPlaces(_NONE, _NONE, _NONE, _NONE, np.empty(0, np.bool_))


@dataclass(frozen=True, slots=True)
class AttemptSpan:
    """One attempt's part of a series, `low <= step < high`: the chunks that overlap it and its hot points.

    Hot points came after all chunks of the attempt and take precedence. `superseded`: a later attempt has reported all
    of these steps or earlier ones. `edges` has the points of chunks that are partly outside, which are needed for the
    ends of the range and again for its content.
    """

    run: str
    series: int
    attempt: int
    low: int
    high: int
    superseded: bool
    chunks: ChunkPlaces
    hot: PointArrays
    edges: Mapping[Place, PointArrays] = field(repr=False, compare=False)

    def inside(self, chunks: ChunkPlaces | None = None) -> npt.NDArray[np.bool_]:
        """Return which chunks, of all or of some, lie entirely inside the span."""
        chosen = self.chunks if chunks is None else chunks
        return (self.low <= chosen.lo) & (chosen.hi <= last_step(self.high))

    def halves(self) -> list[Place]:
        """Return the chunks that are partly outside and have rows."""
        outside = self.chunks.lo[self.chunks.has_rows & ~self.inside()]
        return [(self.series, self.attempt, lo) for lo in outside.tolist()]

    def rows(self, connection: Connection, chunks: ChunkPlaces | None = None) -> PointArrays:
        """Return all points of the span, or those of some chunks and the hot ones; decodes the chunks."""
        chosen = self.chunks if chunks is None else chunks
        places = [(self.series, self.attempt, lo) for lo in chosen.lo.tolist()]
        inner = read_chunks(connection, self.run, [place for place in places if place not in self.edges])
        cold = [inner.get(place) or self.edges.get(place, NO_POINTS) for place in places]
        return PointArrays.join([PointArrays.join(cold).between(self.low, self.high), self.hot])


def series_names(connection: Connection, run_id: str) -> list[tuple[int, int, str]]:
    """Return number, rank and key of all series of a run, in order of first appearance."""
    return connection.execute(
        "SELECT series, rank, key FROM series WHERE run_id = ? ORDER BY series", (run_id,)
    ).fetchall()


def read_spans(
    connection: Connection,
    run_id: str,
    wanted: Sequence[int],
    start: int | None,
    stop: int | None,
    *,
    superseded: bool,
) -> dict[int, tuple[list[AttemptSpan], dict[int, int]]]:
    """Return the spans of some series in order of time, superseded ones last, and each attempt's first step.

    Args:
        connection: in a read transaction.
        run_id: the run.
        wanted: numbers of series; their hot frames are read together.
        start: first step, None for open.
        stop: the step after the last, None for open.
        superseded: whether to return spans superseded by a later attempt.
    """
    low = FIRST_STEP if start is None else max(FIRST_STEP, min(start, LAST_STEP))
    high = LAST_STEP if stop is None else max(FIRST_STEP, min(stop, LAST_STEP))
    hot_series = read_hot_series(connection, run_id, wanted, low, high)
    firsts = _read_firsts(connection, run_id, hot_series)
    ranges = {series: _attempt_ranges(firsts[series], low, high, superseded=superseded) for series in wanted}
    cold = _read_places(connection, run_id, ranges, low, high)
    edges: dict[Place, PointArrays] = {}
    read = {
        series: [
            AttemptSpan(run_id, series, attempt, begin, end, is_lost, chunks, hot, edges)
            for attempt, begin, end, is_lost in of_series
            if len(chunks := cold.get((series, attempt), NO_PLACES).reaching(begin, end))
            + len(hot := hot_series[series].rows.get(attempt, NO_POINTS).between(begin, end))
        ]
        for series, of_series in ranges.items()
    }
    halves = {place: None for spans in read.values() for span in spans for place in span.halves()}
    edges.update(read_chunks(connection, run_id, list(halves)))
    return {series: (spans, firsts[series]) for series, spans in read.items()}


def _read_firsts(connection: Connection, run_id: str, hot_series: Mapping[int, HotSeries]) -> dict[int, dict[int, int]]:
    """Return the first step of each attempt with points of a series, in order of the attempts' time."""
    found: dict[int, dict[int, int]] = {series: {} for series in hot_series}
    for part in names(list(hot_series), _MOST_NAMED):
        sql = _FIRSTS.format(question_marks(len(part)))
        for series, attempt, cold in connection.execute(sql, (run_id, run_id, *part)).fetchall():
            hot = hot_series[series].firsts.get(attempt)
            if cold is not None or hot is not None:
                found[series][attempt] = min(one for one in (cold, hot) if one is not None)
    return found


def _attempt_ranges(
    firsts: dict[int, int], low: int, high: int, *, superseded: bool
) -> list[tuple[int, int, int, bool]]:
    """Divide a range among attempts: (attempt, begin, end, whether it is superseded), superseded parts last."""
    living: list[tuple[int, int, int, bool]] = []
    lost: list[tuple[int, int, int, bool]] = []
    limit = high
    for attempt, first in reversed(firsts.items()):
        if low < limit:
            living.append((attempt, low, limit, False))
        if superseded and max(low, limit) < high:
            lost.append((attempt, max(low, limit), high, True))
        limit = min(limit, first)
    return [*reversed(living), *reversed(lost)]


def _read_places(
    connection: Connection,
    run_id: str,
    ranges: Mapping[int, Sequence[tuple[int, int, int, bool]]],
    low: int,
    high: int,
) -> dict[tuple[int, int], ChunkPlaces]:
    """Return, by series and attempt with a range, the chunks that overlap `low <= step < high`."""
    found: dict[tuple[int, int], ChunkPlaces] = {}
    wanted = [series for series, of_series in ranges.items() if of_series]
    attempts = sorted({attempt for of_series in ranges.values() for attempt, *_ in of_series})
    for part, those in product(names(wanted, _MOST_NAMED), names(attempts, _MOST_NAMED)):
        sql = _PLACES.format(question_marks(len(part)), question_marks(len(those)))
        rows = connection.execute(sql, (run_id, *part, *those, last_step(high), low)).fetchall()
        table = np.fromiter(chain.from_iterable(rows), np.int64, 7 * len(rows)).reshape(-1, 7)
        edges = [0, *(np.flatnonzero(np.diff(table[:, :2], axis=0).any(axis=1)) + 1).tolist(), len(rows)]
        for begin, end in pairwise(edges):
            if begin < end:
                lo, hi, num_rows, levels, has_rows = np.ascontiguousarray(table[begin:end, 2:].T)
                found[rows[begin][:2]] = ChunkPlaces(lo, hi, num_rows, levels, has_rows.astype(np.bool_))
    return found


def read_chunks(connection: Connection, run_id: str, places: Sequence[Place]) -> dict[Place, PointArrays]:
    """Return the points of some chunks; omit those dropped by retention."""
    found: dict[Place, PointArrays] = {}
    axes: dict[int, tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]] = {}
    for part in cut(places, _MOST_READ):
        table, values = table_of(part)
        for series, attempt, lo, axis, data, steps, times in connection.execute(
            _CHUNKS.format(table), (*values, run_id)
        ).fetchall():
            if axis not in axes:
                axes[axis] = decode_steps(steps), decode_steps(times)
            found[series, attempt, lo] = PointArrays(*axes[axis], decode_values(data))
    return found


def read_points(
    connection: Connection,
    run_id: str,
    key: str,
    ranks: Sequence[int] | None,
    start: int | None,
    stop: int | None,
    *,
    superseded: bool,
) -> tuple[PointsSlice, ...]:
    """Return the points of `start <= step < stop` of one key, rank by rank; omit ranks without any.

    With `superseded`, points superseded by a later attempt follow the others, attempt by attempt.
    """
    found = connection.execute(
        "SELECT series, rank FROM series WHERE run_id = ? AND key = ? ORDER BY rank", (run_id, key)
    ).fetchall()
    wanted = [(series, rank, key) for series, rank in found if ranks is None or rank in ranks]
    return read_series(connection, run_id, wanted, start, stop, superseded=superseded)


def read_series(
    connection: Connection,
    run_id: str,
    wanted: Sequence[tuple[int, int, str]],
    start: int | None = None,
    stop: int | None = None,
    *,
    superseded: bool,
) -> tuple[PointsSlice, ...]:
    """Return the points of some series, given by number, rank and key, one after the other."""
    read = read_spans(connection, run_id, [series for series, *_ in wanted], start, stop, superseded=superseded)
    return tuple(one for series, rank, key in wanted for one in _slices(connection, key, rank, read[series][0]))


def _slices(connection: Connection, key: str, rank: int, spans: Sequence[AttemptSpan]) -> Iterator[PointsSlice]:
    living = [span for span in spans if not span.superseded]
    lost = [span for span in spans if span.superseded]
    for group in ([living] if living else []) + [[span] for span in lost]:
        parts = [span.rows(connection) for span in group]
        attempts = np.repeat(np.asarray([one.attempt for one in group], np.int32), [len(part) for part in parts])
        # Older attempts' parts are empty or lie before: in order of time the steps increase.
        rows = PointArrays.join(parts)
        if len(rows):
            newest = [one.attempt for one, part in zip(group, parts, strict=True) if len(part)][-1]
            yield PointsSlice(key, rank, rows.steps, rows.times, rows.values, attempts, newest, group[0].superseded)
