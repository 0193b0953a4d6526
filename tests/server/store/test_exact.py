"""Charts, points and exports are what brute force says: whatever comes, before, during and after it is cold.

Chunks are small here, so that a few hundred points have many of them and several levels of cells.
"""

import asyncio
import random
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st
from recis_server.query.charts import Ranks, read_chart
from recis_server.store.points import compaction, export_windows
from recis_server.store.points.compaction import compact
from recis_server.store.sql import SqlStore
from recis_server.store.steps import FIRST_STEP
from recis_server.store.upkeep.retention import Retention
from recis_server.store.upkeep.worker import MaintenanceWorker

from recis.wire.codec import column
from recis.wire.messages import Points
from tests.effort import examples
from tests.server.store.brute import Curve, Point, assert_buckets, buckets_of, combined, curves_of, width_of
from tests.server.store.databases import engine_of
from tests.server.store.points.test_compaction import assert_whole
from tests.server.store.streams import frame, greeting, opened

HOUR = 3600 * 10**9
KEYS = [("loss",), ("loss", "qps"), ("qps",), ("auc", "loss", "qps")]
PLACES = [0, -70, 1000, 2**40, 2**53 - 60, 2**62, 2**63 - 300, -(2**63)]
"""Where steps lie: around zero, beyond 2^40, where floats stop to hold every integer, at the ends of all numbers."""
VALUES = st.one_of(
    st.sampled_from([0.0, -0.0, 0.1, 1e300, -1e300, 5e-324, float("nan"), float("inf"), float("-inf")]),
    st.integers(-9, 9).map(float),
    st.floats(width=32),
    st.floats(),
)


class Report:
    """Rows of one frame: steps of any order, also twice."""

    def __init__(
        self, attempt: int, rank: int, keys: tuple[str, ...], steps: list[int], odd: list[float], seed: int
    ) -> None:
        self.attempt, self.rank, self.keys, self.steps = attempt, rank, keys, steps
        values = random.Random(seed)
        self.columns = {key: [values.gauss(0, 10) for _ in steps] for key in keys}
        for place, value in enumerate(odd):
            self.columns[values.choice(keys)][place * 7 % len(steps)] = value

    def __repr__(self) -> str:
        return f"Report({self.attempt}, {self.rank}, {self.columns!r}, {self.steps!r})"


