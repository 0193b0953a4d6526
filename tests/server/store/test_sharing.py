"""Several servers on one PostgreSQL database: what one writes, another may read, continue or repeat."""

import asyncio
import random
import threading
import time
from collections import defaultdict

import psycopg
import pytest
from recis_server.errors import StoreError, StoreLost, StoreUnavailable
from recis_server.store import leases
from recis_server.store.engines import postgres as module
from recis_server.store.engines import schema
from recis_server.store.engines.engine import Connection, Engine
from recis_server.store.engines.open import open_engine
from recis_server.store.engines.postgres import PostgresEngine
from recis_server.store.points import compaction
from recis_server.store.sql import SqlStore
from recis_server.store.upkeep import worker as worker_module
from recis_server.store.upkeep.retention import Retention
from recis_server.store.upkeep.worker import MaintenanceWorker

from scripts.postgres import PostgresServer
from tests.server.realserver import until, until_async
from tests.server.store.streams import frame, greeting, points, read, run

pytestmark = pytest.mark.slow


@pytest.fixture
def url(postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """A database; who waits for another server does not wait for long."""
    monkeypatch.setattr(module, "TAKE_OVER_S", 0.3)
    return postgres.make_database()


def replica(url: str) -> SqlStore:
    return SqlStore(PostgresEngine(url, shared=True))


async def opened(url: str, number: int) -> list[SqlStore]:
    stores = [replica(url) for _ in range(number)]
    for store in stores:
        await store.open()
    return stores


async def closed(stores: list[SqlStore]) -> None:
    for store in stores:
        await store.close()


def test_replicas_share_a_database_that_no_sole_server_has(url: str) -> None:
    async def scenario() -> None:
        stores = await opened(url, 2)
        with pytest.raises(StoreError, match="for this server alone, PostgreSQL at"):
            await SqlStore(PostgresEngine(url)).open()
        await closed(stores)
        sole = SqlStore(PostgresEngine(url))
        await sole.open()
        with pytest.raises(StoreError, match=r"that servers share, PostgreSQL at .* has a server without a --bus"):
            await replica(url).open()
        await sole.close()

    run(scenario)


def test_a_replica_that_lost_its_session_does_not_write_beside_a_sole_server(url: str) -> None:
    async def scenario() -> None:
        (old,) = await opened(url, 1)
        row = await old.register(greeting(), 1)
        with psycopg.connect(url, autocommit=True) as other:
            other.execute(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_locks WHERE locktype = 'advisory' AND granted"
                " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            )
        sole = SqlStore(PostgresEngine(url))
        await sole.open()
        for _ in range(2):
            with pytest.raises((StoreLost, StoreUnavailable)):
                await old.append(frame(row, 1, points([1], loss=[1.0])))
        await sole.close()
        await old.append(frame(row, 1, points([1], loss=[1.0])))
        assert await read(old, "loss") == [(1, 1.0)]
        await old.close()

    run(scenario)


def test_a_replica_whose_clock_is_wrong_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 3600)
    with pytest.raises(StoreError, match=r"expected a clock within 60 s of the database's, .* 3\d\d\d s ahead of it"):
        PostgresEngine(url, shared=True).open(exclusive=True)


def test_only_postgresql_can_be_shared() -> None:
    with pytest.raises(
        ValueError, match=r"--store: expected postgresql://… for servers that share a --bus, got 'sqlite"
    ):
        open_engine("sqlite:///x.db", shared=True)


def test_writers_that_change_servers_are_stored_once(url: str) -> None:
    """Frames are sent to servers at random, also to two at once, with one set of names that grows."""
    num_writers, num_frames, num_stores = 4, 60, 3
    chance = random.Random(5)

    async def write(stores: list[SqlStore], rank: int) -> None:
        writer = f"w{rank}"
        for n in range(1, num_frames + 1):
            keys = {f"m{key}": [float(n * 100 + key)] for key in range(1 + n // 20)}
            chosen = chance.sample(stores, chance.choice((1, 1, 2)))
            rows = [
                await store.register(greeting(writer=writer, rank=rank, world_size=num_writers), 1) for store in chosen
            ]
            assert {row.acked for row in rows} == {n - 1}
            await asyncio.gather(
                *(store.append(frame(row, n, points([n], **keys))) for store, row in zip(chosen, rows, strict=True))
            )

    async def scenario() -> None:
        stores = await opened(url, num_stores)
        try:
            await asyncio.gather(*(write(stores, rank) for rank in range(num_writers)))
            found = await stores[0].run("r")
            assert found is not None
            assert found.missing == 0
            expected = {
                f"m{key}": [(n, float(n * 100 + key)) for n in range(1, num_frames + 1) if key < 1 + n // 20]
                for key in range(1 + num_frames // 20)
            }
            assert found.points == num_writers * sum(map(len, expected.values()))
            for store in stores:
                metrics = {one.key: one for one in await store.metrics("r")}
                assert {key: one.count for key, one in metrics.items()} == {
                    key: num_writers * len(pairs) for key, pairs in expected.items()
                }
                for rank in range(num_writers):
                    for key, pairs in expected.items():
                        assert await read(store, key, rank=rank) == pairs
            with psycopg.connect(url) as other:
                doubles = "SELECT rank, key FROM series GROUP BY rank, key HAVING count(*) > 1"
                assert other.execute(doubles).fetchall() == []
        finally:
            await closed(stores)

    run(scenario)


def test_runs_and_attempts_are_made_once_under_races(url: str) -> None:
    async def scenario() -> None:
        stores = await opened(url, 3)
        hellos = [
            greeting(f"r{number % 3}", writer=f"w{number}", attempt=f"a{number % 4}", rank=number % 5, world_size=5)
            for number in range(60)
        ]
        rows = await asyncio.gather(*(stores[place % 3].register(hello, 1) for place, hello in enumerate(hellos)))
        numbers: dict[tuple[str, str], set[int]] = defaultdict(set)
        for hello, row in zip(hellos, rows, strict=True):
            numbers[hello.run, hello.attempt].add(row.attempt)
        assert all(len(found) == 1 for found in numbers.values())
        for name in ("r0", "r1", "r2"):
            found = sorted(min(one) for (run_id, _), one in numbers.items() if run_id == name)
            assert found == list(range(1, len(found) + 1))
        await closed(stores)

    run(scenario)


def test_a_run_deleted_at_one_server_is_not_continued_from_the_memory_of_another(url: str) -> None:
    async def scenario() -> None:
        first, second = stores = await opened(url, 2)
        row = await first.register(greeting(), 1)
        await first.append(frame(row, 1, points([1], loss=[1.0])))
        await second.delete_run("r")
        with pytest.raises(StoreUnavailable, match="was deleted"):
            await first.append(frame(row, 2, points([2], loss=[2.0])))
        row = await second.register(greeting(), 1)
        await second.append(frame(row, 1, points([5], qps=[5.0])))
        await first.append(frame(row, 2, points([6], loss=[6.0])))
        assert await read(second, "loss") == [(6, 6.0)]
        assert [one.key for one in await first.metrics("r")] == ["qps", "loss"]
        await closed(stores)

    run(scenario)


def test_transactions_of_different_runs_do_not_wait_for_each_other(url: str) -> None:
    async def scenario() -> None:
        (store,) = await opened(url, 1)
        row = await store.register(greeting("mine"), 1)
        other = PostgresEngine(url, shared=True)
        holder = other.connect_writer()
        other.begin_write(holder, ("theirs",))
        await store.append(frame(row, 1, points([1], loss=[1.0])))
        other.rollback(holder)
        holder.close()
        await store.close()

    run(scenario)


def test_a_lease_has_one_holder_and_goes_with_its_session(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "BEAT_S", 0.05)

    async def scenario() -> None:
        first, second = stores = await opened(url, 2)
        async with first.lease("work") as mine:
            assert mine
            for other in stores:
                async with other.lease("work") as granted:
                    assert not granted
            async with second.lease("other work") as granted:
                assert granted
        async with second.lease("work") as granted:
            assert granted
            # The session is lost, and renewed with its leases; until then, another server could take one.
            renewed: list[bool] = []
            try_lease = second._engine.try_lease

            def note(connection: Connection, name: str) -> bool:
                renewed.append(try_lease(connection, name))
                return renewed[-1]

            monkeypatch.setattr(second._engine, "try_lease", note)
            end_sessions(url)
            await until(lambda: bool(renewed), 30)
            assert renewed[-1]
            await until_async(lambda: granted_to(first, "work", not_granted=True), 30)
            assert "work" in second._leases._held
        assert await until_async(lambda: granted_to(first, "work"), 30)
        async with second.lease("work") as granted:
            # Another one is faster.
            monkeypatch.setattr(second._engine, "try_lease", lambda connection, name: False)
            end_sessions(url)
            await until(lambda: "work" not in second._leases._held, 30)
        await closed(stores)

    async def granted_to(store: SqlStore, name: str, *, not_granted: bool = False) -> bool:
        try:
            async with store.lease(name) as granted:
                return granted != not_granted
        except StoreUnavailable:
            return False

    def end_sessions(url: str) -> None:
        with psycopg.connect(url, autocommit=True) as other:
            other.execute(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid != pg_backend_pid()"
            )

    run(scenario)


def test_a_session_that_stands_still_loses_its_leases(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LEASE_S", 1)
    engine = PostgresEngine(url, shared=True)
    frozen, other = engine.connect_reader(), engine.connect_reader()
    assert engine.try_lease(frozen, "work")
    assert not engine.try_lease(other, "work")
    deadline = time.monotonic() + 60
    while not engine.try_lease(other, "work"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert not engine.is_alive(frozen)
    assert not engine.try_lease(frozen, "work")
    engine.end_lease(other, "work")
    assert engine.try_lease(frozen, "work")
    for connection in (frozen, other):
        connection.close()


def test_workers_of_several_servers_maintain_a_run_one_at_a_time(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With frames coming in at two servers; the lease of a worker that was killed is free at once."""
    monkeypatch.setattr(compaction, "NUM_FRAMES", 8)
    monkeypatch.setattr(worker_module, "IDLE_S", 0.05)
    at_work: dict[str, int] = defaultdict(int)
    overlaps: list[str] = []
    compact = compaction.compact

    def watched(engine: Engine, reader: Connection, writer: Connection, run_id: str) -> bool:
        at_work[run_id] += 1
        if at_work[run_id] > 1:
            overlaps.append(run_id)
        try:
            return compact(engine, reader, writer, run_id)
        finally:
            at_work[run_id] -= 1

    monkeypatch.setattr(worker_module, "compact", watched)

    async def scenario() -> None:
        stores = await opened(url, 2)
        workers = [MaintenanceWorker(PostgresEngine(url), Retention()) for _ in range(2)]
        ended = threading.Event()

        def keep(worker: MaintenanceWorker) -> None:
            while not ended.is_set():
                worker.round(ended.is_set)

        keeping = [asyncio.create_task(asyncio.to_thread(keep, worker)) for worker in workers]
        try:
            for n in range(1, 121):
                for name in ("r", "s"):
                    row = await stores[n % 2].register(greeting(name), 1)
                    await stores[n % 2].append(frame(row, n, points([n], loss=[float(n)])))
        finally:
            ended.set()
            await asyncio.gather(*keeping)
        for name in ("r", "s"):
            assert await read(stores[0], "loss", run=name) == [(n, float(n)) for n in range(1, 121)]
        assert overlaps == []
        with psycopg.connect(url) as other:
            (compactions,) = other.execute("SELECT min(compactions) FROM run").fetchone() or (0,)
            assert compactions > 0
        for worker in workers:
            worker.close()
        await closed(stores)

    run(scenario)


def test_a_server_goes_on_while_a_newer_one_adds_to_the_tables(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rolling upgrade: the older servers work until they are replaced, also after a restart."""

    async def scenario() -> None:
        (old,) = await opened(url, 1)
        row = await old.register(greeting(), 1)
        await old.append(frame(row, 1, points([1], loss=[1.0])))
        with monkeypatch.context() as newer:
            added = (("ALTER TABLE run ADD COLUMN later BIGINT NOT NULL DEFAULT 0",),)
            newer.setattr(module, "MIGRATIONS", schema.MIGRATIONS + added)
            newer.setattr(module, "SCHEMA_VERSION", schema.SCHEMA_VERSION + 1)
            (new,) = await opened(url, 1)
        for number in range(2, 22, 2):
            await old.append(frame(row, number, points([number], loss=[float(number)])))
            await new.append(frame(row, number + 1, points([number + 1], loss=[number + 1.0])))
        other = await old.register(greeting("other", "w2"), 1)
        await old.append(frame(other, 1, points([1], loss=[1.0])))
        assert await old.hide_run("other", time.time_ns() + 10**12)
        assert await old.restore_run("other") is not None
        for store in (old, new):
            assert await read(store, "loss") == [(n, float(n)) for n in range(1, 22)]
            assert await read(store, "loss", "other") == [(1, 1.0)]
        await closed([old])
        (old,) = await opened(url, 1)
        await old.append(frame(row, 22, points([22], loss=[22.0])))
        assert (await read(new, "loss"))[-1] == (22, 22.0)
        await closed([old, new])

    run(scenario)
