"""Every key of a table that belongs to runs leads with `run_id`, on every engine; the large ones lie in partitions."""

import re
import sqlite3
from pathlib import Path

import psycopg
import pytest
from recis_server.store.engines.postgres_dialect import _PARTITIONED
from recis_server.store.values import RunsWanted

from scripts.postgres import PostgresServer
from tests.server.store import databases
from tests.server.store.streams import frame, greeting, opened, points, run

OF_NO_RUN = {"meta", "token", "schema_version"}
"""Tables without runs: counters of the store, access tokens, its version."""
EXCEPTIONS = {
    # SQLite's own row number under another name; what it orders is always asked for by run.
    **dict.fromkeys(
        (("frame", "id"), ("filter_pass", "id"), ("line", "id"), ("event", "id"), ("audit", "id"), ("command", "seq")),
        "the order of arrival in one file",
    ),
    ("trace", "trace_id"): "a download is asked for by the trace's id alone; not unique",
}
"""First columns of keys that are not `run_id`, with the reason."""


def sqlite_keys(path: Path) -> set[tuple[str, str]]:
    """Table and first column of every key and index."""
    keys = set()
    with sqlite3.connect(path) as db:
        for (table,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            keys |= {(table, row[1]) for row in db.execute(f"PRAGMA table_info({table})") if row[5] == 1}
            for index in db.execute(f"PRAGMA index_list({table})").fetchall():
                keys.add((table, db.execute(f"PRAGMA index_info({index[1]})").fetchone()[2]))
    db.close()
    return keys


def postgres_keys(url: str) -> set[tuple[str, str]]:
    """The same of PostgreSQL's tables, and of their partitions."""
    with psycopg.connect(url) as db:
        return {
            (table, column)
            for table, column in db.execute(
                "SELECT c.relname, a.attname FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indrelid"
                " JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = i.indkey[0]"
                " WHERE c.relnamespace = 'public'::regnamespace"
            )
        }


def test_every_key_leads_with_the_run(every_engine: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path):
            pass

    run(scenario)
    sqlite = every_engine == "sqlite"
    keys = (
        sqlite_keys(tmp_path / "recis.db") if sqlite else postgres_keys(databases.current[-1](tmp_path).split("?")[0])
    )
    assert len({table for table, _ in keys}) > 15
    others = {(table, column) for table, column in keys if column != "run_id" and table not in OF_NO_RUN}
    assert others - set(EXCEPTIONS) == set()
    if sqlite:
        assert others == set(EXCEPTIONS), "an exception that nobody needs"


@pytest.mark.slow
def test_runs_lie_in_all_partitions(postgres: PostgresServer, tmp_path: Path) -> None:
    url = postgres.make_database()
    databases.current.append(lambda folder: f"{url}?partitions=4")

    async def scenario() -> None:
        async with opened(tmp_path) as store:
            for number in range(40):
                row = await store.register(greeting(f"run-{number}"), 1)
                await store.append(frame(row, 1, points([1, 2], loss=[1.0, 2.0])))
            assert len((await store.runs(RunsWanted(sort="name", limit=99))).runs) == 40

    try:
        run(scenario)
    finally:
        databases.current.pop()
    with psycopg.connect(url) as db:
        for table in _PARTITIONED:
            (kind,) = db.execute("SELECT relkind::text FROM pg_class WHERE relname = %s", (table,)).fetchone() or "?"
            assert kind == "p", table
            parts = db.execute("SELECT count(*) FROM pg_inherits WHERE inhparent = %s::regclass", (table,)).fetchone()
            assert parts == (4,), table
        for table in ("frame", "series", "keyset"):
            spread = [
                db.execute(f"SELECT count(DISTINCT run_id) FROM {table}_{n}".encode()).fetchone() for n in range(4)
            ]
            counts = [row[0] for row in spread if row]
            assert sum(counts) == 40
            assert min(counts) > 2, counts
            # One run's rows are read from one partition.
            plan = db.execute(f"EXPLAIN SELECT * FROM {table} WHERE run_id = 'run-7'".encode()).fetchall()
            read = {part for (line,) in plan for part in re.findall(rf"Scan.* on ({table}_\d+) {table}\b", line)}
            assert len(read) == 1, plan
