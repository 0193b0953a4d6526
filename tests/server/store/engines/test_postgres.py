"""What only PostgreSQL can do to a store: take its connections away, give its lock to another server."""

import asyncio
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import psycopg
import pytest
from recis_server.errors import StoreError, StoreLost, StoreUnavailable
from recis_server.store import probe
from recis_server.store.engines import postgres as module
from recis_server.store.engines import schema
from recis_server.store.engines.engine import Anchor, Connection
from recis_server.store.engines.postgres import PostgresEngine
from recis_server.store.sql import SqlStore
from recis_server.store.upkeep.retention import Retention
from recis_server.store.upkeep.worker import MaintenanceWorker

from scripts.postgres import PostgresServer
from tests.server.store.streams import frame, greeting, points, read, run

pytestmark = pytest.mark.slow

ENDED = (
    "SELECT pg_terminate_backend(pid, 10000) FROM pg_locks"
    " WHERE locktype = 'advisory' AND granted AND database = (SELECT oid FROM pg_database WHERE datname = %s)"
)


@pytest.fixture
def url(postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """A database; who waits for another server does not wait for long."""
    monkeypatch.setattr(module, "TAKE_OVER_S", 0.3)
    return postgres.make_database()


def end_owner(url: str) -> None:
    """Ends the session of the server, as a lost network or an operator would."""
    with psycopg.connect(url, autocommit=True) as other:
        assert other.execute(ENDED, (url.rpartition("/")[2],)).fetchall() == [(True,)]


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("postgresql://me:secret%zz@host/db", "got another one"),
        ("postgresql://me:se/cret@host/db", "got another one"),
        ("postgresql://me:5/cret@host/db", "got another one"),
        ("postgresql://me:secret@host/db?partitons=4", "got an unknown option partitons"),
        ("postgresql://me:secret@host/db?partitions=x", "partitions=N with N up to 1024, got 'x'"),
    ],
)
def test_a_malformed_url_is_an_error_without_its_password(url: str, found: str) -> None:
    with pytest.raises(ValueError, match="--store: expected") as caught:
        PostgresEngine(url)
    assert found in str(caught.value)
    assert "cret" not in str(caught.value)


def test_options_of_the_url_are_used_beside_the_partitions(postgres: PostgresServer) -> None:
    own = f"127.0.0.1:{postgres.port}"
    url = postgres.make_database()
    tried = "127.0.0.1:9"  # nothing listens there
    for options in ("partitions=2&application_name=a%20b", "application_name=a%20b&partitions=2"):
        engine = PostgresEngine(f"{url.replace(own, f'{tried},{own}')}?{options}")
        engine.open(exclusive=False)
        connection = engine.connect_writer()
        assert connection.execute("SHOW application_name").fetchone() == ("a b",)
        assert connection.execute(
            "SELECT count(*) FROM pg_inherits WHERE inhparent = 'frame'::regclass"
        ).fetchone() == (2,)
        connection.close()
    local = PostgresEngine(
        f"postgresql://postgres@/{url.rpartition('/')[2]}?host={postgres.folder}&port={postgres.port}"
    )
    local.open(exclusive=False)


