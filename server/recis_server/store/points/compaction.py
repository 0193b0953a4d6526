"""Compaction of hot frames into cold chunks, the oldest frames of one run at a time, without blocking writers.

Owns when frames are compacted, how new rows join existing chunks, and the one transaction that replaces frames by
chunks. A unit is a prefix of a run's frames in order of arrival, of all its series or of some that share no frame with
others: so hot rows of a series are always newer than its chunks. Frames are read and encoded without locks; the
transaction deletes exactly what was read or does nothing, so two processes that compact the same run, or a kill at any
moment, change nothing. Must not know threads or processes.
"""

# Only sums of columns are put into statements; every value is bound.
# ruff: noqa: S608

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, field
from operator import itemgetter
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from recis_server.store.engines.engine import Connection, Engine
from recis_server.store.points.arrays import PointArrays, newest_rows
from recis_server.store.points.buckets import coarsen, merge, unfold
from recis_server.store.points.chunks import (
    CHUNK_ROWS,
    FIRST_LEVEL,
    LEVEL_STEP,
    decode_cells,
    encode_cells,
    encode_steps,
    encode_values,
    expand_cells,
    make_cells,
)
from recis_server.store.points.series import ChunkPlace, read_chunks
from recis_server.store.tables.sql_parameters import names, question_marks, total

__all__ = ["compact", "find_work"]

NUM_FRAMES = 1024
IDLE_NS = 60 * 10**9
"""A run is compacted with this many frames, `CHUNK_ROWS` rows of one key set, or any frame after this much silence."""
UNIT_POINTS, UNIT_FRAMES, UNIT_SERIES = 1 << 21, 4096, 2048
"""The most points, frames and series moved by one transaction, unless a single frame has more."""
UNIT_ROWS = 1 << 14
"""The most rows removed and written by one transaction; a larger unit is reduced."""
OPEN_ROWS = CHUNK_ROWS * 3 // 4
"""A chunk with fewer rows is extended by the rows that follow it."""

_MOST_NAMED = 512
"""The most series named in one statement."""

Ints = npt.NDArray[np.int64]

_WORK = f"""
SELECT h.run_id, r.updated_ns, max(h.num_frames), max(h.num_rows)
FROM (
    SELECT run_id, keyset, count(*) AS num_frames, {total("num_rows")} AS num_rows
    FROM frame {{}} GROUP BY run_id, keyset
) AS h JOIN run AS r ON r.run_id = h.run_id
GROUP BY h.run_id, r.updated_ns
"""
_PLACES = """
SELECT series, lo, hi, num_rows, levels, axis FROM chunk WHERE run_id = ? AND attempt = ? AND series IN ({})
ORDER BY series, lo
"""


class _Frame(NamedTuple):
    keyset: int
    attempt: int
    steps: Ints
    times: Ints
    values: npt.NDArray[np.float64]


class _Frames(NamedTuple):
    """The frames that a unit moves: `number` in all, of each key set those up to the one in `last`."""

    number: int
    last: Mapping[int, int]


@dataclass(slots=True)
class _Change:
    """The changes of the transaction, as rows of parameters; `seen` is the state they are based on, see `_look`."""

    run_id: str
    frames: _Frames
    seen: tuple[int, int] | None
    old_chunks: list[tuple[int, int, int]] = field(default_factory=list)
    old_cells: list[tuple[int, int, int, int]] = field(default_factory=list)
    old_axes: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    chunks: list[tuple[int, int, int, int, int, int, int | None, bytes | None]] = field(default_factory=list)
    axes: list[tuple[int, int, int, bytes, bytes]] = field(default_factory=list)
    cells: list[tuple[int, int, int, int, bytes]] = field(default_factory=list)

    @property
    def num_rows(self) -> int:
        """Return the number of rows removed and written."""
        parts: tuple[Sized, ...] = (self.old_chunks, self.old_cells, self.chunks, self.axes, self.cells)
        # First the count of an axis, then, if that is zero, the axis itself.
        return self.frames.number + 2 * len(self.old_axes) + sum(map(len, parts))


def find_work(connection: Connection, now_ns: int, run_id: str | None = None) -> list[str]:
    """Return the runs with frames to compact, those with the most rows first.

    Args:
        connection: in a read transaction.
        now_ns: the time.
        run_id: only this run.
    """
    of_run = (_WORK.format(""), ()) if run_id is None else (_WORK.format("WHERE run_id = ?"), (run_id,))
    found = [
        (num_rows, run_id)
        for run_id, updated_ns, num_frames, num_rows in connection.execute(*of_run).fetchall()
        if num_rows >= CHUNK_ROWS or num_frames >= NUM_FRAMES or now_ns - updated_ns >= IDLE_NS
    ]
    return [run_id for _, run_id in sorted(found, reverse=True)]


