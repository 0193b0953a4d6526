"""Charts: some series on one common grid, from as few bytes as possible.

Owns what is read for the width given by `buckets.fit_width`: raw points if each is a bucket, otherwise the coarsest
cells of the pyramid that are fine enough, and raw points at the edges and below newer rows. Functions on a connection
inside a read transaction; must not know threads or who asks.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Literal

import numpy as np
import numpy.typing as npt

from recis_server.errors import InvalidValue
from recis_server.store.engines.engine import Connection
from recis_server.store.points.arrays import NO_POINTS, PointArrays
from recis_server.store.points.buckets import Extent, coarsen, fit_width, grid_of, unfold
from recis_server.store.points.chunks import CELL_BYTES, decode_cells, expand_cells
from recis_server.store.points.series import AttemptSpan, ChunkPlaces, read_spans
from recis_server.store.steps import last_step
from recis_server.store.tables.sql_parameters import cut, table_of
from recis_server.store.values import Buckets, ChartRead, ChartSeries

__all__ = ["MAX_POINTS", "read_buckets"]

Ints = npt.NDArray[np.int64]
MAX_POINTS = 2_000_000
"""The most points in one answer without buckets."""

_LAST_PLACE = float(2**63 - 1024)
"""The highest float that is a step."""
_MOST_READ = 16
"""Ranges of cells read by one statement: some megabytes."""
_CELLS = """
SELECT w.column1, p.cells FROM {} AS w JOIN pyramid AS p ON p.run_id = ? AND p.series = w.column2
AND p.attempt = w.column3 AND p.level = w.column4 AND p.lo >= w.column5 AND p.lo <= w.column6
ORDER BY w.column1, p.lo
"""


@dataclass(frozen=True, slots=True)
class _Curve:
    """One series of the chart: spans in order of step, each with points between `first` and `last`."""

    key: str
    rank: int
    spans: Sequence[AttemptSpan]
    first: int
    last: int

    def extent(self, count: int) -> Extent:
        return Extent(self.first, self.last, count)

    def series(self, buckets: Buckets) -> ChartSeries:
        newest = self.spans[-1]
        return ChartSeries(
            self.key,
            self.rank,
            newest.attempt,
            buckets,
            newest.superseded,
            first=self.first,
            last=self.last,
        )


@dataclass(frozen=True, slots=True)
class _Part:
    """The chunks of a span that are read from one level of the pyramid; level 0 is raw, including hot rows."""

    span: AttemptSpan
    level: int
    chunks: ChunkPlaces

    def cells(self) -> tuple[int, int, int, int, int]:
        """Return their location: series, attempt, level, first steps of the first and the last chunk."""
        lo = self.chunks.lo
        return self.span.series, self.span.attempt, self.level, int(lo[0]), int(lo[-1])


def read_buckets(
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
    version = _version(connection, run_id)
    firsts: dict[tuple[str, int], Mapping[int, int]] = {}
    curves = list(_read_curves(connection, run_id, keys, ranks, start, stop, firsts, superseded=superseded))
    finest = max((span.chunks.finest() for curve in curves for span in curve.spans), default=0)
    extents = [curve.extent(_least(curve)) for curve in curves]
    if fit_width(start, stop, points, extents, finest) == 1:
        if sum(one.count for one in extents) > MAX_POINTS:
            raise _too_many()
        rows = [PointArrays.join([span.rows(connection) for span in curve.spans]) for curve in curves]
        # There may be more points than could be counted without reading them, and so another width.
        extents = [curve.extent(len(one)) for curve, one in zip(curves, rows, strict=True)]
        if fit_width(start, stop, points, extents, finest) == 1:
            if sum(map(len, rows)) > MAX_POINTS:
                raise _too_many()
            raw = tuple(curve.series(unfold(one)) for curve, one in zip(curves, rows, strict=True))
            return ChartRead(version, 1, raw, firsts)
    width = fit_width(start, stop, points, extents, finest)
    read = zip(curves, _read_buckets(connection, curves, width), strict=True)
    return ChartRead(version, width, tuple(curve.series(buckets) for curve, buckets in read), firsts, finest)


def _version(connection: Connection, run_id: str) -> int:
    row = connection.execute("SELECT updated_ns FROM run WHERE run_id = ?", (run_id,)).fetchone()
    return 0 if row is None else int(row[0])


def _too_many() -> InvalidValue:
    return InvalidValue("points", f"expected at most {MAX_POINTS} raw points in one answer; use the export for more")


def _read_curves(
    connection: Connection,
    run_id: str,
    keys: Sequence[str],
    ranks: Sequence[int] | Literal["lowest"] | None,
    start: int | None,
    stop: int | None,
    firsts: dict[tuple[str, int], Mapping[int, int]],
    *,
    superseded: bool,
) -> Iterator[_Curve]:
    """Yield the curves in the order of the chart; fill `firsts` for every series, see `ChartRead`."""
    candidates: dict[str, list[tuple[int, int]]] = {}
    for key in keys:
        found = connection.execute(
            "SELECT series, rank FROM series WHERE run_id = ? AND key = ? ORDER BY rank", (run_id, key)
        ).fetchall()
        candidates[key] = [one for one in found if ranks is None or ranks == "lowest" or one[1] in ranks]
    curves: dict[str, list[_Curve]] = {key: [] for key in keys}
    while any(candidates.values()):
        # All at once; or rank by rank, for the keys that have nothing in the range yet.
        most = 1 if ranks == "lowest" else None
        turn = {one: key for key, found in candidates.items() for one in found[:most]}
        wanted = [series for series, _ in turn]
        read = read_spans(connection, run_id, wanted, start, stop, superseded=superseded)
        for (series, rank), key in turn.items():
            spans, firsts[key, rank] = read[series]
            curves[key] += [_Curve(key, rank, group, first, last) for group, first, last in _apart(connection, spans)]
        candidates = {key: found[1:] for key, found in candidates.items() if most and not curves[key]}
    for key in keys:
        yield from curves[key]


def _apart(connection: Connection, spans: Sequence[AttemptSpan]) -> Iterator[tuple[Sequence[AttemptSpan], int, int]]:
    """Group the current spans, then each superseded attempt, with first and last step; omit groups without points."""
    for _, group in groupby(spans, _stands_with):
        ends = [(one, first) for one in group if (first := _end(connection, one, 0)) is not None]
        if ends:
            last = _end(connection, ends[-1][0], -1)
            assert last is not None
            yield [one for one, _ in ends], ends[0][1], last


def _stands_with(span: AttemptSpan) -> int:
    return span.attempt if span.superseded else 0


def _end(connection: Connection, span: AttemptSpan, place: Literal[0, -1]) -> int | None:
    """Return the first (`place` 0) or last (-1) step of the span, None if it is empty."""
    hot = [int(span.hot.steps[place])] if len(span.hot) else []
    nearest: Callable[..., int] = min if place == 0 else max
    ends = span.chunks.lo if place == 0 else span.chunks.hi
    for number in range(len(ends)) if place == 0 else reversed(range(len(ends))):
        end = int(ends[number])
        if not span.low <= end < span.high:
            if not span.chunks.has_rows[number]:
                # The single steps were dropped: the chunk extends to the end of the range.
                end = min(max(end, span.low), span.high - 1)
            else:
                steps = span.rows(connection, span.chunks[number : number + 1]).steps
                if len(steps) == 0:
                    continue
                end = int(steps[place])
        return nearest([end, *hot])
    return hot[0] if hot else None


def _least(curve: _Curve) -> int:
    """Return the rows of chunks inside, and hot ones: a hot row can only replace one of a chunk."""
    return sum(max(int(one.chunks.num_rows[one.inside()].sum()), len(one.hot)) for one in curve.spans)


def _read_buckets(connection: Connection, curves: Sequence[_Curve], width: int) -> Iterator[Buckets]:
    """Yield the buckets of each curve."""
    most = width.bit_length() - 1
    parts = [[_Part(one, *part) for one in curve.spans for part in _by_level(one, most)] for curve in curves]
    cells = _read_cells(connection, [part for of_curve in parts for part in of_curve if part.level])
    for of_curve in parts:
        pieces = [
            _cells_of(part, next(cells)) if part.level else _rows_of(connection, part, width) for part in of_curve
        ]
        filled = [piece for piece in pieces if len(piece[0])]
        if not filled:
            yield unfold(NO_POINTS)
            continue
        columns = [np.concatenate(column) for column in zip(*(piece.columns() for piece, _ in filled), strict=True)]
        rows = np.argsort(np.concatenate([places for _, places in filled]), kind="stable")
        yield coarsen(Buckets(*(column[rows] for column in columns)), width)


def _by_level(span: AttemptSpan, most: int) -> Iterator[tuple[int, ChunkPlaces]]:
    """Yield the span's chunks in order, grouped by consecutive chunks of one level; level 0 is raw, and last."""
    chunks, hot = span.chunks, span.hot.steps
    is_clean = span.inside() & (np.searchsorted(hot, chunks.lo) == np.searchsorted(hot, chunks.hi, side="right"))
    levels = np.where(is_clean | ~chunks.has_rows, chunks.coarsest(most), 0)
    edges = [0, *(np.flatnonzero(np.diff(levels)) + 1).tolist(), len(levels)]
    for first, stop in pairwise(edges):
        if first < stop and levels[first]:
            yield int(levels[first]), chunks[first:stop]
    # Hot rows and raw chunks together: of equal steps the hot row counts.
    yield 0, chunks[levels == 0]


