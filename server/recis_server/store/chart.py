"""What one chart shows: some series on one grid that holds them all, from as few bytes as that takes.

Owns the choice of width and of what is read for it: raw points where buckets would hide none, else the coarsest cells
of the pyramid that are fine enough, and raw points at edges and under newer rows. Functions on a connection inside of a
read transaction; must not know threads or who asks.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Literal

import numpy as np
import numpy.typing as npt

from recis_server.errors import InvalidValue
from recis_server.store.buckets import Buckets, choose_width, coarsen, grid_of, unfold
from recis_server.store.chunks import CELL_BYTES, decode_cells, expand_cells
from recis_server.store.codec import NO_ROWS, Rows, last_step
from recis_server.store.engine import Connection
from recis_server.store.points import ChunkPlaces, Segment, read_segments
from recis_server.store.values import ChartRead, ChartSeries

__all__ = ["MAX_POINTS", "read_chart"]

Ints = npt.NDArray[np.int64]
MAX_POINTS = 2_000_000
"""The most points that one answer without buckets may hold."""

_LAST_PLACE = float(2**63 - 1024)
"""The last float that is a step."""
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
    finest = max((segment.chunks.finest() for line in lines for segment in line.segments), default=0)
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
    candidates: dict[str, list[tuple[int, int]]] = {}
    for key in keys:
        found = connection.execute(
            "SELECT series, rank FROM series WHERE run_id = ? AND key = ? ORDER BY rank", (run_id, key)
        ).fetchall()
        candidates[key] = [one for one in found if ranks is None or ranks == "lowest" or one[1] in ranks]
    lines: dict[str, list[_Line]] = {key: [] for key in keys}
    while any(candidates.values()):
        # All at once; or one rank after the other of the keys that have nothing in the range yet.
        most = 1 if ranks == "lowest" else None
        turn = {one: key for key, found in candidates.items() for one in found[:most]}
        wanted = [series for series, _ in turn]
        read = read_segments(connection, run_id, wanted, start, stop, superseded=superseded)
        for (series, rank), key in turn.items():
            segments, firsts[key, rank] = read[series]
            lines[key] += [_Line(key, rank, group, first, last) for group, first, last in _apart(connection, segments)]
        candidates = {key: found[1:] for key, found in candidates.items() if most and not lines[key]}
    for key in keys:
        yield from lines[key]


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
    ends = segment.chunks.lo if place == 0 else segment.chunks.hi
    for number in range(len(ends)) if place == 0 else reversed(range(len(ends))):
        end = int(ends[number])
        if not segment.low <= end < segment.high:
            if not segment.chunks.has_rows[number]:
                # Single steps are gone: as far as the chunk reaches into the range.
                end = min(max(end, segment.low), segment.high - 1)
            else:
                steps = segment.rows(connection, segment.chunks[number : number + 1]).steps
                if len(steps) == 0:
                    continue
                end = int(steps[place])
        return nearest([end, *hot])
    return hot[0] if hot else None


def _least(line: _Line) -> int:
    """Rows of chunks that lie inside, and hot ones: a hot row may only take the place of one of a chunk."""
    return sum(max(int(one.chunks.num_rows[one.inside()].sum()), len(one.hot)) for one in line.segments)


def _read_buckets(connection: Connection, segments: Sequence[Segment], width: int) -> Buckets:
    most = width.bit_length() - 1
    pieces: list[Buckets] = []
    order: list[Ints] = []
    for segment in segments:
        for level, chunks in _by_level(segment, most):
            for piece, places in _read_pieces(connection, segment, level, chunks, width):
                pieces.append(piece)
                order.append(places)
    if not pieces:
        return unfold(NO_ROWS)
    columns = [np.concatenate(column) for column in zip(*(piece.columns() for piece in pieces), strict=True)]
    rows = np.argsort(np.concatenate(order), kind="stable")
    return coarsen(Buckets(*(column[rows] for column in columns)), width)


def _by_level(segment: Segment, most: int) -> Iterator[tuple[int, ChunkPlaces]]:
    """The segment's chunks in order, those in a row that are read from one level together; level 0 is raw, and last."""
    chunks, hot = segment.chunks, segment.hot.steps
    is_clean = segment.inside() & (np.searchsorted(hot, chunks.lo) == np.searchsorted(hot, chunks.hi, side="right"))
    levels = np.where(is_clean | ~chunks.has_rows, chunks.coarsest(most), 0)
    edges = [0, *(np.flatnonzero(np.diff(levels)) + 1).tolist(), len(levels)]
    for first, stop in pairwise(edges):
        if first < stop and levels[first]:
            yield int(levels[first]), chunks[first:stop]
    # Hot rows and raw chunks together: of equal steps the hot one counts.
    yield 0, chunks[levels == 0]


def _read_pieces(
    connection: Connection, segment: Segment, level: int, chunks: ChunkPlaces, width: int
) -> Iterator[tuple[Buckets, Ints]]:
    """Buckets of at most `width`, and the step that each stands at among others of the same bucket of `width`."""
    if level == 0:
        rows = segment.rows(connection, chunks)
        if len(rows):
            single = unfold(rows)
            piece = coarsen(single, width)
            # Where cells come between rows of one bucket, its last row says whether it ends with a row or a cell.
            yield piece, rows.steps[np.searchsorted(grid_of(single.x, width), piece.x, side="right") - 1]
        return
    data = [
        expand_cells(cells)
        for (cells,) in connection.execute(
            _CELLS,
            (segment.run, segment.series, segment.attempt, level, int(chunks.lo[0]), int(chunks.lo[-1])),
        ).fetchall()
    ]
    cells = decode_cells(b"".join(data))
    numbers = np.repeat(np.arange(len(chunks)), np.fromiter(map(len, data), np.int64, len(data)) // CELL_BYTES)
    # A cell stands between the ends of its chunk: rows between two chunks come between their cells. As integers: beyond
    # 2^53 its own place is rounded.
    places = np.minimum(cells.x, _LAST_PLACE).astype(np.int64)
    places = np.clip(places, chunks.lo[numbers], chunks.hi[numbers])
    inside = segment.inside(chunks)[numbers]
    inside |= (cells.x + (1 << level) > segment.low) & (places <= last_step(segment.high))
    if not inside.all():
        cells, places = Buckets(*(column[inside] for column in cells.columns())), places[inside]
    yield cells, places
