"""The process beside the server: started again when it is killed, gone with the server, and what it leaves."""

import asyncio
import math
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from recis_server.store import Retention, open_store
from recis_server.store.engines.engine import Anchor
from recis_server.store.engines.sqlite import SqliteEngine
from recis_server.store.interface import Store
from recis_server.store.sql import SqlStore
from recis_server.store.upkeep.retention import DAY_NS
from recis_server.store.upkeep.supervisor import MaintenanceSupervisor
from recis_server.store.upkeep.worker import MaintenanceWorker

from recis.wire.codec import column
from recis.wire.messages import Points
from tests.server.store.streams import frame, greeting

ROWS = 20_000


def rows(first: int, count: int, time_ns: int = 0) -> Points:
    steps = range(first, first + count)
    values = [math.sin(step) for step in steps] * 2
    times = [time_ns + step for step in steps]
    return Points(("loss", "qps"), column(steps, "<i8"), column(times, "<i8"), column(values, "<f8"))


def count(path: Path, table: str) -> int:
    with sqlite3.connect(path) as db:
        (number,) = db.execute(f"SELECT count(*) FROM {table}").fetchone()
    db.close()
    return int(number)


async def until(met: Callable[[], bool]) -> None:
    for _ in range(600):
        if met():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("did not come true")


async def steps_of(store: Store, run: str = "r") -> list[int]:
    _, found = await store.points(run, "loss", None, None, None)
    return [step for one in found for step in one.steps.tolist()]


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.slow
def test_frames_become_chunks_and_a_killed_process_comes_back(tmp_path: Path) -> None:
    async def scenario() -> None:
        path = tmp_path / "recis.db"
        store = open_store(f"sqlite:///{path}")
        await store.open()
        assert isinstance(store, SqlStore)
        upkeep = store._upkeep
        assert upkeep is not None
        try:
            row = await store.register(greeting(), 1)
            await store.append(frame(row, 1, rows(0, ROWS)))
            await until(lambda: count(path, "frame") == 0)
            assert count(path, "chunk") == 4
            assert await steps_of(store) == list(range(ROWS))
            await until(lambda: upkeep.pid is not None)
            first = upkeep.pid
            assert first is not None
            os.kill(first, signal.SIGKILL)
            await store.append(frame(row, 2, rows(ROWS, ROWS)))
            await until(lambda: count(path, "frame") == 0)
            assert await steps_of(store) == list(range(2 * ROWS))
            last = upkeep.pid
            assert last not in (None, first)
        finally:
            await store.close()
        assert last is not None
        assert not is_alive(last)

    asyncio.run(scenario())


def test_it_ends_with_a_server_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import asyncio, sys\n"
        "from recis_server.store import open_store\n"
        "async def main():\n"
        "    store = open_store(sys.argv[1])\n"
        "    await store.open()\n"
        "    while store._upkeep.pid is None:\n"
        "        await asyncio.sleep(0.01)\n"
        "    print(store._upkeep.pid, flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, f"sqlite:///{tmp_path / 'recis.db'}"], stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        pid = int(server.stdout.readline())
        assert is_alive(pid)
        server.kill()
    for _ in range(400):
        if not is_alive(pid):
            return
        time.sleep(0.05)
    raise AssertionError("the process beside a killed server lives on")


