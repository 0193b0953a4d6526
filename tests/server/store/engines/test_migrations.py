"""Stores of older versions opened by this one: `golden/store-1.db.gz` was written by version 0.1.

`store-1.json` is what `answers` gave when that version ran it.
"""

import asyncio
import contextlib
import gzip
import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from recis_server.errors import StoreError
from recis_server.store import open_store
from recis_server.store.engines import postgres as postgres_module
from recis_server.store.engines import schema
from recis_server.store.engines import sqlite as sqlite_module
from recis_server.store.engines.open import open_engine
from recis_server.store.engines.postgres_dialect import convert
from recis_server.store.sql import SqlStore
from recis_server.store.values import RunsWanted

from scripts.postgres import PostgresServer
from tests.server.store import databases
from tests.server.store.answers import answers
from tests.server.store.streams import frame, greeting, points, read

GOLDEN = Path(__file__).parent / "golden"
OPEN = """
import os, signal, sys
from recis_server.store.engines import postgres
from recis_server.store.engines import sqlite
from recis_server.store.engines.open import open_engine
url, fatal = sys.argv[1], int(sys.argv[2])
left = fatal

def count(statement):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

connect = sqlite.SqliteEngine.connect_writer
def traced(engine):
    connection = connect(engine)
    connection.set_trace_callback(count)
    return connection
sqlite.SqliteEngine.connect_writer = traced
for name in ("execute", "script"):
    def also(self, *arguments, old=getattr(postgres._Connection, name)):
        count(arguments[0])
        return old(self, *arguments)
    setattr(postgres._Connection, name, also)
engine = open_engine(url)
engine.open(exclusive=True)
engine.close()
"""


def golden(folder: Path) -> str:
    """The URL of an old store."""
    (folder / "recis.db").write_bytes(gzip.decompress((GOLDEN / "store-1.db.gz").read_bytes()))
    return f"sqlite:///{folder / 'recis.db'}"


def golden_on(server: PostgresServer, folder: Path, options: str) -> str:
    """The URL of the same rows in PostgreSQL, in the tables of version 1."""
    golden(folder)
    (tables,) = schema.MIGRATIONS[0]
    assert isinstance(tables, str)
    url = server.make_database()
    with sqlite3.connect(folder / "recis.db") as old, psycopg.connect(url) as new:
        new.execute("CREATE TABLE schema_version (version BIGINT NOT NULL)")
        new.execute("INSERT INTO schema_version VALUES (1)")
        new.execute(convert(tables, 3 if options else 0).encode())
        new.execute("DELETE FROM meta")
        for (table,) in old.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            for row in old.execute(f"SELECT * FROM {table}"):
                new.execute(f"INSERT INTO {table} VALUES ({', '.join(['%s'] * len(row))})".encode(), row)
        for sequence, table, column in (
            ("command_seq", "command", "seq"),
            *((f"{table}_id", table, "id") for table in ("frame", "filter_pass", "line", "event", "audit")),
        ):
            new.execute(f"SELECT setval('{sequence}', coalesce((SELECT max({column}) FROM {table}), 0) + 1)".encode())
    old.close()
    return url + options


