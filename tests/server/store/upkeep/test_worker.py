"""The worker beside another one, and its process while the database is away."""

import asyncio
import json
import math
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from recis_server.errors import StoreUnavailable
from recis_server.store.engines.engine import Connection, Engine
from recis_server.store.points import compaction
from recis_server.store.points.compaction import compact
from recis_server.store.sql import SqlStore
from recis_server.store.upkeep import worker as module
from recis_server.store.upkeep.retention import Retention
from recis_server.store.upkeep.worker import MaintenanceWorker

from scripts.postgres import PostgresServer, postgres_server
from tests.server.realserver import until, until_async
from tests.server.store import databases
from tests.server.store.databases import engine_of
from tests.server.store.points.test_compaction import assert_whole
from tests.server.store.streams import frame, greeting, opened, points, read, run


@pytest.mark.usefixtures("every_engine")
def test_two_workers_at_once_change_nothing_that_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "CHUNK_ROWS", 96)
    monkeypatch.setattr(compaction, "OPEN_ROWS", 72)
    monkeypatch.setattr(compaction, "UNIT_POINTS", 400)
    ended = threading.Event()
    failures: list[Exception] = []

    def keep() -> None:
        engine = engine_of(tmp_path)
        engine.open(exclusive=False)
        worker = MaintenanceWorker(engine, Retention())
        try:
            while worker.round(lambda: False) or not ended.is_set():
                pass
        except Exception as error:  # noqa: BLE001 - handed to the test
            failures.append(error)
        finally:
            worker.close()
            engine.close()

    async def scenario() -> None:
        async with opened(tmp_path) as store:
            workers = [asyncio.create_task(asyncio.to_thread(keep)) for _ in range(2)]
            rows = [await store.register(greeting(f"run-{n}", f"w{n}"), 1) for n in range(3)]
            for number in range(40):
                for row in rows:
                    steps = list(range(number * 50, number * 50 + 50))
                    values = [math.sin(step) for step in steps]
                    await store.append(frame(row, number + 1, points(steps, loss=values, qps=values)))
                step = number * 50 + 49
                assert (await read(store, "qps", "run-1"))[-1] == (step, math.sin(step))
            ended.set()
            await asyncio.gather(*workers)
            assert failures == []
            for row in rows:
                assert await read(store, "loss", row.run) == [(step, math.sin(step)) for step in range(2000)]
                await store._read(lambda db, of=row.run: assert_whole(db, of))  # type: ignore[misc]
            counts = await store._read(
                lambda db: db.execute(
                    "SELECT (SELECT count(*) FROM frame), (SELECT count(*) FROM chunk WHERE num_rows < 48)"
                ).fetchone()
            )
            assert counts[0] < 60, "more than half of the frames are compacted; the last round may leave some"
            assert counts[1] <= 6

    run(scenario)


@pytest.mark.usefixtures("every_engine")
def test_a_run_that_cannot_be_compacted_is_set_aside_and_the_others_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(compaction, "IDLE_NS", -(10**19))

    async def scenario() -> None:
        async with opened(tmp_path) as store:
            for name in ("bad", "good", "other"):
                row = await store.register(greeting(name), 1)
                steps = list(range(20_000 if name == "bad" else 100))
                await store.append(frame(row, 1, points(steps, loss=[0.5] * len(steps))))
            await store._writer.call(
                lambda db: db.execute("UPDATE frame SET data = ? WHERE run_id = ?", (b"abc", "bad")).rowcount
            )
            engine = engine_of(tmp_path)
            worker = MaintenanceWorker(engine, Retention())
            try:
                for _ in range(3):
                    worker._next_look = 0.0
                    worker.round(lambda: False)
            finally:
                worker.close()
            left = await store._read(lambda db: db.execute("SELECT DISTINCT run_id FROM frame").fetchall())
            assert [tuple(row) for row in left] == [("bad",)]
            assert await store.upkeep_failures() == 1
            assert caplog.text.count("the compaction of run bad failed") == 1
            await store.delete_run("bad")
            assert await compacted(store)

    run(scenario)