@st.composite
def reports(draw: st.DrawFn) -> Report:
    first = draw(st.sampled_from(PLACES)) + draw(st.integers(0, 150))
    number = draw(st.integers(1, 90))
    how = draw(st.sampled_from(["rising", "rising", "falling", "gaps", "any"]))
    steps = {
        "rising": lambda: list(range(first, first + number)),
        "falling": lambda: list(range(first + number, first, -1)),
        "gaps": lambda: [first + place + place // 5 * 3 for place in range(number)],
        "any": lambda: draw(st.lists(st.integers(first, first + 60), min_size=1, max_size=number)),
    }[how]()
    odd = draw(st.lists(VALUES, max_size=12))
    return Report(
        draw(st.integers(1, 3)), draw(st.integers(0, 2)), draw(st.sampled_from(KEYS)), steps, odd, draw(st.integers(0))
    )


class Run:
    """A run of several attempts and ranks in a store, and all that went into it."""

    def __init__(self, store: SqlStore, name: str = "r", project: str = "p") -> None:
        self.store = store
        self.name = name
        self.project = project
        self.truth: dict[tuple[str, int], dict[int, dict[int, Point]]] = defaultdict(lambda: defaultdict(dict))
        self.numbers: dict[tuple[int, int], int] = defaultdict(int)
        self.clock = 0

    async def add(self, report: Report) -> None:
        name = f"{report.attempt}-{report.rank}"
        hello = greeting(
            self.name,
            f"{self.name}-{name}",
            f"a{report.attempt}",
            project=self.project,
            rank=report.rank,
            time_ns=100 * HOUR,
            started_ns=HOUR * report.attempt,
        )
        row = await self.store.register(hello, 1000 * HOUR)
        times = []
        for _ in report.steps:
            self.clock += 1
            times.append(1_700_000_000 * 10**9 + self.clock * 10**6)
        flat = [value for one in report.columns.values() for value in one]
        record = Points(report.keys, column(report.steps, "<i8"), column(times, "<i8"), column(flat, "<f8"))
        self.numbers[report.attempt, report.rank] += 1
        await self.store.append(frame(row, self.numbers[report.attempt, report.rank], record))
        for key, values in report.columns.items():
            for point in map(Point, report.steps, times, values):
                self.truth[key, report.rank][report.attempt][point.step] = point

    async def check(self, start: int | None, stop: int | None, most: int) -> None:
        """All ways to ask for the range."""
        for superseded in (False, True):
            expected = curves_of(self.truth, start, stop, superseded=superseded)
            await self._check_points(expected, start, stop, superseded=superseded)
            for rank in ("all", "band", None, 1):
                await self._check_chart(expected, rank, start, stop, most, superseded=superseded)  # type: ignore[arg-type]

    async def _check_points(
        self, expected: dict[Curve, list[Point]], start: int | None, stop: int | None, *, superseded: bool
    ) -> None:
        found = {}
        for key in sorted({curve.key for curve in expected} | {"loss"}):
            _, slices = await self.store.points(self.name, key, None, start, stop, superseded=superseded)
            for one in slices:
                curve = Curve(key, one.rank, int(one.attempts[0]) if one.superseded else 0)
                found[curve] = list(map(Point, one.steps.tolist(), one.times.tolist(), one.values.tolist()))
        order = await self._order()
        found = {curve._replace(lost=order[curve.lost]): points for curve, points in found.items()}
        assert_points(found, expected)

    async def _order(self) -> dict[int, int]:
        """From the numbers that attempts have in the store to those of the truth; 0 stays."""
        rows = await self.store._read(
            lambda db: db.execute("SELECT ordinal, attempt_id FROM attempt WHERE run_id = ?", (self.name,)).fetchall()
        )
        return {0: 0, **{ordinal: int(name[1:]) for ordinal, name in rows}}

    async def _check_chart(
        self,
        every: dict[Curve, list[Point]],
        rank: Ranks,
        start: int | None,
        stop: int | None,
        most: int,
        *,
        superseded: bool,
    ) -> None:
        keys = ["qps", "loss", "nothing", "auc"]
        read = await read_chart(self.store, self.name, keys, rank, start, stop, most, superseded=superseded)
        expected = {curve: every[curve] for curve in every if self._is_asked_for(curve, every, rank)}
        width = width_of(expected.values(), start, stop, most)
        assert read.width == width
        order = await self._order()
        found = {
            Curve(one.key, -1 if one.rank is None else one.rank, order[one.attempt] if one.superseded else 0): one
            for one in read.series
        }
        assert len(found) == len(read.series)
        shown = {curve: buckets_of(points, width) for curve, points in expected.items()}
        if rank == "band":
            together: dict[Curve, list[Any]] = defaultdict(list)
            for curve in sorted(shown):
                together[curve._replace(rank=-1)].append(shown[curve])
            shown = {curve: combined(rows) for curve, rows in together.items()}
        assert set(found) == set(shown)
        for curve, one in found.items():
            assert_buckets(one.buckets, shown[curve])
            if rank != "band":
                assert (one.first, one.last) == (expected[curve][0].step, expected[curve][-1].step)

    @staticmethod
    def _is_asked_for(curve: Curve, every: dict[Curve, list[Point]], rank: Ranks) -> bool:
        if rank is None:
            return curve.rank == min(other.rank for other in every if other.key == curve.key)
        return rank in ("all", "band", curve.rank)

    async def check_export(self) -> None:
        """Every point that ever came, once."""
        order = await self._order()
        found: dict[Curve, list[Point]] = defaultdict(list)
        async for one in self.store.export(self.name, None):
            curve = Curve(one.key, one.rank, order[int(one.attempts[0])] if one.superseded else 0)
            found[curve] += map(Point, one.steps.tolist(), one.times.tolist(), one.values.tolist())
        assert_points(found, curves_of(self.truth, None, None, superseded=True))
        size = await self.store.export_size(self.name, None)
        assert size.expired == 0
        assert size.points >= sum(map(len, found.values()))


def assert_points(found: dict[Curve, list[Point]], expected: dict[Curve, list[Point]]) -> None:
    assert set(found) == set(expected)
    for curve, points in found.items():
        assert [point[:2] for point in points] == [point[:2] for point in expected[curve]]
        np.testing.assert_array_equal([point.value for point in points], [point.value for point in expected[curve]])


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "CHUNK_ROWS", 96)
    monkeypatch.setattr(compaction, "OPEN_ROWS", 72)
    monkeypatch.setattr(compaction, "UNIT_POINTS", 300)
    monkeypatch.setattr(export_windows, "WINDOW_ROWS", 50)


