"""Series out of the tables: hot frames and cold chunks together, each step once, attempts told apart.

Owns the order of truth between frames, chunks and attempts. Functions on a connection inside of a read transaction;
must not know threads, buckets or who asks.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

import numpy as np
import numpy.typing as npt

from recis_server.store.attempts import attempt_places
from recis_server.store.chunks import FIRST_LEVEL, LEVEL_STEP, decode_steps, decode_values
from recis_server.store.codec import LAST_STEP, NO_ROWS, Rows, last_step
from recis_server.store.engine import Connection
from recis_server.store.tail import Tail, read_tails
from recis_server.store.values import PointsSlice

__all__ = [
    "ChunkPlace",
    "ChunkPlaces",
    "Segment",
    "read_chunk",
    "read_points",
    "read_segments",
    "series_names",
]

FIRST_STEP = -(2**63)

_COLD_FIRSTS = "SELECT attempt, min(lo) FROM chunk WHERE run_id = ? AND series = ? GROUP BY attempt"
_COLD = """
SELECT lo, hi, num_rows, levels, CASE WHEN axis IS NULL THEN 0 ELSE 1 END FROM chunk
WHERE run_id = ? AND series = ? AND attempt = ? AND lo <= ? AND hi >= ?
ORDER BY lo
"""
_CHUNK = """
SELECT a.steps, a.times, c.data FROM chunk AS c JOIN axis AS a ON a.run_id = c.run_id AND a.axis = c.axis
WHERE c.run_id = ? AND c.series = ? AND c.attempt = ? AND c.lo = ?
"""


@dataclass(frozen=True, slots=True)
class ChunkPlace:
    """What the directory says of a chunk: its steps `lo` to `hi`, how many rows, and which pyramid levels it has.

    Without `axis` retention has dropped its rows; its levels are what is left.
    """

    lo: int
    hi: int
    num_rows: int
    levels: int
    axis: int | None

    def every_level(self) -> list[int]:
        """Its levels, the finest first."""
        return [FIRST_LEVEL + LEVEL_STEP * bit for bit in range(self.levels.bit_length()) if self.levels >> bit & 1]


@dataclass(frozen=True, slots=True)
class ChunkPlaces:
    """The directory of some chunks in order of step, as int64 columns of equal length; see `ChunkPlace`.

    Columns, because a long series has thousands of chunks and a chart looks at all of them. `has_rows` is bool.
    """

    lo: npt.NDArray[np.int64]
    hi: npt.NDArray[np.int64]
    num_rows: npt.NDArray[np.int64]
    levels: npt.NDArray[np.int64]
    has_rows: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.lo)

    @classmethod
    def of(cls, rows: Sequence[tuple[int, int, int, int, int]]) -> "ChunkPlaces":
        """From the columns of `_COLD`."""
        table = np.fromiter(chain.from_iterable(rows), np.int64, 5 * len(rows)).reshape(-1, 5)
        lo, hi, num_rows, levels, has_rows = np.ascontiguousarray(table.T)
        return cls(lo, hi, num_rows, levels, has_rows.astype(np.bool_))

    def __getitem__(self, which: slice | npt.NDArray[np.bool_]) -> "ChunkPlaces":
        return ChunkPlaces(
            self.lo[which], self.hi[which], self.num_rows[which], self.levels[which], self.has_rows[which]
        )

    def coarsest(self, most: int) -> npt.NDArray[np.int64]:
        """Of each the highest level up to `most`, 0 where all are higher."""
        kinds, kind = np.unique(self.levels, return_inverse=True)
        allowed = (1 << max(0, (most - FIRST_LEVEL) // LEVEL_STEP + 1)) - 1
        bits = [(levels & allowed).bit_length() for levels in kinds.tolist()]
        return np.asarray([FIRST_LEVEL + LEVEL_STEP * (n - 1) if n else 0 for n in bits], np.int64)[kind]

    def finest(self) -> int:
        """The level below which something is gone; 0 when all rows are there."""
        gone = set(self.levels[~self.has_rows].tolist())
        return max((FIRST_LEVEL + LEVEL_STEP * ((levels & -levels).bit_length() - 1) for levels in gone), default=0)


@dataclass(frozen=True, slots=True)
class Segment:
    """One attempt's part of a series, `low <= step < high`: the chunks that reach into it and its hot rows.

    Hot rows came after all chunks of the attempt: their values count. With `superseded` a newer attempt has gone back
    behind all of it.
    """

    run: str
    series: int
    attempt: int
    low: int
    high: int
    superseded: bool
    chunks: ChunkPlaces
    hot: Rows
    edges: dict[int, Rows] = field(default_factory=dict, compare=False)

    def inside(self, chunks: ChunkPlaces | None = None) -> npt.NDArray[np.bool_]:
        """Which chunks, of all or of some, have all of their steps in the segment."""
        chosen = self.chunks if chunks is None else chunks
        return (self.low <= chosen.lo) & (chosen.hi <= last_step(self.high))

    def rows(self, connection: Connection, chunks: ChunkPlaces | None = None) -> Rows:
        """All rows of the segment, or those of some of its chunks and the hot ones; decodes the chunks."""
        chosen = self.chunks if chunks is None else chunks
        cold = [self._cold(connection, lo, hi) for lo, hi in zip(chosen.lo.tolist(), chosen.hi.tolist(), strict=True)]
        return Rows.join([Rows.join(cold).between(self.low, self.high), self.hot])

    def _cold(self, connection: Connection, lo: int, hi: int) -> Rows:
        # Chunks at the edges are read twice: for where the range ends, and for their rows.
        if self.low <= lo and hi <= last_step(self.high):
            return read_chunk(connection, self.run, self.series, self.attempt, lo)
        if lo not in self.edges:
            self.edges[lo] = read_chunk(connection, self.run, self.series, self.attempt, lo)
        return self.edges[lo]


def series_names(connection: Connection, run_id: str) -> list[tuple[int, int, str]]:
    """Number, rank and key of all series of a run, in order of their first appearance."""
    return connection.execute(
        "SELECT series, rank, key FROM series WHERE run_id = ? ORDER BY series", (run_id,)
    ).fetchall()


def read_segments(
    connection: Connection,
    run_id: str,
    wanted: Sequence[int],
    start: int | None,
    stop: int | None,
    *,
    superseded: bool,
) -> dict[int, tuple[list[Segment], dict[int, int]]]:
    """The attempts of some series in order of time, what is superseded apart and last, and each attempt's first step.

    Args:
        connection: in a read transaction.
        run_id: the run.
        wanted: numbers of series; their hot frames are read together.
        start: first step, None for open.
        stop: the step after the last, None for open.
        superseded: whether to tell what newer attempts have gone back behind too.
    """
    low = FIRST_STEP if start is None else max(FIRST_STEP, min(start, LAST_STEP))
    high = LAST_STEP if stop is None else max(FIRST_STEP, min(stop, LAST_STEP))
    places = attempt_places(connection, run_id)
    tails = read_tails(connection, run_id, wanted, low, high)
    return {
        series: _segments(connection, run_id, series, places, low, high, tails[series], superseded=superseded)
        for series in wanted
    }


def _segments(
    connection: Connection,
    run_id: str,
    series: int,
    places: Mapping[int, int],
    low: int,
    high: int,
    tail: Tail,
    *,
    superseded: bool,
) -> tuple[list[Segment], dict[int, int]]:
    firsts = dict(connection.execute(_COLD_FIRSTS, (run_id, series)).fetchall())
    for attempt, first in tail.firsts.items():
        firsts[attempt] = min(first, firsts.get(attempt, first))
    living: list[Segment] = []
    lost: list[Segment] = []
    limit = high
    for attempt in sorted(firsts, key=lambda attempt: places[attempt], reverse=True):
        for into, begin, end in ((living, low, limit), (lost, max(low, limit), high)):
            if begin < end and (into is living or superseded):
                chunks = connection.execute(_COLD, (run_id, series, attempt, last_step(end), begin)).fetchall()
                rows = tail.rows.get(attempt, NO_ROWS).between(begin, end)
                if chunks or len(rows):
                    cold = ChunkPlaces.of(chunks)
                    into.append(Segment(run_id, series, attempt, begin, end, into is lost, cold, rows))
        limit = min(limit, firsts[attempt])
    return [*reversed(living), *reversed(lost)], firsts


def read_chunk(connection: Connection, run_id: str, series: int, attempt: int, lo: int) -> Rows:
    """The rows of one chunk; none when retention has dropped them."""
    found = connection.execute(_CHUNK, (run_id, series, attempt, lo)).fetchone()
    if found is None:
        return NO_ROWS
    steps, times, data = found
    return Rows(decode_steps(steps), decode_steps(times), decode_values(data))


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
    """The points of `start <= step < stop` of one key, rank after rank; ranks that have none are left out.

    With `superseded` those that a newer attempt has gone back behind are apart, after the others, attempt by attempt.
    """
    found = connection.execute(
        "SELECT series, rank FROM series WHERE run_id = ? AND key = ? ORDER BY rank", (run_id, key)
    ).fetchall()
    wanted = {series: rank for series, rank in found if ranks is None or rank in ranks}
    read = read_segments(connection, run_id, list(wanted), start, stop, superseded=superseded)
    return tuple(
        one for series, (segments, _) in read.items() for one in _slices(connection, key, wanted[series], segments)
    )


def _slices(connection: Connection, key: str, rank: int, segments: Sequence[Segment]) -> Iterator[PointsSlice]:
    living = [segment for segment in segments if not segment.superseded]
    lost = [segment for segment in segments if segment.superseded]
    for group in ([living] if living else []) + [[segment] for segment in lost]:
        parts = [segment.rows(connection) for segment in group]
        attempts = np.repeat(np.asarray([one.attempt for one in group], np.int32), [len(part) for part in parts])
        # Older attempts' parts are empty or lie before: in the order of time the steps rise.
        rows = Rows.join(parts)
        if len(rows):
            newest = [one.attempt for one, part in zip(group, parts, strict=True) if len(part)][-1]
            yield PointsSlice(key, rank, rows.steps, rows.times, rows.values, attempts, newest, group[0].superseded)
