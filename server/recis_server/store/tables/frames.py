"""Ingest of frames: one transaction of the write thread turns the records of training processes into rows.

Owns the cache of known series, key sets and acknowledged numbers (bounded, cleared after a rollback), and the decision
whether it is still valid; must not know threads, queues or sockets.
"""

import logging
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from recis.wire.messages import MAX_TEXT_CHARS, Declare, Event, Line, Pass, Points, Result, Status
from recis.wire.text import as_name, as_text
from recis_server.errors import InvalidValue, StoreLost, StoreUnavailable
from recis_server.store.engines import meta
from recis_server.store.engines.engine import Connection
from recis_server.store.json_columns import dump
from recis_server.store.tables import controls, ledger
from recis_server.store.tables.attempts import attempt_places
from recis_server.store.tables.lines import count_dropped, line_values, write_lines
from recis_server.store.tables.passes import write_pass
from recis_server.store.tables.process_info import merge_info
from recis_server.store.tables.run_config import merge_config
from recis_server.store.tables.runs import read_versions
from recis_server.store.tables.sql_parameters import saturated
from recis_server.store.tables.tallies import Tally, read_tallies, summarise, write_tallies
from recis_server.store.values import Commit, StoredFrame, StreamRow

__all__ = ["FrameBatch", "settle_run_state"]

_logger = logging.getLogger(__name__)

REMEMBERED_RUNS = 4096
REMEMBERED_COLUMNS = 1 << 18
"""Runs, and columns of their key sets, held in memory; the oldest entries are evicted and read again when needed."""
REMEMBERED_KEYSETS = 1024
MAX_COLUMNS = 1024
"""Reports with more columns are split into several key sets, which bounds the work of compaction."""


@dataclass(slots=True)
class _Keyset:
    """Series that were reported together, and their tally."""

    number: int
    num_columns: int
    tally: Tally


@dataclass(slots=True)
class _Run:
    """The cached state of one run; `places` is the order of its attempts, `streams` the state of its writers.

    It is valid while the run's row has the version `updated_ns`.

    The state of a writer is its acknowledged number and the number of points that it has dropped. `series` has the
    number of each (rank, key), `num_columns` is the number of columns in all `keysets`.
    """

    places: dict[int, int]
    streams: dict[str, tuple[int, int]]
    series: dict[tuple[int, str], int] = field(default_factory=dict)
    keysets: OrderedDict[tuple[int, tuple[str, ...]], _Keyset] = field(default_factory=OrderedDict)
    num_keysets: int = 0
    num_columns: int = 0
    last_step: int | None = None
    last_attempt: int = 0
    points: int = 0
    missing: int = 0
    updated_ns: int = 0


@dataclass(slots=True)
class _Pending:
    """Rows that a transaction writes at its end, each kind with one call: a call per row would cost more than the row.

    Lists are bound parameters in the order of arrival. Of a writer, a run and a key set only the latest state is
    written.
    """

    frames: list[tuple[Any, ...]] = field(default_factory=list)
    lines: list[tuple[Any, ...]] = field(default_factory=list)
    streams: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    runs: dict[str, _Run] = field(default_factory=dict)
    tallies: dict[tuple[str, int], Tally] = field(default_factory=dict)


