"""The data of one chart that is watched: a snapshot, then whole changed buckets.

Owns the bucket width, the points not sent yet and the decision when a new snapshot is needed; must not know sockets,
tasks, the store or who watches. Points arrive commit by commit; each is counted exactly once because the snapshot
carries the version of the run. Bounded: the changed buckets of the view, and some points that are not in buckets yet.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from recis_server.live.changes import BucketChanges
from recis_server.live.rows import Rows
from recis_server.query.charts import SeriesBytes, encode_binary, series_bytes
from recis_server.store.points.buckets import Extent, fit_width
from recis_server.store.steps import last_step
from recis_server.store.values import ChartRead

__all__ = ["LiveChart", "View"]

MAX_BUFFERED_ROWS = 1 << 20
_ANY_ID = 0


class View(NamedTuple):
    """What is shown; equal views have equal data.

    Attributes:
        run: the run.
        keys: the series names.
        rank: one rank, None for all.
        start: first step of the view, or None for no bound.
        stop: the step after the last, or None to follow the end.
        points: maximum number of buckets in the view.
        superseded: whether snapshots separate points superseded by a later attempt; deltas never do.
    """

    run: str
    keys: tuple[str, ...]
    rank: int | None
    start: int | None
    stop: int | None
    points: int
    superseded: bool = False


@dataclass(slots=True)
class _Series:
    number: int
    key: str
    rank: int
    attempt: int
    last: int
    count: int


class LiveChart:
    """The data of a watched chart: `feed` it every commit; when `stale`, `begin`, read and `snapshot`, else `delta`."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.keys = frozenset(view.keys)
        self.stale = True
        self._width = 1
        self._finest = 0
        self._series: dict[tuple[str, int], _Series] = {}
        self._numbered: list[_Series] = []
        self._changes = BucketChanges(1)
        self._extent: Extent | None = None
        self._firsts: dict[tuple[str, int], dict[int, int]] = {}
        self._version = 0
        self._buffer: list[Rows] | None = None
        self._num_buffered = 0

    @property
    def is_reading(self) -> bool:
        """Return whether a snapshot is being read."""
        return self._buffer is not None

    def feed(self, rows: Rows) -> None:
        """Add new points of its keys."""
        if self.view.rank is not None and rows.rank != self.view.rank:
            return
        if self._buffer is not None:
            self._hold(rows)
        elif not self.stale:
            self._take(rows)

    def begin(self) -> None:
        """Begin a snapshot read: keep what is committed until the snapshot arrives."""
        self._buffer = []
        self._num_buffered = 0
        self.stale = False

    def fail(self) -> None:
        """End a read that has failed."""
        self._buffer = None
        self.stale = True

    def snapshot(self, read: ChartRead) -> bytes | None:
        """Return the message for the snapshot; None if more points arrived meanwhile than are kept (`stale` again)."""
        buffer, self._buffer = self._buffer or [], None
        if self.stale:
            return None
        self._version, self._width, self._finest = read.version, read.width, read.finest
        self._series, self._numbered, self._extent = {}, [], None
        self._changes = BucketChanges(read.width)
        self._firsts = {name: dict(firsts) for name, firsts in read.firsts.items()}
        for one in read.series:
            count = int(one.buckets.count.sum())
            self._extend(one.first, one.last, count)
            if not one.superseded:
                series = self._new(one.key, one.rank or 0, one.attempt, one.last, count)
                bucket = np.stack(one.buckets.columns())[:, -1] if len(one.buckets) else None
                self._changes.start(series.number, bucket)
        message = self.encode(read)
        for rows in buffer:
            self._take(rows)
        return message

    def encode(self, read: ChartRead) -> bytes:
        """Return the message for a snapshot, without starting from it."""
        view = self.view
        series = map(series_bytes, read.series)
        return encode_binary("snapshot", _ANY_ID, view.run, read.width, view.start, view.stop, series)

    def continues(self, read: ChartRead) -> bool:
        """Return whether deltas of this chart continue that snapshot: it has the same series on the same grid."""
        read_attempts = {(one.key, one.rank or 0): one.attempt for one in read.series if not one.superseded}
        attempts = {name: series.attempt for name, series in self._series.items()}
        return read.width == self._width and all(read_attempts.get(name) == found for name, found in attempts.items())

    def delta(self) -> bytes | None:
        """Return the buckets changed since the last message, or None if there are none."""
        if self.stale or self._buffer is not None or not self._changes:
            return None
        view = self.view
        series = (self._changed(number, buckets) for number, buckets in self._changes.take())
        return encode_binary("delta", _ANY_ID, view.run, self._width, view.start, view.stop, series)

    def _changed(self, number: int, buckets: npt.NDArray[np.float64]) -> SeriesBytes:
        one = self._numbered[number]
        return SeriesBytes(
            one.key, one.rank, one.attempt, superseded=False, n=buckets.shape[1], columns=buckets.tobytes()
        )

    def _hold(self, rows: Rows) -> None:
        assert self._buffer is not None
        self._num_buffered += len(rows.steps)
        if self._num_buffered > MAX_BUFFERED_ROWS:
            self._buffer.clear()
            self.stale = True
        else:
            self._buffer.append(rows)

    def _take(self, rows: Rows) -> None:
        if self.stale or rows.version <= self._version:
            return
        if self._superseding(rows):
            # Attempts supersede each other from their first step on, even out of view; only the store knows which does.
            self.stale = True
            return
        view = self.view
        inside = rows.inside(view.start, None if view.stop is None else last_step(view.stop))
        if inside is None:
            return
        rows = inside
        if not self._is_rising(rows):
            # A rewritten step changes buckets that are not kept here, and only the store knows which attempt is newer.
            self.stale = True
            return
        ends = [*rows.begins[1:].tolist(), len(rows.steps)]
        numbers = []
        for key, begin, end in zip(rows.keys, rows.begins.tolist(), ends, strict=True):
            series = self._series.get((key, rows.rank))
            if series is None:
                series = self._new(key, rows.rank, rows.attempt, 0, 0)
                self._changes.start(series.number, None)
            series.last = int(rows.steps[end - 1])
            series.count += end - begin
            self._extend(int(rows.steps[begin]), series.last, series.count)
            numbers.append(series.number)
        self._changes.add(np.array(numbers)[rows.places()], rows.steps, rows.times, rows.values)
        extents = [] if self._extent is None else [self._extent]
        self.stale = fit_width(view.start, view.stop, view.points, extents, self._finest) != self._width

    def _superseding(self, rows: Rows) -> bool:
        """Record the first step of each attempt; return whether points of a series may now be superseded."""
        found = False
        for key, first in zip(rows.keys, np.minimum.reduceat(rows.steps, rows.begins).tolist(), strict=True):
            name = (key, rows.rank)
            firsts = self._firsts.setdefault(name, {})
            begins = first < firsts.setdefault(rows.attempt, first + 1)
            if begins:
                firsts[rows.attempt] = first
            found |= len(firsts) > 1 and (begins or name not in self._series)
        return found

    def _is_rising(self, rows: Rows) -> bool:
        """Return whether each point is of a later step than all before of its series, and of the same attempt."""
        rising = rows.steps[1:] > rows.steps[:-1]
        rising[rows.begins[1:] - 1] = True
        if not rising.all():
            return False
        for key, first in zip(rows.keys, rows.steps[rows.begins].tolist(), strict=True):
            series = self._series.get((key, rows.rank))
            if series is not None and (first <= series.last or rows.attempt != series.attempt):
                return False
        return True

    def _new(self, key: str, rank: int, attempt: int, last: int, count: int) -> _Series:
        series = _Series(len(self._numbered), key, rank, attempt, last, count)
        self._series[key, rank] = series
        self._numbered.append(series)
        return series

    def _extend(self, first: int, last: int, count: int) -> None:
        """Extend the range of all series and the length of the longest one, on which the width depends."""
        known = self._extent
        if known is None:
            self._extent = Extent(first, last, count)
        elif first < known.first or last > known.last or count > known.count:
            self._extent = Extent(min(known.first, first), max(known.last, last), max(known.count, count))
