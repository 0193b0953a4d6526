"""What a run keeps of its log lines, events and passes; what removes rows does so in bounded transactions."""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from recis_server.store.engines.engine import Connection, Cursor
from recis_server.store.points import compaction
from recis_server.store.sql import SqlStore
from recis_server.store.tables.deletion import SLICE_BYTES, SLICE_ROWS, delete_run, delete_slice
from recis_server.store.upkeep import trim
from recis_server.store.upkeep import worker as module
from recis_server.store.upkeep.retention import DAY_NS, SLICE_CHUNKS, Retention
from recis_server.store.upkeep.worker import MaintenanceWorker
from recis_server.store.values import EventRow, LinesWanted

from recis.wire.messages import Line, Pass
from tests.server.store.databases import engine_of
from tests.server.store.streams import frame, greeting, opened, points, run

NOW = 1_000 * DAY_NS


@contextmanager
def worker_of(folder: Path, retention: Retention) -> Iterator[MaintenanceWorker]:
    engine = engine_of(folder)
    engine.open(exclusive=False)
    worker = MaintenanceWorker(engine, retention)
    try:
        yield worker
    finally:
        worker.close()
        engine.close()


def keep(folder: Path, retention: Retention) -> None:
    """Everything that is due now."""
    with worker_of(folder, retention) as worker:
        while worker.round(lambda: False):
            pass


async def rows_of(store: SqlStore, table: str, columns: str = "count(*)") -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = await store._read(
        lambda db: db.execute(f"SELECT {columns} FROM {table}").fetchall()
    )
    return rows


def one_pass(step: int) -> Pass:
    return Pass("user", step, step * DAY_NS, None, 1, 0, 1, 0, 0.5, 8)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds that a test can reach."""
    for table, most in (("event", 10), ("filter_pass", 5)):
        bound = trim.BOUNDS[table]
        monkeypatch.setitem(trim.BOUNDS, table, replace(bound, most=most))
    monkeypatch.setattr(module, "TRIM_S", 0.0)


@pytest.mark.usefixtures("every_engine", "few")
def test_the_newest_rows_of_a_run_stay_and_the_others_are_counted(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path) as store:
            row = await store.register(greeting(), 1)
            other = await store.register(greeting("other", "w2"), 1)
            lines = [Line(time_ns=number, text=str(number)) for number in range(1000)]
            # A rewind: the lowest steps go first, whenever they came.
            await store.append(frame(row, 1, *lines, *(one_pass(step) for step in (7, 8, 9, 1, 2, 3, 4))))
            await store.append(frame(other, 1, *lines[:400], one_pass(1)))
            for number in range(13):
                await store.add_event("r", EventRow(0, "alert", "info", number, None, None, str(number), {}))
            await asyncio.to_thread(keep, tmp_path, Retention(lines=400))
            texts = sorted(int(str(text)) for text, of in await rows_of(store, "line", "text, run_id") if of == "r")
            assert texts == list(range(600, 1000))
            assert [event.text for event in await store.events("r")] == [str(number) for number in range(3, 13)]
            assert [one.record.step for one in await store.passes("r", None, None, None, None)] == [3, 4, 7, 8, 9]
            assert await rows_of(store, "line") == [(800,)]
            assert len(await store.passes("other", None, None, None, None)) == 1
            assert await store.trimmed() == {"line": 600, "event": 3, "filter_pass": 2}
            removed = [(await store.lines(run_id, LinesWanted(limit=1))).removed for run_id in ("r", "other")]
            assert removed == [600, 0]

    run(scenario)


@pytest.mark.usefixtures("every_engine", "few")
def test_a_frequent_kind_of_events_removes_and_hides_no_other(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path) as store:
            await store.register(greeting(), 1)
            kinds = ["alert"] * 3 + ["checkpoint"] * 300 + ["attempt"] * 2 + ["checkpoint"] * 300
            for number, kind in enumerate(kinds):
                await store.add_event("r", EventRow(0, kind, "info", number, None, None, str(number), {}))
            assert [int(event.text) for event in await store.events("r", 6)] == [1, 2, 303, 304, 603, 604]
            await asyncio.to_thread(keep, tmp_path, Retention())
            kept = [int(event.text) for event in await store.events("r")]
            assert kept == [0, 1, 2, 303, 304, *range(600, 605)]
            assert (await store.trimmed())["event"] == len(kinds) - 10

    run(scenario)


@pytest.mark.usefixtures("every_engine", "few")
def test_old_lines_and_passes_go_with_the_raw_points_and_events_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: NOW)

    async def scenario() -> None:
        async with opened(tmp_path) as store:
            for name, project in (("r", "p"), ("kept", "special")):
                row = await store.register(greeting(name, f"w-{name}", project=project), 1)
                lines = [Line(time_ns=NOW - age * DAY_NS, text=str(age)) for age in (30, 20, 11, 9, 1)]
                await store.append(frame(row, 1, *lines, one_pass(985), one_pass(995)))
                await store.add_event(name, EventRow(0, "alert", "info", 1, None, None, "old", {}))
            await asyncio.to_thread(keep, tmp_path, Retention(10.0, {"special": None}))
            kept = sorted(await rows_of(store, "line", "run_id, text"))
            assert kept == [*(("kept", text) for text in ("1", "11", "20", "30", "9")), ("r", "1"), ("r", "9")]
            assert [one.record.step for one in await store.passes("r", None, None, None, None)] == [995]
            assert len(await store.passes("kept", None, None, None, None)) == 2
            assert len(await store.events("r")) == 1
            assert sum((await store.trimmed()).values()) == 0

    run(scenario)


class Counting:
    """The worker's connection; counts the rows that each of its transactions changes."""

    def __init__(self, inner: Connection) -> None:
        self.inner = inner
        self.rows = 0

    def execute(self, sql: str, values: Sequence[Any] = ()) -> Cursor:
        cursor = self.inner.execute(sql, values)
        if sql.startswith(("DELETE", "UPDATE", "INSERT")):
            self.rows += max(cursor.rowcount, 0)
        return cursor

    def executemany(self, sql: str, rows: Sequence[Sequence[Any]]) -> Any:
        self.rows += len(rows)
        return self.inner.executemany(sql, rows)