def _read_cells(connection: Connection, parts: Sequence[_Part]) -> Iterator[list[bytes]]:
    """Yield the cells of each part, chunk after chunk; read several parts with one statement."""
    for some in cut(parts, _MOST_READ):
        table, values = table_of([(place, *part.cells()) for place, part in enumerate(some)])
        found: list[list[bytes]] = [[] for _ in some]
        for place, cells in connection.execute(_CELLS.format(table), (*values, some[0].span.run)).fetchall():
            found[place].append(cells)
        yield from found


# Each returns buckets no wider than the chart's, and the step that orders each within a common bucket.


def _rows_of(connection: Connection, part: _Part, width: int) -> tuple[Buckets, Ints]:
    rows = part.span.rows(connection, part.chunks)
    single = unfold(rows)
    if len(rows) == 0:
        return single, rows.steps
    buckets = coarsen(single, width)
    # If cells lie between rows of one bucket, its last row decides whether it ends with a row or a cell.
    return buckets, rows.steps[np.searchsorted(grid_of(single.x, width), buckets.x, side="right") - 1]


def _cells_of(part: _Part, packed: Sequence[bytes]) -> tuple[Buckets, Ints]:
    span, chunks = part.span, part.chunks
    data = [expand_cells(one) for one in packed]
    cells = decode_cells(b"".join(data))
    numbers = np.repeat(np.arange(len(chunks)), np.fromiter(map(len, data), np.int64, len(data)) // CELL_BYTES)
    # Order a cell within its chunk, so that rows between two chunks lie between their cells. As integers, because its
    # own position is rounded beyond 2^53.
    places = np.minimum(cells.x, _LAST_PLACE).astype(np.int64)
    places = np.clip(places, chunks.lo[numbers], chunks.hi[numbers])
    inside = span.inside(chunks)[numbers]
    inside |= (cells.x + (1 << part.level) > span.low) & (places <= last_step(span.high))
    if not inside.all():
        cells, places = Buckets(*(column[inside] for column in cells.columns())), places[inside]
    return cells, places