class Compactor:
    """The worker's work, a transaction at a time."""

    def __init__(self, folder: Path) -> None:
        self._engine = engine_of(folder)
        self._engine.open(exclusive=False)
        self._reader = self._engine.connect_reader()
        self._writer = self._engine.connect_writer()

    def step(self) -> bool:
        return compact(self._engine, self._reader, self._writer, "r")

    def close(self) -> None:
        self._reader.close()
        self._writer.close()
        self._engine.close()


Part = tuple[int | None, int | None, int]
EDGES = st.one_of(st.none(), st.sampled_from(PLACES).flatmap(lambda place: st.integers(place, place + 260)))
RANGES = st.lists(st.tuples(EDGES, EDGES, st.integers(0, 40)), max_size=2)


EXAMPLES = st.lists(st.tuples(reports(), st.integers(0, 2)), max_size=6)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_all_that_is_read_is_brute_force_before_during_and_after_compaction(every_engine: str, tmp_path: Path) -> None:
    async def check(
        store: SqlStore, cold: Compactor, given_: list[tuple[Report, int]], whole_: int, parts: list[Part]
    ) -> None:
        await store.delete_run("r")
        one = Run(store)
        for report, steps in given_:
            await one.add(report)
            for _ in range(steps):
                cold.step()
        ranges = [(None, None, whole_), *parts]
        await check_all(one, [*ranges, (None, None, 0)])
        while cold.step():
            await check_all(one, ranges[-1:])
        assert await store._read(lambda db: db.execute("SELECT count(*) FROM frame").fetchone()) == (0,)
        await check_all(one, [*ranges, (None, None, 0)])
        await store._read(lambda db: assert_whole(db, "r"))

    # One store for all examples: making one takes longer than an example.
    with asyncio.Runner() as runner:
        opening = opened(tmp_path)
        store = runner.run(opening.__aenter__())
        cold = Compactor(tmp_path)
        try:
            # To make a failing example smaller would take minutes.
            @settings(
                deadline=None,
                max_examples=examples(40 if every_engine == "sqlite" else 15),
                phases=[Phase.explicit, Phase.reuse, Phase.generate],
            )
            @example([(Report(0, 0, ("loss",), [7], [], 0), 0)], 5, [(None, FIRST_STEP, 11)])
            @given(EXAMPLES, st.integers(1, 60), RANGES)
            def every(given_: list[tuple[Report, int]], whole_: int, parts: list[Part]) -> None:
                runner.run(check(store, cold, given_, whole_, parts))

            every()
        finally:
            cold.close()
            runner.run(opening.__aexit__(None, None, None))


async def check_all(one: Run, ranges: list[Part]) -> None:
    for start, stop, most in ranges:
        await one.check(start, stop, most)
    await one.check_export()


@contextmanager
def keeper_of(folder: Path) -> Iterator[None]:
    """One that works all the time, in a thread; fails with what it fails of."""
    ended = threading.Event()
    failures: list[BaseException] = []

    def keep() -> None:
        engine = engine_of(folder)
        engine.open(exclusive=False)
        worker = MaintenanceWorker(engine, Retention())
        try:
            while not ended.is_set():
                # However little there is: this is about what is read meanwhile.
                worker._next_look = 0.0
                worker.round(ended.is_set)
        except BaseException as error:  # noqa: BLE001 - handed to the test
            failures.append(error)
        finally:
            worker.close()
            engine.close()

    thread = threading.Thread(target=keep)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    assert failures == []