@pytest.mark.usefixtures("every_engine")
def test_deletion_and_retention_change_a_bounded_number_of_rows_in_a_transaction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However large the run is: between two transactions whoever streams has its turn."""
    monkeypatch.setattr(compaction, "CHUNK_ROWS", 64)
    monkeypatch.setattr(compaction, "OPEN_ROWS", 48)
    retention: list[int] = []
    deletion: list[int] = []

    def keep_counting(rule: Retention, counts: list[int]) -> None:
        with worker_of(tmp_path, rule) as worker:
            write = worker._write

            def counted(action: Callable[[Any], Any], *runs: str) -> Any:
                counting = Counting(worker._writer)
                result = write(lambda _: action(counting), *runs)
                counts.append(counting.rows)
                return result

            worker._write = counted  # type: ignore[method-assign]
            while worker.round(lambda: False):
                pass

    async def scenario() -> None:
        async with opened(tmp_path) as store:
            for name in ("r", "kept"):
                row = await store.register(greeting(name, f"w-{name}"), 1)
                for number in range(10):
                    steps = list(range(number * 3200, number * 3200 + 3200))
                    values = [float(step) for step in steps]
                    await store.append(frame(row, number + 1, points(steps, loss=values, qps=values)))
            await asyncio.to_thread(keep, tmp_path, Retention())
            chunks = (await rows_of(store, "chunk"))[0][0]
            assert isinstance(chunks, int)
            assert chunks > 1500
            await asyncio.to_thread(keep_counting, Retention(10.0), retention)
            assert await rows_of(store, "chunk", "count(data)") == [(0,)]
            assert await rows_of(store, "axis") == [(0,)]
            await store._writer.call(lambda db: delete_run(db, "r", 1))
            await asyncio.to_thread(keep_counting, Retention(10.0), deletion)
            assert await rows_of(store, "chunk") == [(chunks // 2,)]
            assert await rows_of(store, "deletion") == [(0,)]

    run(scenario)
    # Of a chunk: its row, its axis' count, the axis itself.
    assert len(retention) >= 6
    assert max(retention) <= 3 * SLICE_CHUNKS
    assert len(deletion) >= 8
    assert max(deletion) <= SLICE_ROWS


@pytest.mark.usefixtures("every_engine")
def test_a_slice_of_large_frames_is_bounded_by_its_bytes(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path) as store:
            row = await store.register(greeting(), 1)
            steps = list(range(40_000))
            for number in range(12):
                await store.append(frame(row, number + 1, points(steps, loss=[0.0] * len(steps))))
            size = 3 * 8 * len(steps)
            await store._writer.call(lambda db: delete_run(db, "r", 1))
            gone = []
            left = 12
            while left:
                assert await store._writer.call(lambda db: delete_slice(db, "r"))
                ((now,),) = await rows_of(store, "frame")
                assert isinstance(now, int)
                gone.append(left - now)
                left = now
            assert max(gone) * size < SLICE_BYTES + size
            assert len(gone) >= 3

    run(scenario)
