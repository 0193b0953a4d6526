"""What a reader sees is the same before, between and after compactions: against brute force on small chunks."""

from collections import defaultdict
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recis_server.store.engines.engine import Connection
from recis_server.store.points import chart, compaction, hot_frames
from recis_server.store.points import series as series_module
from recis_server.store.points.buckets import Extent, bucketize, fit_width
from recis_server.store.points.chart import read_buckets
from recis_server.store.points.compaction import compact, find_work
from recis_server.store.points.series import read_points
from recis_server.store.tables.deletion import delete_run, delete_slice
from recis_server.store.tables.frames import FrameBatch
from recis_server.store.tables.registration import register
from recis_server.store.values import PointsSlice

from recis.wire.codec import column
from recis.wire.messages import Hello, Points
from tests.effort import examples
from tests.server.store.databases import engine_of
from tests.server.store.streams import frame, greeting

HOUR = 3600 * 10**9
FAR = 2**40
VALUES = st.sampled_from([0.0, 1.5, -2.0, 1e300, float("nan"), float("inf"), float("-inf"), 0.1])
# (attempt, rank, keys, first step, stride, rows)
REPORTS = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.integers(0, 1),
        st.sampled_from([("loss",), ("loss", "qps"), ("qps",)]),
        st.one_of(st.integers(-100, 400), st.integers(FAR, FAR + 200)),
        st.sampled_from([1, 1, 2, 7, -1]),
        st.integers(1, 120),
        VALUES,
    ),
    max_size=12,
)
Truth = dict[tuple[str, int], dict[int, dict[int, float]]]


def hello_of(attempt: int, rank: int) -> Hello:
    began = HOUR * (1 + attempt)
    return greeting(writer=f"w{attempt}-{rank}", attempt=f"a{attempt}", rank=rank, time_ns=100 * HOUR, started_ns=began)


class Store:
    """The tables of one file with the functions of the write thread and the worker, called by hand."""

    def __init__(self, folder: Path) -> None:
        self.engine = engine_of(folder)
        self.engine.open(exclusive=True)
        self.writer = self.engine.connect_writer()
        self.reader = self.engine.connect_reader()
        self.compactor = self.engine.connect_writer()
        self.batch = FrameBatch(self.engine.failures)
        self.numbers: dict[tuple[int, int], int] = defaultdict(int)
        self.truth: Truth = defaultdict(lambda: defaultdict(dict))
        self.arrivals = 0
        # What a failed example has left.
        delete_run(self.writer, "r", 1)
        while delete_slice(self.writer, "r"):
            pass
        for attempt in range(3):
            register(self.writer, hello_of(attempt, 0), 1000 * HOUR)

    def report(
        self, attempt: int, rank: int, keys: tuple[str, ...], first: int, stride: int, rows: int, odd: float
    ) -> None:
        steps = [first + stride * place for place in range(rows)]
        self.arrivals += 1
        columns = {
            key: [odd if place % 5 == 3 else float(self.arrivals * 1000 + place + len(key)) for place in range(rows)]
            for key in keys
        }
        flat = [value for one in columns.values() for value in one]
        record = Points(keys, column(steps, "<i8"), column(steps, "<i8"), column(flat, "<f8"))
        self.engine.begin_write(self.writer)
        row = register(self.writer, hello_of(attempt, rank), 1000 * HOUR)
        self.batch.forget_run("r")
        self.numbers[attempt, rank] += 1
        self.batch.begin(self.writer)
        self.batch.apply(self.writer, [frame(row, self.numbers[attempt, rank], record)])
        self.writer.execute("COMMIT")
        for key, one in columns.items():
            self.truth[key, rank][attempt].update(zip(steps, one, strict=True))

    def forget(self, began_ns: int) -> None:
        """The run is gone, and begins anew."""
        self.truth.clear()
        self.numbers.clear()
        for attempt in range(3):
            register(self.writer, hello_of(attempt, 0), began_ns)

    def compact(self) -> bool:
        return compact(self.engine, self.reader, self.compactor, "r")

    def count(self, table: str) -> int:
        (number,) = self.writer.execute(f"SELECT count(*) FROM {table}").fetchone()
        return int(number)

    def close(self) -> None:
        self.writer.close()
        self.reader.close()
        self.compactor.close()
        self.engine.close()


@contextmanager
def opened(folder: Path) -> Iterator[Store]:
    store = Store(folder)
    try:
        yield store
    finally:
        store.close()


