"""Stores of older versions opened by this one: `golden/store-1.db.gz` was written by version 0.1.

`store-1.json` is what `answers` gave when that version ran it.
"""

import asyncio
import gzip
import json
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest
from recis_server.errors import StoreError
from recis_server.store import open_store
from recis_server.store.engines import schema
from recis_server.store.engines.postgres_dialect import convert
from recis_server.store.values import RunsWanted

from scripts.postgres import PostgresServer
from tests.server.store.answers import answers
from tests.server.store.streams import frame, greeting, points

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
        db.close()
    else:
        with psycopg.connect(old_store.partition("?")[0]) as other:
            other.execute("INSERT INTO schema_version VALUES (99)")
    with pytest.raises(StoreError, match=rf"expected schema version {schema.SCHEMA_VERSION} or older, got 99"):
        ask(old_store)
