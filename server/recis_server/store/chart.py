"""What one chart shows: some series on one grid that holds them all, from as few bytes as that takes.

Owns the choice of width and of what is read for it: raw points where buckets would hide none, else the coarsest cells
of the pyramid that are fine enough, and raw points at edges and under newer rows. Functions on a connection inside of a
read transaction; must not know threads or who asks.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

import numpy as np

from recis_server.errors import InvalidValue
from recis_server.store.attempts import attempt_places
from recis_server.store.buckets import Buckets, choose_width, coarsen, unfold
from recis_server.store.chunks import decode_cells
from recis_server.store.engine import Connection
from recis_server.store.interface import ChartRead, ChartSeries
from recis_server.store.points import ChunkPlace, Rows, Segment, read_segments

__all__ = ["MAX_POINTS", "read_chart"]

MAX_POINTS = 2_000_000
"""The most points that one answer without buckets may hold."""

_CELLS = """
SELECT cells FROM pyramid WHERE run_id = ? AND series = ? AND attempt = ? AND level = ? AND lo >= ? AND lo <= ?
ORDER BY lo
"""


@dataclass(frozen=True, slots=True)
class _Line:
    """What becomes one series of the chart: segments in order of step, each with points between `first` and `last`."""

    key: str
    rank: int
    segments: Sequence[Segment]
    first: int
    last: int

    def series(self, buckets: Buckets) -> ChartSeries:
        newest = self.segments[-1]
        return ChartSeries(
            self.key,
            self.rank,
            newest.attempt,
            buckets,
            newest.superseded,
            first=self.first,
            last=self.last,
        )


def read_chart(
    connection: Connection,
    run_id: str,
    keys: Sequence[str],
    ranks: Sequence[int] | Literal["lowest"] | None,
    start: int | None,
    stop: int | None,
    points: int,
    *,
    superseded: bool,
) -> ChartRead:
    """See `interface.Store.chart`."""
    (commit,) = connection.execute("SELECT value FROM meta WHERE name = 'commit_number'").fetchone()
    firsts: dict[tuple[str, int], Mapping[int, int]] = {}
    lines = list(_read_lines(connection, run_id, keys, ranks, start, stop, firsts, superseded=superseded))
    finest = max((_finest(segment) for line in lines for segment in line.segments), default=0)
    if finest == 0 and all(_least(line) <= (points or MAX_POINTS) for line in lines):
        rows = [Rows.join([segment.rows(connection) for segment in line.segments]) for line in lines]
        if points == 0 or all(len(one) <= points for one in rows):
            if sum(map(len, rows)) > MAX_POINTS:
                raise _too_many()
            raw = tuple(line.series(unfold(one)) for line, one in zip(lines, rows, strict=True))
            return ChartRead(commit, 1, raw, firsts)
    elif points == 0 and finest == 0:
        raise _too_many()
    low = min((line.first for line in lines), default=0)
    high = max((line.last for line in lines), default=0)
    width = max(choose_width(low, high + 1, points), 1 << finest)
    return ChartRead(
        commit, width, tuple(line.series(_read_buckets(connection, line.segments, width)) for line in lines), firsts
    )


def _too_many() -> InvalidValue:
    return InvalidValue("points", f"expected at most {MAX_POINTS} raw points in one answer; use the export for more")


def _read_lines(
    connection: Connection,
    run_id: str,
    keys: Sequence[str],
    ranks: Sequence[int] | Literal["lowest"] | None,
    start: int | None,
    stop: int | None,
    firsts: dict[tuple[str, int], Mapping[int, int]],
    *,
    superseded: bool,
) -> Iterator[_Line]:
    """The lines in the order of the chart; notes in `firsts` what `ChartRead` says of every series."""
    places = attempt_places(connection, run_id)
    for key in keys:
        rows = connection.execute(
            "SELECT series, rank FROM series WHERE run_id = ? AND key = ? ORDER BY rank", (run_id, key)
        ).fetchall()
        for series, rank in rows:
            if ranks is not None and ranks != "lowest" and rank not in ranks:
                continue
            segments, firsts[key, rank] = read_segments(
                connection, run_id, series, places, start, stop, superseded=superseded
            )
            lines = [_Line(key, rank, group, first, last) for group, first, last in _apart(connection, segments)]
            yield from lines
            if lines and ranks == "lowest":
                break


def _apart(connection: Connection, segments: Sequence[Segment]) -> Iterator[tuple[Sequence[Segment], int, int]]:
    """What stands together, then each lost attempt, with its first and last step; what has no point is left out."""
    for _, group in groupby(segments, _stands_with):
        ends = [(one, first) for one in group if (first := _end(connection, one, 0)) is not None]
        if ends:
            last = _end(connection, ends[-1][0], -1)
            assert last is not None
            yield [one for one, _ in ends], ends[0][1], last


def _stands_with(segment: Segment) -> int:
    return segment.attempt if segment.superseded else 0


def _end(connection: Connection, segment: Segment, place: Literal[0, -1]) -> int | None:
    """The first (`place` 0) or last (-1) step of the segment, None when it has none."""
    hot = [int(segment.hot.steps[place])] if len(segment.hot) else []
    nearest: Callable[..., int] = min if place == 0 else max
    for chunk in segment.chunks if place == 0 else reversed(segment.chunks):
        end = chunk.lo if place == 0 else chunk.hi
        if not segment.low <= end < segment.high:
            if chunk.axis is None:
                # Single steps are gone: as far as the chunk reaches into the range.
                end = min(max(end, segment.low), segment.high - 1)
            else:
                steps = segment.rows(connection, [chunk]).steps
                if len(steps) == 0:
                    continue
                end = int(steps[place])
        return nearest([end, *hot])
    return hot[0] if hot else None


def _finest(segment: Segment) -> int:
    """The level below which something of the segment is gone; 0 when all of it is there."""
    return max((chunk.every_level()[0] for chunk in segment.chunks if chunk.axis is None), default=0)


def _least(line: _Line) -> int:
    """Rows of chunks that lie inside, and hot ones: a hot row may only take the place of one of a chunk."""
    return sum(
        max(sum(chunk.num_rows for chunk in one.chunks if _inside(one, chunk)), len(one.hot)) for one in line.segments
    )


def _inside(segment: Segment, chunk: ChunkPlace) -> bool:
    return segment.low <= chunk.lo and chunk.hi < segment.high


def _read_buckets(connection: Connection, segments: Sequence[Segment], width: int) -> Buckets:
    most = width.bit_length() - 1
    pieces: list[Buckets] = []
    order: list[np.ndarray[tuple[int], np.dtype[np.float64]]] = []
    for segment in segments:
        for level, chunks in _by_level(segment, most):
            for piece, places in _read_cells(connection, segment, level, chunks):
                pieces.append(piece)
                order.append(places)
    if not pieces:
        return unfold(Rows.join([]))
    columns = [np.concatenate(column) for column in zip(*(piece.columns() for piece in pieces), strict=True)]
    # A cell stands where its chunk begins at the earliest: rows between two chunks come between their cells.
    rows = np.argsort(np.concatenate(order), kind="stable")
    return coarsen(Buckets(*(column[rows] for column in columns)), width)


def _by_level(segment: Segment, most: int) -> Iterator[tuple[int | None, list[ChunkPlace]]]:
    """The segment's chunks in order, those in a row that are read from one level together; None for raw ones."""
    hot = segment.hot.steps
    lows = np.searchsorted(hot, [chunk.lo for chunk in segment.chunks])
    highs = np.searchsorted(hot, [chunk.hi for chunk in segment.chunks], side="right")
    levels: list[int | None] = []
    for chunk, below, above in zip(segment.chunks, lows.tolist(), highs.tolist(), strict=True):
        clean = _inside(segment, chunk) and below == above
        levels.append(chunk.coarsest(most) if clean or chunk.axis is None else None)
    for level, group in groupby(zip(levels, segment.chunks, strict=True), lambda pair: pair[0]):
        if level is not None:
            yield level, [chunk for _, chunk in group]
    # Hot rows and raw chunks together: of equal steps the hot one counts.
    yield None, [chunk for level, chunk in zip(levels, segment.chunks, strict=True) if level is None]


def _read_cells(
    connection: Connection, segment: Segment, level: int | None, chunks: Sequence[ChunkPlace]
) -> Iterator[tuple[Buckets, np.ndarray[tuple[int], np.dtype[np.float64]]]]:
    """Buckets, and the step that each stands at; None as level for the rows of the chunks and the hot ones."""
    if level is None:
        piece = unfold(segment.rows(connection, chunks))
        if len(piece):
            yield piece, piece.x
        return
    found = connection.execute(
        _CELLS, (segment.run, segment.series, segment.attempt, level, chunks[0].lo, chunks[-1].lo)
    ).fetchall()
    if found:
        data = [cells for (cells,) in found]
        cells = decode_cells(b"".join(data))
        lows = np.repeat([float(chunk.lo) for chunk in chunks], [len(one) // 64 for one in data])
        places = np.maximum(cells.x, lows)
        inside = (cells.x + (1 << level) > segment.low) & (places < segment.high)
        if not inside.all():
            cells, places = Buckets(*(column[inside] for column in cells.columns())), places[inside]
        yield cells, places
