"""The data of one chart of one browser: a snapshot, then whole changed buckets.

Owns the bucket width, the points not shown yet and the decision when a new snapshot is needed; must not know sockets,
tasks or the store. Points arrive commit by commit; each is counted exactly once because the snapshot carries its
commit number. Bounded: per series the changed buckets and at most `MAX_ROWS` points that are not in buckets yet.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from recis_server.query.charts import encode_binary
from recis_server.store.points.buckets import Extent, bucketize, fit_width, merge
from recis_server.store.steps import last_step
from recis_server.store.values import Buckets, ChartRead, ChartSeries, PointsSlice

__all__ = ["Rows", "Watch"]

MAX_ROWS = 4096
MAX_BUFFERED_ROWS = 1 << 20


@dataclass(frozen=True, slots=True)
class Rows:
    """New points of one series in one commit, in order of arrival; arrays as in `PointsSlice`, of equal length n."""

    commit: int
    key: str
    rank: int
    attempt: int
    steps: npt.NDArray[np.int64]
    times: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]


@dataclass(slots=True)
class _Series:
    """`buckets` holds what changed since the last message and the bucket that may still grow."""

    key: str
    rank: int
    attempt: int
    first: int
    last: int
    count: int
    buckets: Buckets
    changed: bool = False
    rows: list[Rows] = field(default_factory=list)
    num_rows: int = 0

    def add(self, rows: Rows, width: int) -> None:
        self.changed = True
        self.rows.append(rows)
        self.num_rows += len(rows.steps)
        self.count += len(rows.steps)
        self.last = int(rows.steps[-1])
        if self.num_rows > MAX_ROWS:
            self.fold(width)

    def fold(self, width: int) -> None:
        """Fold pending rows into buckets."""
        steps = np.concatenate([rows.steps for rows in self.rows])
        points = PointsSlice(
            self.key,
            self.rank,
            steps,
            np.concatenate([rows.times for rows in self.rows]),
            np.concatenate([rows.values for rows in self.rows]),
            np.full(len(steps), self.attempt, dtype=np.int32),
            self.attempt,
        )
        self.buckets = merge(self.buckets, bucketize(points, width))
        self.rows = []
        self.num_rows = 0

    def sent(self) -> None:
        """Drop sent buckets except the one that may still grow."""
        self.buckets = self.buckets.since(self.buckets.x[-1])
        self.changed = False


class Watch:
    """One `watch` of a browser. `feed` at every commit; when `stale`, `begin`, read, `snapshot`; else `delta`.

    Args:
        watch_id: the id chosen by the browser.
        run: the run.
        keys: the series names.
        rank: one rank, None for all.
        start: first step of the view, or None for no bound.
        stop: the step after the last, or None to follow the end.
        points: maximum number of buckets in the view.
        superseded: whether snapshots separate points superseded by a later attempt; deltas never do.
    """

    def __init__(
        self,
        watch_id: int,
        run: str,
        keys: tuple[str, ...],
        *,
        rank: int | None,
        start: int | None,
        stop: int | None,
        points: int,
        superseded: bool = False,
    ) -> None:
        self.id = watch_id
        self.run = run
        self.keys = keys
        self.rank = rank
        self.start = start
        self.stop = stop
        self.superseded = superseded
        self.stale = True
        self.points = points
        self._width = 1
        self._finest = 0
        self._series: dict[tuple[str, int], _Series] = {}
        self._lost: list[_Series] = []
        self._firsts: dict[tuple[str, int], dict[int, int]] = {}
        self._commit = 0
        self._buffer: list[Rows] | None = None
        self._num_buffered = 0

    def feed(self, rows: Rows) -> bool:
        """Add new points of a watched key; return whether there is now something to send."""
        if self.rank is not None and rows.rank != self.rank:
            return False
        if self._buffer is not None:
            self._hold(rows)
        elif not self.stale:
            self._take(rows)
        return self.stale or any(series.changed for series in self._series.values())

    def begin(self) -> None:
        """Begin a snapshot read: keep what is committed until the snapshot arrives."""
        self._buffer = []
        self._num_buffered = 0
        self.stale = False

    def snapshot(self, read: ChartRead) -> bytes | None:
        """Return the message for the snapshot; None if more points arrived meanwhile than are kept (`stale` again)."""
        buffer, self._buffer = self._buffer or [], None
        if self.stale:
            return None
        self._commit, self._width, self._finest = read.commit, read.width, read.finest
        self._series, self._lost = {}, []
        self._firsts = {name: dict(firsts) for name, firsts in read.firsts.items()}
        for one in read.series:
            count = int(one.buckets.count.sum())
            series = _Series(one.key, one.rank or 0, one.attempt, one.first, one.last, count, one.buckets)
            if one.superseded:
                self._lost.append(series)
            else:
                self._series[series.key, series.rank] = series
        message = self._encode("snapshot", read.series)
        for series in (*self._series.values(), *self._lost):
            series.sent()
        for rows in buffer:
            self._take(rows)
        return message

    def delta(self) -> bytes | None:
        """Return the buckets changed since the last message, or None if there are none."""
        changed = [series for series in self._series.values() if series.changed]
        for series in changed:
            if series.rows:
                series.fold(self._width)
        if not changed:
            return None
        message = self._encode("delta", [ChartSeries(one.key, one.rank, one.attempt, one.buckets) for one in changed])
        for series in changed:
            series.sent()
        return message

    def _hold(self, rows: Rows) -> None:
        assert self._buffer is not None
        self._num_buffered += len(rows.steps)
        if self._num_buffered > MAX_BUFFERED_ROWS:
            self._buffer.clear()
            self.stale = True
        else:
            self._buffer.append(rows)

    def _take(self, rows: Rows) -> None:
        if self.stale or rows.commit <= self._commit:
            return
        firsts = self._firsts.setdefault((rows.key, rows.rank), {})
        first = int(rows.steps.min())
        begins = first < firsts.setdefault(rows.attempt, first + 1)
        firsts[rows.attempt] = min(first, firsts[rows.attempt])
        series = self._series.get((rows.key, rows.rank))
        if len(firsts) > 1 and (begins or series is None):
            # Attempts supersede each other from their first step on, even out of view; only the store knows which does.
            self.stale = True
            return
        rows = self._in_view(rows)
        if not len(rows.steps):
            return
        rising = bool((np.diff(rows.steps) > 0).all())
        if not rising or (series is not None and (rows.steps[0] <= series.last or rows.attempt != series.attempt)):
            # A rewritten step changes buckets that are not kept here, and only the store knows which attempt is newer.
            self.stale = True
            return
        if series is None:
            series = _Series(rows.key, rows.rank, rows.attempt, int(rows.steps[0]), 0, 0, _NO_BUCKETS)
            self._series[rows.key, rows.rank] = series
        series.add(rows, self._width)
        self.stale = self._fitting() != self._width

    def _in_view(self, rows: Rows) -> Rows:
        inside = np.ones(len(rows.steps), dtype=bool)
        if self.start is not None:
            inside &= rows.steps >= self.start
        if self.stop is not None:
            inside &= rows.steps <= last_step(self.stop)
        if inside.all():
            return rows
        return Rows(
            rows.commit,
            rows.key,
            rows.rank,
            rows.attempt,
            rows.steps[inside],
            rows.times[inside],
            rows.values[inside],
        )

    def _fitting(self) -> int:
        """Return the bucket width that a read would use now."""
        every = (*self._series.values(), *self._lost)
        extents = [Extent(one.first, one.last, one.count) for one in every]
        return fit_width(self.start, self.stop, self.points, extents, self._finest)

    def _encode(self, kind: Literal["snapshot", "delta"], series: Sequence[ChartSeries]) -> bytes:
        return encode_binary(kind, self.id, self.run, self._width, self.start, self.stop, series)


_NO_BUCKETS = Buckets(*[np.empty(0)] * 8)