def compact(engine: Engine, reader: Connection, writer: Connection, run_id: str) -> bool:
    """Compact a run's oldest frames; return whether there were any.

    Args:
        engine: the engine of both connections.
        reader: not in a transaction.
        writer: not in a transaction.
        run_id: the run.

    Raises:
        Exception: one of `engine.failures`; nothing has changed then.
    """
    engine.begin_read(reader)
    try:
        change = _plan(reader, run_id)
    finally:
        engine.rollback(reader)
    if change is None:
        return False
    engine.begin_write(writer, (run_id,))
    try:
        done = _apply(writer, change)
        writer.execute("COMMIT" if done else "ROLLBACK")
    except BaseException:
        engine.rollback(writer)
        raise
    return done


# --- reading and encoding


def _plan(connection: Connection, run_id: str) -> _Change | None:
    columns: dict[int, dict[int, int]] = defaultdict(dict)
    for series, keyset, position in connection.execute(
        "SELECT series, keyset, position FROM keyset WHERE run_id = ?", (run_id,)
    ).fetchall():
        columns[keyset][series] = position
    found = connection.execute(
        "SELECT id, keyset, num_rows FROM frame WHERE run_id = ? ORDER BY id", (run_id,)
    ).fetchall()
    if not found:
        return None
    share = 1
    while True:
        change = _plan_unit(connection, run_id, columns, _choose(found, columns, share))
        if change.num_rows <= UNIT_ROWS or change.frames.number == 1:
            return change
        # Rows that go back and forth affect many chunks: how many, only the plan tells.
        share *= 2


