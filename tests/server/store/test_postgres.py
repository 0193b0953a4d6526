"""What only PostgreSQL can do to a store: take its connections away, give its lock to another server."""

import asyncio
from collections.abc import Iterator

import numpy as np
import psycopg
import pytest
from recis_server.errors import StoreError, StoreUnavailable
from recis_server.store import postgres as module
from recis_server.store.keeper import Keeper
from recis_server.store.postgres import PostgresEngine
from recis_server.store.retention import Retention
from recis_server.store.sql import SqlStore

from scripts.postgres import PostgresServer
from tests.server.store.streams import frame, greeting, points, read, run

pytestmark = pytest.mark.slow

ENDED = (
    "SELECT pg_terminate_backend(pid, 10000) FROM pg_locks"
    " WHERE locktype = 'advisory' AND granted AND database = (SELECT oid FROM pg_database WHERE datname = %s)"
)


@pytest.fixture
def url(postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A database; who waits for another server does not wait for long."""
    monkeypatch.setattr(module, "TAKE_OVER_S", 0.3)
    return postgres.make_database()


def end_owner(url: str) -> None:
    """Ends the session of the server, as a lost network or an operator would."""
    with psycopg.connect(url, autocommit=True) as other:
        assert other.execute(ENDED, (url.rpartition("/")[2],)).fetchall() == [(True,)]


async def write(store: SqlStore, n: int, value: float, *, run_id: str = "r", key: str = "loss") -> None:
    row = await store.register(greeting(run_id), 1)
    await store.append(frame(row, n, points([n], **{key: [value]})))


def test_a_second_server_on_the_same_database_is_refused(url: str) -> None:
    async def scenario() -> None:
        first = SqlStore(PostgresEngine(url))
        await first.open()
        with pytest.raises(StoreError, match=r"for this server alone, PostgreSQL at 127.0.0.1, database test_\d+ has"):
            await SqlStore(PostgresEngine(url)).open()
        tool = SqlStore(PostgresEngine(url), exclusive=False)
        await tool.open()
        await tool.close()
        await write(first, 1, 1.0)
        await first.close()
        again = SqlStore(PostgresEngine(url))
        await again.open()
        assert await read(again, "loss") == [(1, 1.0)]
        await again.close()

    run(scenario)


def test_a_server_whose_session_was_lost_goes_on(url: str) -> None:
    async def scenario() -> None:
        store = SqlStore(PostgresEngine(url))
        await store.open()
        row = await store.register(greeting(), 1)
        await store.append(frame(row, 1, points([1], loss=[1.0])))
        for n in range(2, 6):
            end_owner(url)
            with pytest.raises(StoreUnavailable, match="could not commit"):
                await store.append(frame(row, n, points([n], loss=[-1.0])))
            await store.append(frame(row, n, points([n], loss=[float(n)])))
        assert await read(store, "loss") == [(n, float(n)) for n in range(1, 6)]
        await store.close()

    run(scenario)


def test_a_server_that_lost_its_lock_cannot_write_while_another_has_it(url: str) -> None:
    async def scenario() -> None:
        old, new = SqlStore(PostgresEngine(url)), SqlStore(PostgresEngine(url))
        await old.open()
        await write(old, 1, 1.0)
        end_owner(url)
        await new.open()
        await write(new, 2, 2.0)
        row = await new.register(greeting(), 1)
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                await old.append(frame(row, 3, points([3], loss=[-1.0])))
        with pytest.raises(StoreUnavailable, match="has another server"):
            await old.register(greeting("other"), 1)
        # What the new one makes, the old one must not believe to know.
        await write(new, 3, 3.0, key="qps")
        assert [one.key for one in await new.metrics("r")] == ["loss", "qps"]
        await new.close()
        await write(old, 4, 4.0, key="accuracy")
        await write(old, 5, 5.0, key="qps")
        assert await read(old, "loss") == [(1, 1.0), (2, 2.0)]
        assert await read(old, "qps") == [(3, 3.0), (5, 5.0)]
        assert await read(old, "accuracy") == [(4, 4.0)]
        assert await old.run("other") is None
        await old.close()

    run(scenario)


def test_readers_whose_connections_were_lost_notice_nothing(url: str) -> None:
    async def scenario() -> None:
        store = SqlStore(PostgresEngine(url))
        await store.open()
        await write(store, 1, 1.0)
        with psycopg.connect(url, autocommit=True) as other:
            other.execute(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid != pg_backend_pid()"
            )
        found = await asyncio.gather(*(read(store, "loss") for _ in range(20)))
        assert found == [[(1, 1.0)]] * 20
        await store.close()

    run(scenario)


def test_who_holds_the_write_lock_for_too_long_makes_others_fail_and_not_wait_for_ever(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SESSION", ("SET lock_timeout = '200ms'",))

    async def scenario() -> None:
        store = SqlStore(PostgresEngine(url))
        await store.open()
        row = await store.register(greeting(), 1)
        other = PostgresEngine(url)
        holder = other.connect_writer()
        other.begin_write(holder)
        with pytest.raises(StoreUnavailable, match="lock timeout"):
            await store.append(frame(row, 1, points([1], loss=[1.0])))
        other.rollback(holder)
        holder.close()
        await store.append(frame(row, 1, points([1], loss=[1.0])))
        assert await read(store, "loss") == [(1, 1.0)]
        await store.close()

    run(scenario)


def test_commits_are_durable_whatever_is_usual_on_the_server(url: str) -> None:
    for usual, wanted in (("off", "on"), ("remote_write", "remote_write")):
        with psycopg.connect(url, autocommit=True) as other:
            name = url.rpartition("/")[2]
            other.execute(f"ALTER DATABASE {name} SET synchronous_commit = {usual}".encode())
        engine = PostgresEngine(url)
        writer = engine.connect_writer()
        assert writer.execute("SELECT current_setting('synchronous_commit')").fetchone() == (wanted,)
        writer.close()


def test_what_a_deletion_frees_can_be_used_again(url: str) -> None:
    """With the server running: none of its connections holds a view of the past that would keep dead rows."""
    tables = ("frame", "chunk", "axis", "pyramid")

    def size() -> int:
        with psycopg.connect(url, autocommit=True) as other:
            other.execute(f"VACUUM {', '.join(tables)}".encode())
            rows = [other.execute("SELECT pg_total_relation_size(%s)", (table,)).fetchone() for table in tables]
            return sum(row[0] for row in rows if row)

    async def scenario() -> None:
        store = SqlStore(PostgresEngine(url))
        await store.open()
        keeper = Keeper(PostgresEngine(url), Retention())
        try:
            empty = size()
            row = await store.register(greeting(), 1)
            noise = np.random.default_rng(7)
            for n in range(20):
                steps = list(range(n * 20_000, n * 20_000 + 20_000))
                await store.append(frame(row, n + 1, points(steps, loss=noise.normal(size=len(steps)).tolist())))
            while keeper.round(lambda: False):
                pass
            await read(store, "loss")
            full = size()
            assert full > empty + 3_000_000
            await store.delete_run("r")
            assert not keeper.round(lambda: False)
            # Each table and index keeps a few pages.
            assert size() < empty + 500_000
        finally:
            keeper.close()
            await store.close()

    run(scenario)