def test_tables_are_distributed_by_run_where_the_database_can(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Citus cannot be installed here; in its place are a table and a function that notes what it is asked for."""

    def distributed() -> list[tuple[str, str, str]]:
        with psycopg.connect(url, autocommit=True) as other:
            return other.execute("SELECT logicalrelid::text, key, beside FROM pg_dist_partition ORDER BY n").fetchall()

    def opened(url: str) -> None:
        engine = PostgresEngine(url)
        engine.open(exclusive=True)
        engine.close()

    with psycopg.connect(url, autocommit=True) as other:
        other.execute("""
            CREATE TABLE pg_dist_partition (n SERIAL, logicalrelid REGCLASS, key TEXT, beside TEXT);
            CREATE FUNCTION create_distributed_table(REGCLASS, TEXT, colocate_with TEXT) RETURNS VOID LANGUAGE SQL AS
                'INSERT INTO pg_dist_partition (logicalrelid, key, beside) VALUES ($1, $2, $3)';
        """)
    opened(url)
    (first, *others) = distributed()
    assert first == ("run", "run_id", "default")
    assert {(key, beside) for _, key, beside in others} == {("run_id", "run")}
    assert {name for name, _, _ in others} == set(schema.TABLES) - {"run", "meta", "token"}
    # A later version's table as well, and none twice.
    later = (("CREATE TABLE later (run_id TEXT NOT NULL, PRIMARY KEY (run_id))",),)
    monkeypatch.setattr(module, "MIGRATIONS", schema.MIGRATIONS + later)
    monkeypatch.setattr(module, "SCHEMA_VERSION", schema.SCHEMA_VERSION + 1)
    monkeypatch.setattr(module, "TABLES", (*schema.TABLES, "later"))
    opened(url)
    assert distributed() == [first, *others, ("later", "run_id", "run")]


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
        other.begin_write(holder, ("r",))
        with pytest.raises(StoreUnavailable, match="LockNotAvailable"):
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


PASS = (
    "INSERT INTO filter_pass (run_id, step, time_ns, rank, attempt, table_name, interval, rows_before, evicted,"
    " rows_after, admitted, milliseconds, bytes) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
FRAME = (
    "INSERT INTO frame (run_id, keyset, attempt, lo, hi, num_rows, steps, times, data)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
NUMBERS = (0, -1, 2**15, -(2**31), 2**31, 2**53 + 1, 2**63 - 1, -(2**63))
FLOATS = (None, 0.0, -0.0, 0.1, 5e-324, 1.7e308, float("nan"), float("inf"), float("-inf"), 3)


@pytest.fixture
def writer(url: str) -> Iterator[Connection]:
    """A connection to empty tables."""
    engine = PostgresEngine(url)
    engine.open(exclusive=False)
    connection = engine.connect_writer()
    yield connection
    connection.close()


def pass_row(run_id: str, number: int = 0, milliseconds: float | None = 0.5, interval: int | None = None) -> Any:
    return (run_id, number, 0, 0, 0, "items", interval, 0, 0, 0, 0, milliseconds, -number - 1)


def frame_row(run_id: str, number: int, data: bytes = b"") -> Any:
    return (run_id, 1, 1, number, number, 1, b"\0\xff", b"", data)


def count(connection: Connection, table: str) -> int:
    (number,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    return int(number)


def test_many_rows_become_what_single_ones_become(writer: Connection) -> None:
    names = ("plain", "two\0parts\0", "\0", "tab\tnewline\nbackslash\\N", "\\.", "🦊", "")
    passes = [pass_row(names[place % 7], number, interval=number) for place, number in enumerate(NUMBERS)]
    passes += [pass_row(names[place % 7], place, value) for place, value in enumerate(FLOATS)]
    frames = [frame_row("r", place, bytes(range(256)) * size) for place, size in enumerate((0, 1, 2, 40, 8000))]
    for sql, table, rows in ((PASS, "filter_pass", passes), (FRAME, "frame", frames)):
        found = []
        for write in (lambda sql, rows: [writer.execute(sql, row) for row in rows], writer.executemany):
            write(sql, rows)
            found.append([row[1:] for row in writer.execute(f"SELECT * FROM {table} ORDER BY id").fetchall()])
            writer.execute(f"DELETE FROM {table}")
        assert repr(found[0]) == repr(found[1])
        assert len(found[1]) == len(rows)
    writer.executemany(PASS, [])
    assert count(writer, "filter_pass") == 0


@pytest.mark.parametrize("bad", [2**63, -(2**63) - 1, 2**200])
@pytest.mark.parametrize("number", [1, 100])
def test_a_number_that_fits_in_no_column_is_its_senders_fault(writer: Connection, bad: int, number: int) -> None:
    rows = [*(pass_row("r", place) for place in range(number - 1)), pass_row("r", 1, interval=bad)]
    writer.execute("BEGIN")
    writer.execute("SAVEPOINT frames")
    with pytest.raises(ValueError):  # noqa: PT011 - the driver's words
        writer.executemany(PASS, rows)
    # The transaction goes on without them.
    writer.execute("ROLLBACK TO frames")
    writer.executemany(PASS, rows[:-1])
    writer.execute("COMMIT")
    assert count(writer, "filter_pass") == number - 1
    with pytest.raises(ValueError):  # noqa: PT011
        writer.execute("SELECT 1 FROM run WHERE points = ?", (bad,))


def test_rows_that_the_tables_refuse_leave_nothing_and_are_the_engines_failure(url: str, writer: Connection) -> None:
    missing = [frame_row("r", place) for place in range(5000)]
    missing[-1] = (None, *missing[-1][1:])
    series = [("r", place, 0, f"key {place}") for place in range(100)]
    for sql, rows in (
        (FRAME, missing),
        ("INSERT INTO series (run_id, series, rank, key) VALUES (?, ?, ?, ?)", [*series, series[50]]),
    ):
        with pytest.raises(PostgresEngine(url).failures):
            writer.executemany(sql, rows)
    assert count(writer, "frame") == count(writer, "series") == 0
    writer.executemany(FRAME, missing[:-1])
    assert count(writer, "frame") == 4999


def test_text_that_is_no_text_is_its_senders_fault(writer: Connection) -> None:
    for number in (1, 10):
        with pytest.raises(ValueError, match="surrogates"):
            writer.executemany(PASS, [pass_row("\ud800")] * number)
    assert count(writer, "filter_pass") == 0


def test_a_list_of_any_length_is_one_statement(writer: Connection) -> None:
    writer.executemany(FRAME, [frame_row(f"run {place % 3}", place) for place in range(9)])
    for wanted in ([5, 2, 8], [2**63 - 1, 2, 2, 8], [1, 3], [7]):
        marks = ", ".join("?" * len(wanted))
        found = writer.execute(
            f"SELECT lo, 'IN (?, ?) 100 %' FROM frame WHERE hi >= ? AND lo IN ({marks})"
            " AND run_id IN (?, ?) AND num_rows = ? ORDER BY lo",
            (2, *wanted, "run 2", "run 1\0", 1),
        ).fetchall()
        assert [lo for lo, _ in found] == sorted({lo for lo in wanted if 2 <= lo < 9 and lo % 3 in (1, 2)})
        assert {text for _, text in found} <= {"IN (?, ?) 100 %"}
    for _ in range(20):
        for wanted in ([5, 2, 2**40], [5] * 77):
            marks = ", ".join("?" * len(wanted))
            writer.execute(f"SELECT lo FROM frame WHERE lo IN ({marks})", wanted)
    prepared = "SELECT statement FROM pg_prepared_statements WHERE statement LIKE ?"
    assert writer.execute(prepared, ("SELECT lo FROM%",)).fetchall() == [("SELECT lo FROM frame WHERE lo = ANY($1)",)]


LOSSES = {
    "dropped": lambda admin, name: admin.execute(f"DROP DATABASE {name} WITH (FORCE)"),
    "made anew": lambda admin, name: [
        admin.execute(sql) for sql in (f"DROP DATABASE {name} WITH (FORCE)", f"CREATE DATABASE {name}")
    ],
    "its tables dropped": lambda admin, name: change(admin, name, "DROP TABLE frame, tally"),
    "one table dropped": lambda admin, name: change(admin, name, "DROP TABLE command"),
    "an older copy restored": lambda admin, name: change(
        admin, name, "UPDATE meta SET value = value - 1 WHERE name = 'commit_number'"
    ),
    "another restored": lambda admin, name: change(admin, name, "UPDATE meta SET value = 7 WHERE name = 'identity'"),
}


def change(admin: "psycopg.Connection[Any]", name: str, sql: str) -> None:
    """What somebody else does in the database."""
    with psycopg.connect(host="127.0.0.1", port=admin.info.port, user=admin.info.user, dbname=name) as other:
        other.execute(sql.encode())


@pytest.mark.parametrize("loss", LOSSES)
def test_a_database_that_is_not_what_it_was_is_not_ready(
    url: str, monkeypatch: pytest.MonkeyPatch, loss: str, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(probe, "SAME_S", 0.0)
    name = url.rpartition("/")[2]

    async def scenario() -> None:
        store = SqlStore(PostgresEngine(url))
        await store.open()
        try:
            await write(store, 1, 1.0)
            await store.probe()
            with psycopg.connect(url.replace(name, "postgres"), autocommit=True) as admin:
                LOSSES[loss](admin, name)
                port = str(admin.info.port)
            for _ in range(2):
                with pytest.raises(StoreUnavailable) as caught:
                    await store.probe()
                assert not {"127.0.0.1", port, name} & set(re.split(r"[^\w.]+", caught.value.message))
            if loss != "one table dropped":
                with pytest.raises(StoreUnavailable):
                    await write(store, 2, 2.0)
        finally:
            await store.close()

    run(scenario)
    assert "recis_server.store.engines.failures" in caplog.text


def test_a_keeper_leaves_a_database_alone_that_has_taken_the_place_of_its_own(url: str) -> None:
    async def scenario() -> None:
        store = SqlStore(PostgresEngine(url))
        await store.open()
        await write(store, 1, 1.0)
        engine = PostgresEngine(url)
        assert engine.open(exclusive=False, anchor=store._anchor) == store._anchor
        other = PostgresEngine(url)
        with pytest.raises(StoreLost, match="was replaced"):
            other.open(exclusive=False, anchor=Anchor(store._anchor.identity + 1))
        worker = MaintenanceWorker(engine, Retention())
        worker.round(lambda: False)
        await store.close()
        name = url.rpartition("/")[2]
        with psycopg.connect(url.replace(name, "postgres"), autocommit=True) as admin:
            LOSSES["made anew"](admin, name)
        for _ in range(2):
            with pytest.raises((StoreLost, *engine.failures)):
                worker.round(lambda: False)
        with psycopg.connect(url) as found:
            assert found.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone() == (0,)
        worker.close()

    run(scenario)


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
        worker = MaintenanceWorker(PostgresEngine(url), Retention())
        try:
            empty = size()
            row = await store.register(greeting(), 1)
            noise = np.random.default_rng(7)
            for n in range(20):
                steps = list(range(n * 20_000, n * 20_000 + 20_000))
                await store.append(frame(row, n + 1, points(steps, loss=noise.normal(size=len(steps)).tolist())))
            while worker.round(lambda: False):
                pass
            await read(store, "loss")
            full = size()
            assert full > empty + 3_000_000
            await store.delete_run("r")
            assert not worker.round(lambda: False)
            # Each table and index keeps a few pages.
            assert size() < empty + 500_000
        finally:
            worker.close()
            await store.close()

    run(scenario)