@pytest.mark.usefixtures("every_engine")
def test_a_run_at_which_the_engine_fails_is_the_last_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "IDLE_NS", -(10**19))

    async def scenario() -> None:
        async with opened(tmp_path) as store:
            for name in ("bad", "good"):
                row = await store.register(greeting(name), 1)
                steps = list(range(20_000 if name == "bad" else 100))
                await store.append(frame(row, 1, points(steps, loss=[0.5] * len(steps))))
            engine = engine_of(tmp_path)
            worker = MaintenanceWorker(engine, Retention())

            def failing(engine: Engine, reader: Connection, writer: Connection, run_id: str) -> bool:
                if run_id == "bad":
                    raise engine.failures[0]("a page of this run cannot be read")
                return compact(engine, reader, writer, run_id)

            monkeypatch.setattr(module, "compact", failing)
            try:
                for _ in range(2):
                    worker._next_look = 0.0
                    with pytest.raises(engine.failures):
                        worker.round(lambda: False)
            finally:
                worker.close()
            left = await store._read(lambda db: db.execute("SELECT DISTINCT run_id FROM frame").fetchall())
            assert [tuple(row) for row in left] == [("bad",)]

    run(scenario)


@pytest.mark.slow
def test_who_writes_gets_a_turn_between_two_pieces_that_are_given_back(tmp_path: Path) -> None:
    engine = engine_of(tmp_path)
    engine.open(exclusive=True)
    writer = engine.connect_writer()
    writer.execute("CREATE TABLE filler (data BLOB)")
    writer.executemany("INSERT INTO filler VALUES (?)", [(bytes(4000),)] * 8000)
    writer.execute("DROP TABLE filler")
    beside = engine_of(tmp_path)
    beside.open(exclusive=False)
    worker = MaintenanceWorker(beside, Retention())
    pieces = 0
    give_back = beside.give_back

    def counted(connection: Connection) -> bool:
        nonlocal pieces
        more = give_back(connection)
        pieces += 1
        return more

    beside.give_back = counted  # type: ignore[method-assign]
    ended = threading.Event()

    def keep() -> None:
        while not ended.is_set():
            worker.round(ended.is_set)

    thread = threading.Thread(target=keep)
    thread.start()
    missed: list[int] = []
    try:
        while pieces < 60:
            before = pieces
            engine.begin_write(writer)
            missed.append(pieces - before)
            engine.rollback(writer)
            time.sleep(0.003)
    finally:
        ended.set()
        thread.join()
        worker.close()
        writer.close()
        engine.close()
    # The one that is being given back, and on a busy machine now and then one more.
    assert sum(missed) / len(missed) <= 2
    assert len(missed) >= 10


async def compacted(store: SqlStore) -> bool:
    """Whether no frame is left."""
    return await store._read(lambda db: db.execute("SELECT count(*) FROM frame").fetchone()) == (0,)


def start(log: Path) -> "subprocess.Popen[bytes]":
    """The process, not told yet what to keep."""
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "recis_server.store.upkeep.worker"], stdin=subprocess.PIPE, stderr=output
        )


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_the_process_waits_for_a_database_that_is_away(tmp_path: Path) -> None:
    async def scenario(server: PostgresServer) -> None:
        server.stop()
        log = tmp_path / "log"
        worker = start(log)
        assert worker.stdin is not None
        worker.stdin.write(json.dumps({"url": url, "retention": {}}).encode() + b"\n")
        worker.stdin.flush()
        await until(lambda: "maintenance is waiting" in log.read_text(), 30)
        server.start()
        async with opened(tmp_path) as store:
            for n in range(3):
                row = await store.register(greeting(), 1)
                steps = list(range(n * 5000, n * 5000 + 5000))
                await store.append(frame(row, n + 1, points(steps, loss=[0.0] * 5000)))
                await until_async(lambda: compacted(store), 30)
                # The connections of both are gone, and both come back.
                server.stop()
                server.start()
                while True:
                    try:
                        row = await store.register(greeting(), 1)
                        break
                    except StoreUnavailable:
                        pass
            assert len(await read(store, "loss")) == 15_000
        assert worker.poll() is None
        worker.stdin.close()
        assert await asyncio.to_thread(worker.wait, 30) == 0
        # Of each of the four outages at most two lines: the connection that broke, and that there is no other.
        assert log.read_text().count("maintenance is waiting") <= 8, log.read_text()

    with postgres_server() as server:
        url = server.make_database()
        databases.current.append(lambda folder: url)
        try:
            asyncio.run(scenario(server))
        finally:
            databases.current.pop()