@pytest.mark.slow
def test_no_child_is_left_however_soon_the_server_ends(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    async def scenario() -> None:
        for turns in (0, 1, 2, 3, 5, 10):
            supervisor = MaintenanceSupervisor(f"sqlite:///{tmp_path}/recis.db", Retention())
            supervisor.open(Anchor(0))
            for _ in range(turns):
                await asyncio.sleep(0)
            await supervisor.close()
            children = [child.cmdline() for child in psutil.Process().children()]
            assert not [line for line in children if "recis_server.store.upkeep.worker" in line]

    asyncio.run(scenario())
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.slow
def test_a_deleted_run_gives_its_space_back(tmp_path: Path) -> None:
    async def scenario() -> None:
        path = tmp_path / "recis.db"
        store = open_store(f"sqlite:///{path}")
        await store.open()
        try:
            for run in ("r", "other"):
                row = await store.register(greeting(run), 1)
                for n in range(10):
                    await store.append(frame(row, n + 1, rows(n * ROWS, ROWS)))
            await until(lambda: count(path, "frame") == 0)
            await store.delete_run("r")
            assert await store.run("r") is None
            assert await steps_of(store) == []
            size = path.stat().st_size
            await until(lambda: path.stat().st_size < size * 3 // 4)
            assert await steps_of(store, "other") == list(range(10 * ROWS))
            # The name is free again.
            row = await store.register(greeting("r"), 1)
            await store.append(frame(row, 1, rows(5, 2)))
            assert await steps_of(store) == [5, 6]
        finally:
            await store.close()

    asyncio.run(scenario())


async def filled(path: Path, *, old_ns: int, new_ns: int) -> None:
    store = SqlStore(SqliteEngine(path))
    await store.open()
    try:
        for run, project in (("r", "p"), ("kept", "special")):
            row = await store.register(greeting(run, project=project), 1)
            await store.append(frame(row, 1, rows(0, ROWS, old_ns)))
            await store.append(frame(row, 2, rows(ROWS, ROWS, new_ns)))
    finally:
        await store.close()


def keep(path: Path, retention: Retention) -> None:
    engine = SqliteEngine(path)
    engine.open(exclusive=False)
    worker = MaintenanceWorker(engine, retention)
    try:
        while worker.round(lambda: False):
            pass
    finally:
        worker.close()
        engine.close()


def test_old_points_go_and_their_buckets_stay(tmp_path: Path) -> None:
    async def scenario() -> None:
        path = tmp_path / "recis.db"
        now = time.time_ns()
        await filled(path, old_ns=now - 20 * DAY_NS, new_ns=now)
        store = SqlStore(SqliteEngine(path), exclusive=False)
        await store.open()
        try:
            await asyncio.to_thread(keep, path, Retention())
            before = await store.chart("r", ["loss"], None, None, None, 100)
            await asyncio.to_thread(keep, path, Retention(10.0, {"special": None}))
            after = await store.chart("r", ["loss"], None, None, None, 100)
            for old, new in zip(before.series[0].buckets.columns(), after.series[0].buckets.columns(), strict=True):
                assert old.tolist() == new.tolist()
            # Chunks go as a whole, when the last of their points is due.
            left = await steps_of(store)
            assert left == list(range(16_384, 2 * ROWS))
            assert await steps_of(store, "kept") == list(range(2 * ROWS))
            near = await store.chart("r", ["loss"], None, 0, 200, 1000)
            assert near.width == 64
            assert near.series[0].buckets.count.sum() >= 200
            raw = await store.chart("r", ["loss"], None, 17_000, 17_100, 1000)
            assert (raw.width, len(raw.series[0].buckets)) == (1, 100)
        finally:
            await store.close()

    asyncio.run(scenario())


def test_late_points_join_what_is_left_of_a_chunk(tmp_path: Path) -> None:
    async def scenario() -> None:
        path = tmp_path / "recis.db"
        await filled(path, old_ns=1, new_ns=time.time_ns())
        await asyncio.to_thread(keep, path, Retention(10.0))
        store = SqlStore(SqliteEngine(path), exclusive=False)
        await store.open()
        try:
            row = await store.register(greeting("r"), 1)
            late = Points(("loss",), column([100], "<i8"), column([1], "<i8"), column([99.0], "<f8"))
            await store.append(frame(row, 3, late, rows(2 * ROWS, ROWS, 1)))
            hot = await store.chart("r", ["loss"], None, None, None, 100)
            await asyncio.to_thread(keep, path, Retention(10.0))
            cold = await store.chart("r", ["loss"], None, None, None, 100)
            for read in (hot, cold):
                assert read.series[0].buckets.max[0] == 99.0
                assert read.series[0].buckets.count.sum() == 3 * ROWS + 1
        finally:
            await store.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("text", ["", "x", "-1", "nan", "inf", "p=", "=3", "p=x"])
def test_what_is_no_retention_is_told(text: str) -> None:
    with pytest.raises(ValueError, match="--retain-raw: expected DAYS or PROJECT=DAYS"):
        Retention.parse([text])


def test_projects_may_keep_their_points_for_another_time() -> None:
    retention = Retention.parse(["30", "ads=7.5", "a=b=forever"])
    assert [retention.days_of(project) for project in ("other", "ads", "a=b")] == [30.0, 7.5, None]