class FrameBatch:
    """Writes the records of a batch of frames in one transaction. Not thread-safe: used by the write thread.

    Args:
        failures: the engine's exceptions, which make the whole transaction fail.
        shared: whether other servers write to the store as well. What is cached of a run is then compared with its row
            in every transaction, which has the run for itself. A sole server counts its commits in the store instead,
            which also shows whether an older copy has taken the store's place.
    """

    def __init__(self, failures: tuple[type[Exception], ...], *, shared: bool = False) -> None:
        self._failures = failures
        self._is_shared = shared
        self._runs: OrderedDict[str, _Run] = OrderedDict()
        self._num_columns = 0
        self._pending = _Pending()
        self._identity: int | None = None
        self._committed = -1
        self._number = 0
        self._before: dict[str, int] = {}
        self._versions: dict[str, tuple[int, int]] = {}

    def begin(self, connection: Connection) -> None:
        """See `writer.Batch`; compare the commit number with the last one acknowledged.

        Raises:
            StoreLost: it is lower, or this is another store.
        """
        numbers = meta.read(connection)
        identity = numbers.get(meta.IDENTITY)
        if self._committed < 0:
            self._identity = identity
        if identity != self._identity:
            raise StoreLost(
                "the store was replaced by another one while the server ran; restart the server to use it",
                detail=f"expected the store {self._identity}, found {identity}",
            )
        if self._is_shared:
            self._number = max(0, self._committed)
            return
        self._number = numbers.get(meta.COMMIT_NUMBER, -1)
        if self._number < self._committed:
            raise StoreLost(
                "the store was replaced by an older copy while the server ran; restart the server to use it",
                detail=f"expected commit {self._committed} or a newer one, found {self._number}",
            )
        if self._number > self._committed:
            # Another server took over for a while, or the outcome of a commit was unknown.
            self.forget()

    def committed(self) -> None:
        """See `writer.Batch`."""
        self._committed = self._number

    def forget(self) -> None:
        """Discard all cached state."""
        self._runs.clear()
        self._num_columns = 0

    def forget_run(self, run: str) -> None:
        """Discard the cached state of a run whose rows were changed elsewhere."""
        known = self._runs.pop(run, None)
        if known is not None:
            self._num_columns -= known.num_columns

    def apply(self, connection: Connection, frames: list[StoredFrame]) -> tuple[Commit, list[Exception | None]]:
        """Write the new frames; a frame that cannot be written does not affect the others.

        Raises:
            Exception: one of `failures`: the engine could not write; the whole transaction has to be rolled back.
        """
        if self._is_shared:
            self._forget_stale(connection, {stored.stream.run for stored in frames})
        self._before, self._versions = {}, {}
        outcomes = self._attempt(connection, frames)
        if isinstance(outcomes, Exception):
            # One of them is at fault: try again, one frame at a time.
            outcomes = [self._attempt_one(connection, stored) for stored in frames]
        applied = tuple(stored for stored, outcome in zip(frames, outcomes, strict=True) if outcome is True)
        if applied:
            self._number += 1
            if not self._is_shared:
                meta.write(connection, meta.COMMIT_NUMBER, self._number)
        self._trim()
        return Commit(self._number, applied, self._versions), [
            outcome if isinstance(outcome, Exception) else None for outcome in outcomes
        ]

    def _forget_stale(self, connection: Connection, runs: set[str]) -> None:
        """Discard what is cached of those runs that others have changed."""
        known = tuple(run for run in runs if run in self._runs)
        if not known:
            return
        versions = read_versions(connection, known)
        for run in known:
            if versions.get(run) != self._runs[run].updated_ns:
                self.forget_run(run)

    def _attempt(self, connection: Connection, frames: list[StoredFrame]) -> "list[bool | Exception] | Exception":
        """Return for each frame whether it was new, or why none of them was written."""
        outcomes: list[bool | Exception] | Exception
        pending = self._pending = _Pending()
        connection.execute("SAVEPOINT frames")
        try:
            outcomes = [self._apply_one(connection, stored) for stored in frames]
            self._write(connection, pending)
        except self._failures:
            raise
        except Exception as error:  # noqa: BLE001 - boundary: a failing frame must not affect the rest of the batch
            connection.execute("ROLLBACK TO frames")
            for stored in frames:
                self.forget_run(stored.stream.run)
            outcomes = error
        connection.execute("RELEASE frames")
        return outcomes

    def _attempt_one(self, connection: Connection, stored: StoredFrame) -> bool | Exception:
        outcomes = self._attempt(connection, [stored])
        return _as_failure(stored, outcomes) if isinstance(outcomes, Exception) else outcomes[0]

    def _apply_one(self, connection: Connection, stored: StoredFrame) -> bool:
        stream, frame = stored.stream, stored.frame
        run = self._run(connection, stream.run)
        known = run.streams.get(stream.writer) if run is not None else None
        if run is None or known is None:
            raise StoreUnavailable(f"run {stream.run} was deleted; writer {stream.writer} has to register again")
        acked, dropped = known
        if frame.n <= acked:
            return False
        if frame.dropped <= dropped:
            # Numbers skipped while the writer reports new drops are those drops.
            run.missing = saturated(run.missing + max(0, frame.n - acked - frame.span))
        run.streams[stream.writer] = (frame.n, saturated(max(dropped, frame.dropped)))
        self._before.setdefault(stream.run, run.updated_ns)
        # The time is also a version: it increases with every change, whatever the clock does.
        run.updated_ns = max(run.updated_ns + 1, stored.received_ns)
        self._pending.runs[stream.run] = run
        self._pending.streams[stream.run, stream.writer] = run.streams[stream.writer]
        for record in frame.records:
            self._apply_record(connection, run, stream, record)
        return True

    def _apply_record(self, connection: Connection, run: _Run, stream: StreamRow, record: Any) -> None:
        match record:
            case Points():
                for points in _narrow(record):
                    self._add_points(connection, run, stream, points)
            case Pass():
                write_pass(connection, stream, record)
            case Line():
                self._pending.lines.append(line_values(stream, record))
                if record.dropped:
                    count_dropped(connection, stream.run, record.dropped)
            case Event(kind="process"):
                merge_info(connection, stream, record.data)
            case Event():
                _add_event(connection, stream, record)
                if record.kind == "config":
                    merge_config(connection, stream, record.data)
            case Declare():
                # Controls of an earlier attempt that are no longer declared say nothing about the current processes.
                if run.places[stream.attempt] == len(run.places):
                    controls.declare(connection, stream, record)
            case Result():
                ledger.answer(connection, stream, record)
            case Status():
                connection.execute(
                    "UPDATE stream SET state = ?, message = ? WHERE run_id = ? AND writer = ?",
                    (record.state, as_text(record.message, MAX_TEXT_CHARS), stream.run, stream.writer),
                )
                if settle_run_state(connection, stream.run) == "finished":
                    ledger.end_run(connection, stream.run)

    # --- points

    def _add_points(self, connection: Connection, run: _Run, stream: StreamRow, points: Points) -> None:
        rows = summarise(points)
        keyset = self._keyset(connection, run, stream, points.keys)
        self._pending.frames.append(
            (
                stream.run,
                keyset.number,
                stream.attempt,
                rows.low,
                rows.high,
                rows.num_rows,
                points.steps,
                points.times,
                points.values,
            )
        )
        run.points = saturated(run.points + rows.num_rows * len(points.keys))
        keyset.tally.add(rows, stream.attempt, run.points, run.places)
        self._pending.tallies[stream.run, keyset.number] = keyset.tally
        if run.last_step is None or (run.places[stream.attempt], rows.high) > (
            run.places[run.last_attempt],
            run.last_step,
        ):
            run.last_attempt, run.last_step = stream.attempt, rows.high

    def _keyset(self, connection: Connection, run: _Run, stream: StreamRow, keys: tuple[str, ...]) -> _Keyset:
        known = run.keysets.get((stream.rank, keys))
        if known is not None:
            run.keysets.move_to_end((stream.rank, keys))
            return known
        run.num_keysets += 1
        for position, key in enumerate(keys):
            series = run.series.get((stream.rank, key))
            if series is None:
                series = run.series[stream.rank, key] = len(run.series) + 1
                connection.execute(
                    "INSERT INTO series (run_id, series, rank, key) VALUES (?, ?, ?, ?)",
                    (stream.run, series, stream.rank, key),
                )
            connection.execute(
                "INSERT INTO keyset (run_id, series, keyset, position) VALUES (?, ?, ?, ?)",
                (stream.run, series, run.num_keysets, position),
            )
        keyset = run.keysets[stream.rank, keys] = _Keyset(run.num_keysets, len(keys), Tally())
        forgotten = 0
        if len(run.keysets) > REMEMBERED_KEYSETS:
            # An evicted key set gets another number when it occurs again: more rows, the same points.
            forgotten = run.keysets.popitem(last=False)[1].num_columns
        run.num_columns += len(keys) - forgotten
        self._num_columns += len(keys) - forgotten
        return keyset

    # --- memory

    def _run(self, connection: Connection, run_id: str) -> _Run | None:
        run = self._runs.get(run_id)
        if run is None:
            run = _read_run(connection, run_id)
            if run is None:
                return None
            self._runs[run_id] = run
            self._num_columns += run.num_columns
        self._runs.move_to_end(run_id)
        return run

    def _trim(self) -> None:
        while len(self._runs) > REMEMBERED_RUNS or self._num_columns > REMEMBERED_COLUMNS:
            self.forget_run(next(iter(self._runs)))

    def _write(self, connection: Connection, pending: _Pending) -> None:
        connection.executemany(
            "INSERT INTO frame (run_id, keyset, attempt, lo, hi, num_rows, steps, times, data)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            pending.frames,
        )
        write_lines(connection, pending.lines)
        connection.executemany(
            "UPDATE stream SET acked = ?, dropped = ? WHERE run_id = ? AND writer = ?",
            [(*state, *stream) for stream, state in pending.streams.items()],
        )
        connection.executemany(
            "UPDATE run SET last_step = ?, last_attempt = ?, points = ?, missing = ?, updated_ns = ? WHERE run_id = ?",
            [
                (run.last_step, run.last_attempt, run.points, run.missing, run.updated_ns, run_id)
                for run_id, run in pending.runs.items()
            ],
        )
        write_tallies(connection, pending.tallies)
        for run_id, run in pending.runs.items():
            self._versions[run_id] = self._before[run_id], run.updated_ns


