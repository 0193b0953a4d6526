import asyncio
import os
import sqlite3
from pathlib import Path

import pytest
from recis_server.errors import StoreError, StoreUnavailable
from recis_server.store.engines.schema import SCHEMA_VERSION
from recis_server.store.engines.sqlite import SqliteEngine
from recis_server.store.sql import SqlStore
from recis_server.store.values import RunsWanted, TraceRow

from recis.wire.messages import Line
from tests.server.store.streams import frame, greeting, one_pass, opened, points, read, run


def test_a_full_disk_stores_nothing_of_the_batch_and_heals(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path) as store:
            stream = await store.register(greeting(), 1)
            other = await store.register(greeting(run="other", writer="w2"), 1)
            await store.append(frame(stream, 1, points([1], loss=[1.0])))
            (pages,) = await store._writer.call(lambda db: db.execute("PRAGMA page_count").fetchone())
            await store._writer.call(lambda db: db.execute(f"PRAGMA max_page_count = {pages + 2}").fetchone())
            big = points(list(range(10_000)), loss=[0.0] * 10_000)
            ends = await asyncio.gather(
                store.append(frame(stream, 2, big)),
                store.append(frame(other, 1, points([1], loss=[1.0]))),
                return_exceptions=True,
            )
            assert [type(end) for end in ends] == [StoreUnavailable] * 2
            assert await read(store, "loss") == [(1, 1.0)]
            assert await store.metrics("other") == ()
            await store._writer.call(lambda db: db.execute("PRAGMA max_page_count = 1000000").fetchone())
            commit = await store.append(frame(stream, 2, big))
            await store.append(frame(other, 1, points([1], loss=[1.0])))
            assert commit.number == 2
            assert len(await read(store, "loss")) == 10_000
            found = await store.run("r")
            assert found is not None
            assert (found.points, found.missing) == (10_001, 0)

    run(scenario)


def test_a_second_server_on_the_same_data_is_refused(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path):
            with pytest.raises(StoreError, match=f"in use by process {os.getpid()}"):
                await SqlStore(SqliteEngine(tmp_path / "recis.db")).open()
            tool = SqlStore(SqliteEngine(tmp_path / "recis.db"), exclusive=False)
            await tool.open()
            assert (await tool.runs(RunsWanted())).runs == ()
            await tool.close()
        async with opened(tmp_path):
            pass

    run(scenario)


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path):
            pass
        with sqlite3.connect(tmp_path / "recis.db") as db:
            db.execute("PRAGMA user_version = 99")
            db.execute("UPDATE meta SET value = 98 WHERE name = 'compatible_from'")
        db.close()
        with pytest.raises(StoreError, match=rf"expected schema version {SCHEMA_VERSION} or older, got 99"):
            await SqlStore(SqliteEngine(tmp_path / "recis.db")).open()

    run(scenario)


def test_a_place_that_cannot_hold_the_data_is_refused(tmp_path: Path) -> None:
    async def scenario() -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(StoreError, match="expected a writable data folder"):
            await SqlStore(SqliteEngine(tmp_path / "file" / "recis.db")).open()
        (tmp_path / "recis.db").write_bytes(b"this is no database" * 100)
        with pytest.raises(StoreError, match="not a database"):
            await SqlStore(SqliteEngine(tmp_path / "recis.db")).open()

    run(scenario)


def test_opening_and_closing_leaves_no_file_and_no_thread_behind(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path) as store:
            await store.runs(RunsWanted())
        before = len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))  # noqa: PTH208
        for _ in range(20):
            async with opened(tmp_path) as store:
                await store.register(greeting(), 1)
                await store.run("r")
            await store.close()
        after = len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))  # noqa: PTH208
        assert after[0] <= before[0]
        # The loop's own worker threads stay.
        assert after[1] <= before[1] + 8

    run(scenario)


def test_a_closed_store_is_one_file_without_a_log(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path) as store:
            stream = await store.register(greeting(), 1)
            await store.append(frame(stream, 1, points([0, 1], loss=[1.0, 2.0])))
            assert await read(store, "loss")

    run(scenario)
    assert {path.name for path in tmp_path.iterdir()} == {"recis.db", "recis.db.lock"}


def test_a_deleted_run_leaves_nothing_but_its_audit(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path) as store:
            stream = await store.register(greeting(), 1)
            line = Line(time_ns=1, text="<loss=1>")
            await store.append(frame(stream, 1, points([1], loss=[1.0]), one_pass(1), line))
            await store.put_trace(TraceRow("t", "r", "n", 0, 1, 1, 1, "0" * 64, "ready", 1, "traces/t"))
            assert await store.delete_run("r") == ["traces/t"]
            assert await store.run("r") is None
            for table in ("series", "keyset", "frame", "filter_pass", "line", "stream", "attempt", "trace"):
                rows = await store._read(lambda db, table=table: db.execute(f"SELECT count(*) FROM {table}").fetchone())  # type: ignore[misc]
                assert rows == (0,), table
            with pytest.raises(StoreUnavailable, match="was deleted"):
                await store.append(frame(stream, 2, points([2], loss=[1.0])))
            assert (await store.register(greeting(), 3)).acked == 0

    run(scenario)