@pytest.fixture
def old_store(every_engine: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The golden store on each engine."""
    if every_engine == "sqlite":
        return golden(tmp_path)
    options = "?partitions=3" if every_engine == "postgres-partitioned" else ""
    return golden_on(request.getfixturevalue("postgres"), tmp_path, options)


def ask(url: str) -> Any:
    async def scenario() -> Any:
        store = open_store(url, exclusive=False)
        await store.open()
        try:
            return json.loads(json.dumps(await answers(store)))
        finally:
            await store.close()

    return asyncio.run(scenario())


def wanted() -> Any:
    answer = json.loads((GOLDEN / "store-1.json").read_text(encoding="utf-8"))
    # Version 5 ends what a rank has to answer together with the command.
    answer["runs"]["second"]["commands"][0]["ranks"]["0"]["state"] = "expired"
    for found in answer["runs"].values():
        found["run"]["archived"] = False
    for token in answer["tokens"]:
        token.update(expires_ns=None, used_ns=None)
    return answer


def test_an_old_store_gives_the_same_answers(old_store: str) -> None:
    assert ask(old_store) == wanted()
    assert ask(old_store) == wanted()


def test_writers_go_on_where_they_were_in_an_old_store(old_store: str) -> None:
    async def scenario() -> None:
        store = open_store(old_store, exclusive=False)
        await store.open()
        try:
            row = await store.register(greeting("first", "first-0-again", "a2"), 1)
            assert (row.acked, row.attempt) == (2, 2)
            await store.append(frame(row, 2, points([1000], loss=[0.0])))
            await store.append(frame(row, 3, points([60], loss=[-60.0])))
            (series,) = (await store.points("first", "loss", [0], 20, None))[1]
            assert series.steps.tolist() == list(range(20, 61))
            assert series.values.tolist() == [-float(step) for step in range(20, 61)]
            assert await store.delete_run("first") == ["traces/t1"]
            assert [run.id for run in (await store.runs(RunsWanted(sort="name", limit=9))).runs]
        finally:
            await store.close()

    asyncio.run(scenario())


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_migration_that_is_killed_is_made_at_the_next_open(old_store: str) -> None:
    """Killed before its 2nd statement, its 5th and so on, on the same store, until it comes to its end."""
    fatal = 2
    while True:
        done = subprocess.run([sys.executable, "-c", OPEN, old_store, str(fatal)], check=False, timeout=60)
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL
        fatal += 3
    assert fatal > 6, "the migration was never killed"
    assert ask(old_store) == wanted()


def test_a_newer_store_is_refused(old_store: str) -> None:
    ask(old_store)
    if old_store.startswith("sqlite"):
        with sqlite3.connect(old_store.removeprefix("sqlite:///")) as db:
            db.execute("PRAGMA user_version = 99")
            db.execute("UPDATE meta SET value = 98 WHERE name = 'compatible_from'")
        db.close()
    else:
        with psycopg.connect(old_store.partition("?")[0]) as other:
            other.execute("INSERT INTO schema_version VALUES (99)")
            other.execute("UPDATE meta SET value = 98 WHERE name = 'compatible_from'")
    with pytest.raises(StoreError, match=rf"expected schema version {schema.SCHEMA_VERSION} or older, got 99"):
        ask(old_store)


EXPAND = "ALTER TABLE run ADD COLUMN colour TEXT NOT NULL DEFAULT 'none'; CREATE TABLE shape (run_id TEXT PRIMARY KEY);"
CONTRACT = "ALTER TABLE run DROP COLUMN notes;"


@contextlib.contextmanager
def release(compatible_from: int, *migrations: str) -> Iterator[None]:
    """The program of a later release until the block ends: with further migrations."""
    every = (*schema.MIGRATIONS, *((one,) for one in migrations))
    with pytest.MonkeyPatch.context() as patch:
        for module in (schema, sqlite_module, postgres_module):
            patch.setattr(module, "MIGRATIONS", every)
            patch.setattr(module, "SCHEMA_VERSION", len(every))
            patch.setattr(module, "COMPATIBLE_FROM", compatible_from)
        yield


async def write(store: SqlStore, number: int) -> None:
    row = await store.register(greeting("rolling"), 1)
    await store.append(frame(row, number, points([number], loss=[float(number)])))


def test_a_server_works_on_a_store_that_the_next_release_has_expanded(every_engine: str, tmp_path: Path) -> None:
    """And not on one that the release after it has contracted; two releases share a store of PostgreSQL."""
    del every_engine
    url = databases.current[-1](tmp_path)
    shared = not url.startswith("sqlite")
    ours = schema.SCHEMA_VERSION

    async def opened() -> SqlStore:
        store = SqlStore(open_engine(url, shared=shared))
        await store.open()
        return store

    async def scenario() -> None:
        old = await opened()
        await write(old, 1)
        if not shared:
            await old.close()
        with release(ours, EXPAND):
            new = await opened()
            await write(new, 2)
            if not shared:
                await new.close()
        if shared:  # the older one goes on beside the newer one
            await write(old, 3)
            await old.probe()
            await old.close()
        old = await opened()
        await write(old, 4)
        assert [step for step, _ in await read(old, "loss", "rolling")] == ([1, 2, 3, 4] if shared else [1, 2, 4])
        await old.probe()
        if shared:
            with release(ours + 1, EXPAND, CONTRACT), pytest.raises(StoreError, match="got 1 older: stop or upgrade"):
                await opened()
            await write(old, 5)  # and nothing has been changed
            await new.close()
        await old.close()
        with release(ours + 1, EXPAND, CONTRACT):
            await (await opened()).close()
        with pytest.raises(StoreError, match=f"got {ours + 2}, which requires a server that knows version {ours + 1}"):
            await opened()

    asyncio.run(scenario())