def _choose(found: Sequence[tuple[int, int, int]], columns: Mapping[int, Mapping[int, int]], share: int) -> _Frames:
    """Choose the oldest frames for a unit; a frame that does not fit also delays later ones with any of its series."""
    kin = _kin(columns)
    waiting: set[int] = set()
    last: dict[int, int] = {}
    series: set[int] = set()
    number = num_points = 0
    for frame, keyset, num_rows in found:
        if kin[keyset] in waiting:
            continue
        together = series if keyset in last else series.union(columns[keyset])
        if number and len(together) > UNIT_SERIES // share:
            waiting.add(kin[keyset])
            continue
        num_points += num_rows * len(columns[keyset])
        if number and (num_points > UNIT_POINTS // share or number >= UNIT_FRAMES // share):
            break
        last[keyset] = frame
        series = together
        number += 1
    return _Frames(number, last)


def _kin(columns: Mapping[int, Mapping[int, int]]) -> dict[int, int]:
    """Map key sets to a representative of those connected by common series, directly or through others."""
    parents: dict[int, int] = {keyset: keyset for keyset in columns}

    def oldest(keyset: int) -> int:
        while parents[keyset] != keyset:
            parents[keyset] = keyset = parents[parents[keyset]]
        return keyset

    first: dict[int, int] = {}
    for keyset, members in columns.items():
        for series in members:
            parents[oldest(keyset)] = oldest(first.setdefault(series, keyset))
    return {keyset: oldest(keyset) for keyset in columns}


def _plan_unit(
    connection: Connection, run_id: str, columns: Mapping[int, Mapping[int, int]], chosen: _Frames
) -> _Change:
    change = _Change(run_id, chosen, _look(connection, run_id))
    (next_axis,) = connection.execute("SELECT coalesce(max(axis), 0) FROM axis WHERE run_id = ?", (run_id,)).fetchone()
    frames = _read_frames(connection, run_id, chosen, columns)
    for attempt, group, rows in _groups(frames, columns):
        for alike in _alike(connection, run_id, attempt, group):
            next_axis = _Joint(connection, change, attempt, alike, rows, columns).join(next_axis)
    return change


def _read_frames(
    connection: Connection, run_id: str, chosen: _Frames, columns: Mapping[int, Mapping[int, int]]
) -> list[_Frame]:
    rows = [
        row
        for keyset, last in chosen.last.items()
        for row in connection.execute(
            "SELECT id, keyset, attempt, steps, times, data FROM frame WHERE run_id = ? AND keyset = ? AND +id <= ?",
            (run_id, keyset, last),
        ).fetchall()
    ]
    return [
        _Frame(
            keyset,
            attempt,
            np.frombuffer(steps, "<i8"),
            np.frombuffer(times, "<i8"),
            np.frombuffer(data, "<f8").reshape(len(columns[keyset]), -1),
        )
        for _, keyset, attempt, steps, times, data in sorted(rows, key=itemgetter(0))
    ]


def _groups(
    frames: Sequence[_Frame], columns: Mapping[int, Mapping[int, int]]
) -> Iterator[tuple[int, list[int], list[_Frame]]]:
    """Group, per attempt, the series in the same frames with these frames: they share steps and times."""
    by_attempt: dict[int, list[_Frame]] = defaultdict(list)
    for frame in frames:
        by_attempt[frame.attempt].append(frame)
    for attempt, found in by_attempt.items():
        sets: dict[int, list[int]] = defaultdict(list)
        for keyset in sorted({frame.keyset for frame in found}):
            for series in columns[keyset]:
                sets[series].append(keyset)
        groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for series, keysets in sets.items():
            groups[tuple(keysets)].append(series)
        for members, group in groups.items():
            yield attempt, group, [frame for frame in found if frame.keyset in members]


def _alike(
    connection: Connection, run_id: str, attempt: int, group: Sequence[int]
) -> Iterator[tuple[list[int], tuple[ChunkPlace, ...]]]:
    """Group the series whose chunks have the same ranges, with these chunks: they can share axes."""
    places: dict[int, list[ChunkPlace]] = {series: [] for series in group}
    for part in names(group, _MOST_NAMED):
        sql = _PLACES.format(question_marks(len(part)))
        for series, *place in connection.execute(sql, (run_id, attempt, *part)).fetchall():
            places[series].append(ChunkPlace(*place))
    found: dict[tuple[ChunkPlace, ...], list[int]] = defaultdict(list)
    for series, of_series in places.items():
        found[tuple(of_series)].append(series)
    for alike, series_alike in found.items():
        yield series_alike, alike


class _Joint:
    """New rows of series that share their steps, joined with the existing chunks of these series."""

    def __init__(
        self,
        connection: Connection,
        change: _Change,
        attempt: int,
        alike: tuple[list[int], tuple[ChunkPlace, ...]],
        frames: Sequence[_Frame],
        columns: Mapping[int, Mapping[int, int]],
    ) -> None:
        self._connection = connection
        self._change = change
        self._attempt = attempt
        self._series, self._places = alike
        steps = np.concatenate([frame.steps for frame in frames])
        order = newest_rows(steps)
        self._steps = steps[order]
        self._times = np.concatenate([frame.times for frame in frames])[order]
        self._values = {
            series: np.concatenate([frame.values[columns[frame.keyset][series]] for frame in frames])[order]
            for series in self._series
        }

    def join(self, next_axis: int) -> int:
        """Plan all changes; `next_axis` is the highest axis number in use, and so is the result."""
        for place, rows in self._pieces():
            if place is not None and place.axis is None:
                self._join_cells(place, rows)
                continue
            steps, times = self._steps[rows], self._times[rows]
            old = {} if place is None else self._read(place)
            order = None
            if old:
                first = old[self._series[0]]
                steps, times = np.concatenate([first.steps, steps]), np.concatenate([first.times, times])
                order = newest_rows(steps)
                steps, times = steps[order], times[order]
            is_tail = rows.stop == len(self._steps) and (not self._places or place in (None, self._places[-1]))
            for part in _split(len(steps), fill=is_tail):
                next_axis += 1
                self._change.axes.append(
                    (
                        next_axis,
                        len(self._series),
                        int(times[part].max()),
                        encode_steps(steps[part]),
                        encode_steps(times[part]),
                    )
                )
                for series in self._series:
                    values = self._values[series][rows]
                    if order is not None:
                        values = np.concatenate([old[series].values, values])[order]
                    self._add(series, next_axis, PointArrays(steps[part], times[part], values[part]))
            if place is not None:
                self._replace(place)
        return next_axis

    def _pieces(self) -> Iterator[tuple[ChunkPlace | None, slice]]:
        """Yield slices of the new rows, each with the chunk to join, if any."""
        begin = 0
        for number, place in enumerate(self._places):
            before = int(np.searchsorted(self._steps, place.lo))
            if before > begin:
                yield None, slice(begin, before)
            begin = max(begin, before)
            takes_more = place.axis is not None and place.num_rows < OPEN_ROWS
            following = self._places[number + 1].lo if number + 1 < len(self._places) else None
            if not takes_more:
                end = int(np.searchsorted(self._steps, place.hi, side="right"))
            else:
                end = len(self._steps) if following is None else int(np.searchsorted(self._steps, following))
            if end > begin:
                yield place, slice(begin, end)
                begin = end
        if begin < len(self._steps):
            yield None, slice(begin, len(self._steps))

    def _read(self, place: ChunkPlace) -> dict[int, PointArrays]:
        places = [(series, self._attempt, place.lo) for series in self._series]
        return {
            series: rows for (series, _, _), rows in read_chunks(self._connection, self._change.run_id, places).items()
        }

    def _replace(self, place: ChunkPlace) -> None:
        for series in self._series:
            self._change.old_chunks.append((series, self._attempt, place.lo))
            self._change.old_cells.extend((series, self._attempt, level, place.lo) for level in place.every_level())
        if place.axis is not None:
            self._change.old_axes[place.axis] += len(self._series)

    def _add(self, series: int, axis: int, rows: PointArrays) -> None:
        lo, hi, levels = int(rows.steps[0]), int(rows.steps[-1]), 0
        for level, cells in make_cells(rows).items():
            levels |= 1 << (level - FIRST_LEVEL) // LEVEL_STEP
            self._change.cells.append((series, self._attempt, level, lo, encode_cells(cells)))
        data = encode_values(rows.values)
        self._change.chunks.append((series, self._attempt, lo, hi, len(rows), levels, axis, data))

    def _join_cells(self, place: ChunkPlace, rows: slice) -> None:
        """Join late rows with the cells of a chunk whose rows were dropped; a repeated step counts twice."""
        for series in self._series:
            late = unfold(PointArrays(self._steps[rows], self._times[rows], self._values[series][rows]))
            for level in place.every_level():
                (data,) = self._connection.execute(
                    "SELECT cells FROM pyramid"
                    " WHERE run_id = ? AND series = ? AND attempt = ? AND level = ? AND lo = ?",
                    (self._change.run_id, series, self._attempt, level, place.lo),
                ).fetchone()
                cells = merge(decode_cells(expand_cells(data)), coarsen(late, 1 << level))
                self._change.cells.append((series, self._attempt, level, place.lo, encode_cells(cells)))
            self._change.chunks.append(
                (
                    series,
                    self._attempt,
                    place.lo,
                    place.hi,
                    place.num_rows + rows.stop - rows.start,
                    place.levels,
                    None,
                    None,
                )
            )
        self._replace(place)


def _split(num_rows: int, *, fill: bool) -> Iterator[slice]:
    """Split points into chunks: full ones and a rest that can still grow, or equal ones if nothing follows."""
    num_chunks = -(-num_rows // CHUNK_ROWS)
    size = CHUNK_ROWS if fill else -(-num_rows // num_chunks)
    for first in range(0, num_rows, size):
        yield slice(first, min(first + size, num_rows))


# --- writing


def _look(connection: Connection, run_id: str) -> tuple[int, int] | None:
    """Return when the run was created and its number of compactions; None if there is no run.

    Frame numbers alone are not sufficient: an engine may reuse those of removed frames.
    """
    row = connection.execute("SELECT created_ns, compactions FROM run WHERE run_id = ?", (run_id,)).fetchone()
    return None if row is None else (row[0], row[1])


def _apply(connection: Connection, change: _Change) -> bool:
    """Replace the frames by the chunks; return False, to be rolled back, if a frame is missing."""
    run = change.run_id
    if _look(connection, run) != change.seen:
        return False
    connection.execute("UPDATE run SET compactions = compactions + 1 WHERE run_id = ?", (run,))
    gone = sum(
        connection.execute(
            "DELETE FROM frame WHERE run_id = ? AND keyset = ? AND +id <= ?", (run, keyset, last)
        ).rowcount
        for keyset, last in change.frames.last.items()
    )
    if gone != change.frames.number:
        return False
    connection.executemany(
        "DELETE FROM chunk WHERE run_id = ? AND series = ? AND attempt = ? AND lo = ?",
        [(run, *old) for old in change.old_chunks],
    )
    connection.executemany(
        "DELETE FROM pyramid WHERE run_id = ? AND series = ? AND attempt = ? AND level = ? AND lo = ?",
        [(run, *old) for old in change.old_cells],
    )
    connection.executemany(
        "UPDATE axis SET num_chunks = num_chunks - ? WHERE run_id = ? AND axis = ?",
        [(count, run, axis) for axis, count in change.old_axes.items()],
    )
    connection.executemany(
        "DELETE FROM axis WHERE run_id = ? AND axis = ? AND num_chunks <= 0", [(run, axis) for axis in change.old_axes]
    )
    connection.executemany(
        "INSERT INTO axis (run_id, axis, num_chunks, last_ns, steps, times) VALUES (?, ?, ?, ?, ?, ?)",
        [(run, *axis) for axis in change.axes],
    )
    connection.executemany(
        "INSERT INTO chunk (run_id, series, attempt, lo, hi, num_rows, levels, axis, data)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [(run, *chunk) for chunk in change.chunks],
    )
    connection.executemany(
        "INSERT INTO pyramid (run_id, series, attempt, level, lo, cells) VALUES (?, ?, ?, ?, ?, ?)",
        [(run, *cells) for cells in change.cells],
    )
    return True