def wanted(truth: Truth, start: int | None, stop: int | None) -> dict[tuple[str, int, int], dict[int, float]]:
    """Key, rank and 0 for what counts or the attempt that lost it, to steps and values."""
    found: dict[tuple[str, int, int], dict[int, float]] = defaultdict(dict)
    for (key, rank), attempts in truth.items():
        for attempt, rows in attempts.items():
            limit = min((min(other) for of, other in attempts.items() if of > attempt), default=2**62)
            for step, value in rows.items():
                if (start is None or step >= start) and (stop is None or step < stop):
                    found[key, rank, 0 if step < limit else attempt + 1][step] = value
    return found


def assert_right(connection: Connection, truth: Truth, start: int | None, stop: int | None, most: int) -> None:
    expected = wanted(truth, start, stop)
    for key in ("loss", "qps"):
        slices = read_points(connection, "r", key, None, start, stop, superseded=True)
        got = {(one.key, one.rank, one.attempt if one.superseded else 0): one for one in slices}
        assert set(got) == {name for name in expected if name[0] == key}
        for name, piece in got.items():
            steps = sorted(expected[name])
            assert piece.steps.tolist() == steps
            np.testing.assert_array_equal(piece.values, [expected[name][step] for step in steps])
    found = read_buckets(connection, "r", ["loss", "qps"], None, start, stop, most, superseded=True)
    assert {(one.key, one.rank, one.attempt if one.superseded else 0) for one in found.series} == set(expected)
    extents = [Extent(min(rows), max(rows), len(rows)) for rows in expected.values()]
    width = fit_width(start, stop, most, extents, 0)
    assert found.width == width
    for one in found.series:
        rows = expected[one.key, one.rank or 0, one.attempt if one.superseded else 0]
        assert (one.first, one.last) == (min(rows), max(rows))
        assert_buckets(one.buckets, rows, width)


def assert_buckets(buckets: Any, rows: dict[int, float], width: int) -> None:
    steps = np.array(sorted(rows))
    brute = bucketize(slice_of(steps, np.array([rows[step] for step in steps.tolist()])), width)
    for name in ("x", "min", "max", "last", "count", "nan"):
        np.testing.assert_array_equal(getattr(buckets, name), getattr(brute, name), err_msg=name)
    np.testing.assert_allclose(buckets.mean, brute.mean, rtol=1e-9, err_msg="mean")


def slice_of(steps: Any, values: Any) -> PointsSlice:
    return PointsSlice("", 0, steps, steps, values, np.zeros(len(steps), np.int32), 0)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "CHUNK_ROWS", 96)
    monkeypatch.setattr(compaction, "OPEN_ROWS", 72)
    monkeypatch.setattr(compaction, "UNIT_POINTS", 150)
    # So few in one statement that every read takes several.
    for module in (chart, series_module, hot_frames):
        monkeypatch.setattr(module, "_MOST_READ", 2)
    for module in (compaction, series_module, hot_frames):
        monkeypatch.setattr(module, "_MOST_NAMED", 2)


