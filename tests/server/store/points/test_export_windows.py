"""Exports read all of a run in windows of a bounded size, hot or cold, and say what retention has left out."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from recis_server.store.points import export_windows
from recis_server.store.points.compaction import compact
from recis_server.store.reader import Reader
from recis_server.store.sql import SqlStore
from recis_server.store.upkeep.retention import FIRST_PLACE, drop_slice
from recis_server.store.values import ExportSize, PointsSlice

from recis.wire.codec import column
from recis.wire.messages import Points
from tests.server.store.databases import engine_of
from tests.server.store.streams import frame, greeting, opened, run

ROWS = 500


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_windows, "WINDOW_ROWS", 1000)


def rows_of(first: int, num_rows: int, **series: float) -> Points:
    steps = np.arange(first, first + num_rows)
    values = np.concatenate([steps * factor for factor in series.values()])
    return Points(tuple(series), column(steps, "<i8"), column(steps, "<i8"), column(values, "<f8"))


async def fill(store: SqlStore) -> None:
    """10,000 steps of two series; a second attempt trains the last 3,000 of them again."""
    row = await store.register(greeting(started_ns=1, time_ns=100), 1000)
    for number in range(20):
        await store.append(frame(row, number + 1, rows_of(number * ROWS, ROWS, loss=1.0, qps=2.0)))
    row = await store.register(greeting(writer="w2", attempt="b", started_ns=50, time_ns=100), 1000)
    for number in range(6):
        await store.append(frame(row, number + 1, rows_of(7000 + number * ROWS, ROWS, loss=3.0)))


async def exported(store: SqlStore, *, superseded: bool = True) -> list[PointsSlice]:
    return [one async for one in store.export("r", None, superseded=superseded)]


def compact_all(folder: Path) -> None:
    engine = engine_of(folder)
    engine.open(exclusive=False)
    reader, writer = engine.connect_reader(), engine.connect_writer()
    while compact(engine, reader, writer, "r"):
        pass
    reader.close()
    writer.close()
    engine.close()


def check(slices: list[PointsSlice]) -> None:
    assert max(len(one.steps) for one in slices) <= 1000 + ROWS
    loss = {False: np.r_[np.arange(7000), np.arange(7000, 10_000) * 3], True: np.arange(7000, 10_000)}
    for (key, superseded), expected in {
        ("loss", False): loss[False],
        ("loss", True): loss[True],
        ("qps", False): np.arange(10_000) * 2,
    }.items():
        found = [one for one in slices if (one.key, one.superseded) == (key, superseded)]
        steps = np.concatenate([one.steps for one in found])
        assert (np.diff(steps) == 1).all()
        np.testing.assert_array_equal(np.concatenate([one.values for one in found]), expected)


@pytest.mark.usefixtures("every_engine")
def test_windows_are_bounded_and_hold_everything_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recis_server.store.points.compaction.CHUNK_ROWS", ROWS)

    async def scenario() -> None:
        async with opened(tmp_path) as store:
            await fill(store)
            hot = await exported(store)
            check(hot)
            assert await store.export_size("r", None) == ExportSize(23_000, 0)
            assert await store.export_size("r", ["qps", "nothing"]) == ExportSize(10_000, 0)
            await asyncio.to_thread(compact_all, tmp_path)
            check(await exported(store))
            assert await store.export_size("r", None) == ExportSize(23_000, 0)
            living = await exported(store, superseded=False)
            assert sum(len(one.steps) for one in living) == 20_000
            assert not any(one.superseded for one in living)

    run(scenario)


@pytest.mark.usefixtures("every_engine")
def test_what_retention_has_dropped_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recis_server.store.points.compaction.CHUNK_ROWS", ROWS)

    async def scenario() -> None:
        async with opened(tmp_path) as store:
            await fill(store)
            await asyncio.to_thread(compact_all, tmp_path)
            # Times are the steps here.
            await store._writer.call(lambda connection: drop_slice(connection, "r", 2000, FIRST_PLACE))
            assert await store.export_size("r", None) == ExportSize(19_000, 4000)
            assert await store.export_size("r", ["loss"]) == ExportSize(11_000, 2000)
            steps = np.concatenate([one.steps for one in await exported(store) if one.key == "qps"])
            np.testing.assert_array_equal(steps, np.arange(2000, 10_000))

    run(scenario)


@pytest.mark.usefixtures("every_engine")
def test_the_ends_of_all_numbers_come_back(tmp_path: Path) -> None:
    steps = np.array([-(2**63), -1, 0, 2**53 + 1, 2**63 - 1])
    values = np.array([np.nan, -np.inf, -0.0, 5e-324, 1.7976931348623157e308])
    record = Points(("loss",), column(steps, "<i8"), column(steps[::-1], "<i8"), column(values, "<f8"))

    async def scenario() -> None:
        async with opened(tmp_path) as store:
            row = await store.register(greeting(), 1)
            await store.append(frame(row, 1, record))
            for compacted in (False, True):
                if compacted:
                    await asyncio.to_thread(compact_all, tmp_path)
                (one,) = await exported(store)
                assert one.steps.tolist() == steps.tolist()
                assert one.times.tolist() == steps[::-1].tolist()
                assert one.values.tobytes() == values.tobytes()

    run(scenario)


def test_short_series_are_read_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_windows, "GROUP_SERIES", 64)
    reads = 0
    call = Reader.call

    async def counted(self: Reader, action: Callable[[Any], Any]) -> Any:
        nonlocal reads
        reads += 1
        return await call(self, action)

    monkeypatch.setattr(Reader, "call", counted)

    async def scenario() -> None:
        nonlocal reads
        async with opened(tmp_path) as store:
            row = await store.register(greeting(), 1000)
            names = {f"layer/{number}": float(number) for number in range(2000)}
            await store.append(frame(row, 1, rows_of(1, 1, **names)))
            await store.append(frame(row, 2, rows_of(2, 900, long=1.0, short=2.0)))
            for compacted in (False, True):
                reads = 0
                slices = await exported(store)
                assert reads <= 2000 // 64 + 5
                assert [one.key for one in slices] == [*names, "long", "short"]
                assert [one.values.tolist() for one in slices[:2000]] == [[value] for value in names.values()]
                assert [len(one.steps) for one in slices[2000:]] == [900, 900]
                chosen = [one.key async for one in store.export("r", ["short", "layer/7", "nobody"])]
                assert chosen == ["layer/7", "short"]
                if not compacted:
                    compact_all(tmp_path)

    asyncio.run(scenario())