def settle_run_state(connection: Connection, run_id: str) -> str:
    """Derive the run's state from the last status of its ranks in the latest attempt, set it, and return it.

    A rank's latest writer counts.
    """
    said: dict[int, tuple[str, str]] = {}
    for rank, state, message in connection.execute(
        "SELECT rank, state, message FROM stream WHERE run_id = ? AND attempt = (SELECT ordinal FROM attempt"
        " WHERE run_id = ? ORDER BY started_ns DESC, ordinal DESC LIMIT 1) ORDER BY created_ns",
        (run_id, run_id),
    ):
        said[rank] = (state, message)
    states = {state for state, _ in said.values()}
    state = "failed" if "failed" in states else "running" if "running" in states else "finished"
    message = next((text for one, text in said.values() if one == state and text), "")
    connection.execute("UPDATE run SET state = ?, message = ? WHERE run_id = ?", (state, message, run_id))
    return state


def _read_run(connection: Connection, run_id: str) -> _Run | None:
    found = connection.execute(
        "SELECT last_step, last_attempt, points, missing, updated_ns FROM run WHERE run_id = ?", (run_id,)
    ).fetchone()
    if found is None:
        return None
    streams = {
        writer: (acked, dropped)
        for writer, acked, dropped in connection.execute(
            "SELECT writer, acked, dropped FROM stream WHERE run_id = ?", (run_id,)
        )
    }
    run = _Run(attempt_places(connection, run_id), streams)
    (run.last_step, run.last_attempt, run.points, run.missing, run.updated_ns) = found
    tallies = read_tallies(connection, run_id)
    sets: dict[int, list[str]] = {}
    ranks: dict[int, int] = {}
    for series, rank, key, keyset in connection.execute(
        "SELECT s.series, s.rank, s.key, k.keyset FROM series AS s"
        " JOIN keyset AS k ON k.run_id = s.run_id AND k.series = s.series WHERE s.run_id = ?"
        " ORDER BY k.keyset, k.position",
        (run_id,),
    ):
        run.series[rank, key] = series
        sets.setdefault(keyset, []).append(key)
        ranks[keyset] = rank
    for keyset, keys in sets.items():
        run.keysets[ranks[keyset], tuple(keys)] = _Keyset(keyset, len(keys), tallies.get(keyset, Tally()))
    run.num_columns = sum(keyset.num_columns for keyset in run.keysets.values())
    run.num_keysets = max(sets, default=0)
    return run


def _narrow(points: Points) -> Iterator[Points]:
    """Return the record, or several with parts of its columns."""
    if len(points.keys) <= MAX_COLUMNS:
        yield points
        return
    for first in range(0, len(points.keys), MAX_COLUMNS):
        keys = points.keys[first : first + MAX_COLUMNS]
        begin = first * len(points.steps)
        values = points.values[begin : begin + len(keys) * len(points.steps)]
        yield Points(keys, points.steps, points.times, values)


def _as_failure(stored: StoredFrame, error: Exception) -> Exception:
    if isinstance(error, StoreUnavailable):
        return error
    _logger.warning("frame %d of %s was not stored", stored.frame.n, stored.stream.writer, exc_info=error)
    return InvalidValue("frame", f"frame {stored.frame.n} holds a value that cannot be stored: {error}")


# --- one row a record


def _add_event(connection: Connection, stream: StreamRow, record: Event) -> None:
    connection.execute(
        "INSERT INTO event (run_id, kind, level, time_ns, step, rank, text, data) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            stream.run,
            as_name(record.kind),
            record.level,
            record.time_ns,
            record.step,
            stream.rank,
            as_text(record.text, MAX_TEXT_CHARS),
            dump(record.data),
        ),
    )