@pytest.mark.slow
def test_charts_are_brute_force_while_a_keeper_works_and_old_buckets_never_change(
    every_engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del every_engine
    monkeypatch.setattr(compaction, "IDLE_NS", -(10**19))
    chance = random.Random(4)
    settled: dict[tuple[int | None, int, float], str] = {}

    async def scenario() -> None:
        async with opened(tmp_path) as store:
            one = Run(store)
            with keeper_of(tmp_path):
                for number in range(30):
                    first = 2**40 + number * 40
                    steps = [first + place + place // 7 for place in range(30)]
                    if number % 4 == 3:
                        chance.shuffle(steps)
                    odd = [float("nan"), float("inf"), float("-inf"), 1e300][: chance.randrange(5)]
                    await one.add(Report(1, number % 3, ("loss", "qps"), steps, odd, number))
                    await one.check(None, None, chance.choice([20, 50]))
                    await one.check(first - 300, first + 10, 1000)
                    await assert_settled(store, settled, first)
                # A restart that goes back into what is cold.
                await one.add(Report(2, 0, ("loss",), list(range(2**40 + 500, 2**40 + 560)), [float("nan")], 1))
                await one.check(None, None, 30)
            await one.check(None, None, 30)
            await one.check_export()
            (chunks,) = await store._read(lambda db: db.execute("SELECT count(*) FROM chunk").fetchone())
            assert chunks > 20
            await store._read(lambda db: assert_whole(db, "r"))

    asyncio.run(asyncio.wait_for(scenario(), 240))


async def assert_settled(store: SqlStore, settled: dict[tuple[int | None, int, float], str], upto: int) -> None:
    """Buckets that end before the step are what they were when they were first shown, by rank, width and place."""
    chart = await store.chart("r", ["loss"], None, None, None, 40)
    for one in chart.series:
        table = np.stack([*one.buckets.columns()[:4], *one.buckets.columns()[5:]], axis=1)
        for row in table[table[:, 0] + chart.width <= upto].tolist():
            assert settled.setdefault((one.rank, chart.width, row[0]), repr(row)) == repr(row)


def test_buckets_stay_what_they_were_when_raw_points_go_and_exports_say_what_is_gone(
    every_engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del every_engine
    monkeypatch.setattr(compaction, "IDLE_NS", -(10**19))

    async def scenario() -> None:
        async with opened(tmp_path) as store:
            runs = [Run(store, name, project) for name, project in (("r", "p"), ("kept", "archive"))]
            for one in runs:
                for number in range(12):
                    odd = [float("nan"), float("inf"), float("-inf"), 1e300][: number % 5]
                    steps = list(range(2**40 + number * 80, 2**40 + number * 80 + 80))
                    await one.add(Report(1, number % 2, ("loss", "qps"), steps, odd, number))
            before = await read_chart(store, "r", ["loss", "qps"], "all", None, None, 10)
            await asyncio.to_thread(keep_all, tmp_path, Retention())
            await runs[0].check(None, None, 10)
            await asyncio.to_thread(keep_all, tmp_path, Retention(1.0, {"archive": None}))
            after = await read_chart(store, "r", ["loss", "qps"], "all", None, None, 10)
            assert after.width == before.width >= 64
            for earlier, later in zip(before.series, after.series, strict=True):
                for old, new in zip(earlier.buckets.columns()[2:], later.buckets.columns()[2:], strict=True):
                    np.testing.assert_allclose(new, old, rtol=1e-12)
            size = await store.export_size("r", None)
            assert size.expired > 1000
            assert size.points + size.expired == 2 * 12 * 80
            left = [len(one.steps) async for one in store.export("r", None)]
            assert sum(left) == size.points
            # Of another project nothing is gone.
            await runs[1].check(None, None, 10)
            await runs[1].check_export()

    asyncio.run(asyncio.wait_for(scenario(), 120))


def keep_all(folder: Path, retention: Retention) -> None:
    """All that a worker has to do."""
    engine = engine_of(folder)
    engine.open(exclusive=False)
    worker = MaintenanceWorker(engine, retention)
    try:
        worker._next_look = 0.0
        while worker.round(lambda: False):
            worker._next_look = 0.0
    finally:
        worker.close()
        engine.close()