def test_readers_see_the_same_before_during_and_after(
    every_engine: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    @settings(deadline=None, max_examples=examples(100 if every_engine == "sqlite" else 15))
    @given(REPORTS, st.data(), st.integers(-120, 300), st.integers(1, 300), st.integers(1, 40))
    def check(reports: Any, data: st.DataObject, start: int, length: int, most: int) -> None:
        # One database for all examples, each of which leaves it empty, where making one takes long.
        folder = tmp_path_factory.mktemp("store") if every_engine == "sqlite" else Path(every_engine)
        with opened(folder) as store:
            for report in reports:
                store.report(*report)
                for _ in range(data.draw(st.integers(0, 2))):
                    store.compact()
                assert_right(store.reader, store.truth, None, None, most)
            assert_right(store.reader, store.truth, start, start + length, most)
            while store.compact():
                assert_right(store.reader, store.truth, start, None, most)
            assert store.count("frame") == 0
            assert_right(store.reader, store.truth, None, None, most)
            assert_right(store.reader, store.truth, start, start + length, most)
            assert_whole(store.writer)
            delete_run(store.writer, "r", 1)
            while delete_slice(store.writer, "r"):
                pass
            left = [store.count(table) for table in ("chunk", "axis", "pyramid", "series", "keyset", "deletion")]
            assert left == [0] * 6

    check()


def assert_whole(connection: Connection, run_id: str = "r", most: int = 96) -> None:
    """Chunks of one series do not overlap, every axis has as many chunks as it counts, no cells without a chunk."""
    last: dict[tuple[int, int], int] = {}
    axes: dict[int, int] = defaultdict(int)
    cells = set()
    for series, attempt, lo, hi, num_rows, levels, axis in connection.execute(
        "SELECT series, attempt, lo, hi, num_rows, levels, axis FROM chunk WHERE run_id = ?"
        " ORDER BY series, attempt, lo",
        (run_id,),
    ).fetchall():
        assert lo > last.get((series, attempt), -(2**63) - 1)
        assert num_rows <= most
        last[series, attempt] = hi
        axes[axis] += 1
        cells |= {(series, attempt, 6 + 3 * bit, lo) for bit in range(20) if levels >> bit & 1}
    rows = connection.execute("SELECT axis, num_chunks FROM axis WHERE run_id = ?", (run_id,)).fetchall()
    assert dict(rows) == dict(axes)
    found = connection.execute("SELECT series, attempt, level, lo FROM pyramid WHERE run_id = ?", (run_id,)).fetchall()
    assert set(found) == cells


@pytest.mark.usefixtures("every_engine")
def test_series_that_are_reported_together_share_their_steps(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        for part in range(4):
            store.report(0, 0, ("loss", "qps"), part * 60, 1, 60, 0.5)
            while store.compact():
                pass
        (chunks,) = store.writer.execute("SELECT count(*) FROM chunk").fetchone()
        assert (chunks, store.count("axis")) == (6, 3)


@pytest.mark.usefixtures("every_engine")
def test_what_is_not_worth_it_is_left_alone(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        assert find_work(store.reader, 1000 * HOUR) == []
        assert not store.compact()
        store.report(0, 0, ("loss",), 0, 1, 10, 0.5)
        (updated_ns,) = store.writer.execute("SELECT updated_ns FROM run").fetchone()
        assert find_work(store.reader, updated_ns + HOUR // 3600) == []
        assert find_work(store.reader, updated_ns + HOUR) == ["r"]
        store.report(0, 0, ("loss",), 20, 1, 90, 0.5)
        assert find_work(store.reader, updated_ns) == ["r"]


@pytest.mark.usefixtures("every_engine")
def test_a_run_that_is_deleted_meanwhile_stays_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(tmp_path) as store:
        store.report(0, 0, ("loss",), 0, 1, 10, 0.5)
        apply = compaction._apply

        def late(connection: Any, change: Any) -> bool:
            # A rollback lets the deletion in that another connection would have made before.
            connection.execute("ROLLBACK")
            delete_run(connection, "r", 1)
            while delete_slice(connection, "r"):
                pass
            store.engine.begin_write(connection)
            return apply(connection, change)

        monkeypatch.setattr(compaction, "_apply", late)
        assert not store.compact()
        assert store.count("chunk") == 0


class Counting:
    """A connection that counts the rows that each of its transactions changes."""

    def __init__(self, inner: Connection) -> None:
        self.inner = inner
        self.transactions: list[int] = []

    def execute(self, sql: str, values: Any = ()) -> Any:
        cursor = self.inner.execute(sql, values)
        if sql.startswith("BEGIN"):
            self.transactions.append(0)
        elif sql.startswith(("INSERT", "UPDATE", "DELETE")):
            self.transactions[-1] += cursor.rowcount
        return cursor

    def executemany(self, sql: str, rows: Any) -> None:
        self.transactions[-1] += len(rows)
        self.inner.executemany(sql, rows)

    def close(self) -> None:
        self.inner.close()


def count_rows(store: Store) -> list[int]:
    """Compacts all of it; the rows of each transaction."""
    counting = Counting(store.compactor)
    begin = store.engine.begin_write

    def begin_write(connection: Connection, runs: Collection[str] = ()) -> None:
        begin(counting.inner, runs)
        counting.transactions.append(0)

    store.engine.begin_write = begin_write  # type: ignore[method-assign]
    try:
        while compact(store.engine, store.reader, counting, "r"):
            pass
    finally:
        store.engine.begin_write = begin  # type: ignore[method-assign]
    return counting.transactions


@pytest.mark.slow
@pytest.mark.usefixtures("every_engine")
def test_a_transaction_is_bounded_however_many_series_have_a_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    num_series = 10_000
    monkeypatch.setattr(compaction, "UNIT_POINTS", 1 << 20)
    keys = tuple(f"k{number}" for number in range(num_series))
    with opened(tmp_path) as store:
        for step in range(2):
            store.report(0, 0, keys, step, 1, 1, 0.5)
        transactions = count_rows(store)
        assert len(transactions) > num_series // 2048
        assert max(transactions) < 8192
        assert store.count("frame") == 0
        assert store.count("chunk") == num_series
        assert_whole(store.writer)
        for key in ("k0", "k1023", "k1024", f"k{num_series - 1}"):
            [one] = read_points(store.reader, "r", key, None, None, None, superseded=False)
            assert dict(zip(one.steps.tolist(), one.values.tolist(), strict=True)) == store.truth[key, 0][0]


@pytest.mark.usefixtures("every_engine")
def test_a_transaction_is_bounded_however_many_chunks_rows_go_back_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = 120
    monkeypatch.setattr(compaction, "UNIT_ROWS", most)
    with opened(tmp_path) as store:
        for part in range(40):
            store.report(0, 0, ("loss",), part * 96, 1, 96, 0.5)
        while store.compact():
            pass
        assert store.count("chunk") == 40
        for part in range(40):
            store.report(0, 0, ("loss",), part * 37 % 40 * 96 + 5, 1, 1, 0.5)
        transactions = count_rows(store)
        assert len(transactions) > 3
        assert max(transactions) <= most + 1
        assert_right(store.reader, store.truth, None, None, 30)
        assert_whole(store.writer)


@pytest.mark.usefixtures("every_engine")
def test_series_wait_with_all_that_they_are_reported_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "UNIT_SERIES", 2)
    with opened(tmp_path) as store:
        # One after the other, and then the same step of the first again, in another company.
        store.report(0, 0, ("loss", "qps"), 0, 1, 5, 0.5)
        store.report(0, 1, ("loss",), 0, 1, 5, 0.5)
        store.report(0, 0, ("loss",), 2, 1, 2, 0.5)
        store.report(1, 0, ("qps",), 1, 1, 2, 0.5)
        store.report(0, 1, ("qps", "loss"), 1, 1, 2, 0.5)
        store.report(0, 0, ("qps",), 1, 1, 3, 0.5)
        units = 0
        while store.compact():
            units += 1
            assert_right(store.reader, store.truth, None, None, 30)
        assert units > 1
        assert_whole(store.writer)


@pytest.mark.parametrize("deleted", [False, True])
def test_frames_that_take_the_numbers_of_others_stay(
    every_engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deleted: bool
) -> None:
    del every_engine
    with opened(tmp_path) as store:
        store.report(0, 0, ("loss",), 0, 1, 10, 0.5)
        apply = compaction._apply

        def late(connection: Any, change: Any) -> bool:
            # All that was planned is gone, and what has come since looks the same to a database that gives numbers
            # again: another worker was faster, or the run was deleted and has begun anew.
            connection.execute("ROLLBACK")
            monkeypatch.setattr(compaction, "_apply", apply)
            if deleted:
                delete_run(connection, "r", 1)
                while delete_slice(connection, "r"):
                    pass
                store.forget(began_ns=1001 * HOUR)
            else:
                assert compact(store.engine, store.reader, connection, "r")
            store.report(0, 0, ("loss",), 100, 1, 10, 1.5)
            store.engine.begin_write(connection)
            return apply(connection, change)

        monkeypatch.setattr(compaction, "_apply", late)
        assert not store.compact()
        assert store.count("frame") == 1
        assert_right(store.reader, store.truth, None, None, 100)
        assert store.compact()
        assert_right(store.reader, store.truth, None, None, 100)


class CutError(Exception):
    """What a kill does to a connection, without ending the process of the test."""


class Fragile:
    """A connection that breaks before its n-th statement, so that its transaction is gone."""

    def __init__(self, inner: Connection, left: int) -> None:
        self.inner = inner
        self.left = left

    def _count(self) -> None:
        self.left -= 1
        if self.left == 0:
            self.inner.close()
            raise CutError

    def execute(self, sql: str, values: Any = ()) -> Any:
        self._count()
        return self.inner.execute(sql, values)

    def executemany(self, sql: str, rows: Any) -> None:
        # Row by row: it may break between any two.
        for row in rows:
            self._count()
            self.inner.execute(sql, row)

    def close(self) -> None:
        self.inner.close()


@pytest.mark.usefixtures("every_engine")
def test_a_compaction_that_breaks_anywhere_has_done_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    apply = compaction._apply
    with opened(tmp_path) as store:
        broken: tuple[type[Exception], ...] = (CutError, *store.engine.failures)
        # Something to join with: a chunk that is open, one that a rewind goes back into.
        store.report(0, 0, ("loss", "qps"), 0, 1, 70, 0.5)
        assert store.compact()
        store.report(0, 0, ("loss", "qps"), 60, 1, 40, 0.5)
        store.report(1, 0, ("loss",), 20, 2, 30, 1.5)
        before = everything(store)
        for number in range(1, 1000):
            monkeypatch.setattr(
                compaction,
                "_apply",
                lambda connection, change, number=number: apply(Fragile(connection, number), change),
            )
            try:
                assert store.compact()
            except broken:
                store.compactor = store.engine.connect_writer()
                assert everything(store) == before
                assert_right(store.reader, store.truth, None, None, 10)
            else:
                break
        assert number > 20
        assert store.count("frame") == 0
        assert_whole(store.writer)
        assert_right(store.reader, store.truth, None, None, 10)


def everything(store: Store) -> list[Any]:
    """All rows of points."""
    return [
        sorted(store.reader.execute(f"SELECT * FROM {table}").fetchall(), key=str)
        for table in ("frame", "chunk", "axis", "pyramid", "keyset")
    ]
