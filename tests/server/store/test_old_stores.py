"""Stores of earlier versions, opened by this one."""

import math
import sqlite3
import struct
from pathlib import Path

import pytest
from recis_server.store.engines.engine import Connection
from recis_server.store.engines.postgres import PostgresEngine, _Connection
from recis_server.store.engines.postgres_dialect import convert
from recis_server.store.engines.schema import MIGRATIONS
from recis_server.store.points.compaction import compact

from tests.server.store.databases import engine_of
from tests.server.store.streams import SECOND, frame, greeting, opened, points, read, run

pytestmark = pytest.mark.usefixtures("every_engine")


@pytest.fixture(scope="session")
def postgres_templates() -> dict[str, str]:
    """Databases without tables, which these tests make as earlier versions did."""
    return dict.fromkeys(("", "?partitions=3"), "template1")


def make_version(version: int, folder: Path) -> Connection:
    """An empty store as that version made it, and a connection that may write."""
    engine = engine_of(folder)
    connection = engine.connect_writer()
    scripts = [part for parts in MIGRATIONS[:version] for part in parts if isinstance(part, str)]
    if isinstance(engine, PostgresEngine):
        assert isinstance(connection, _Connection)
        for script in scripts:
            connection.script(convert(script, engine._num_partitions))
        connection.script("CREATE TABLE schema_version (version BIGINT NOT NULL)")
        connection.script(f"INSERT INTO schema_version VALUES ({version})")
    else:
        assert isinstance(connection, sqlite3.Connection)
        for script in scripts:
            connection.executescript(script)
        connection.execute(f"PRAGMA user_version = {version}")
    return connection


def make_version_2(folder: Path) -> None:
    """A store as version 2 wrote it: a run of two attempts, one series in two key sets, the other with NaN last."""
    connection = make_version(2, folder)
    connection.execute(
        "INSERT INTO run VALUES ('r', 'default', 'r', 'running', '', 1, 5, 1, 2, 12, '[]', '', '{}', 7, 0)"
    )
    for number in (1, 2):
        connection.execute("INSERT INTO attempt VALUES ('r', ?, ?, ?)", (f"a{number}", number, number))
        connection.execute(
            "INSERT INTO stream VALUES ('r', ?, 0, ?, 2, 0, 'running', '', '', 0, '', ?)",
            (f"w{number}", number, number),
        )
    connection.execute("INSERT INTO series VALUES ('r', 1, 0, 'loss', 4, 0, 10, 12, 2, 0.5)")
    connection.execute("INSERT INTO series VALUES ('r', 2, 0, 'lr', 3, 1, 10, 11, 2, NULL)")
    for series, keyset, position in ((1, 1, 0), (2, 1, 1), (1, 2, 0)):
        connection.execute("INSERT INTO keyset VALUES ('r', ?, ?, ?)", (series, keyset, position))
    for attempt, keyset, steps, values in (
        (1, 1, [10], [8.0, 9.0]),
        (2, 1, [10, 11], [1.0, 2.0, 3.0, math.nan]),
        (2, 2, [12], [0.5]),
    ):
        times = struct.pack(f"<{len(steps)}q", *(step * SECOND for step in steps))
        connection.execute(
            "INSERT INTO frame (run_id, keyset, attempt, lo, hi, num_rows, steps, times, data)"
            " VALUES ('r', ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                keyset,
                attempt,
                steps[0],
                steps[-1],
                len(steps),
                struct.pack(f"<{len(steps)}q", *steps),
                times,
                struct.pack(f"<{len(values)}d", *values),
            ),
        )
    connection.close()


def test_a_store_of_version_2_keeps_what_it_knows_of_its_series(tmp_path: Path) -> None:
    async def scenario() -> None:
        make_version_2(tmp_path)
        async with opened(tmp_path) as store:
            loss, lr = await store.metrics("r")
            assert (loss.key, loss.count, loss.nan_count, loss.first_step, loss.last_step) == ("loss", 4, 0, 10, 12)
            assert (lr.key, lr.count, lr.nan_count, lr.first_step, lr.last_step) == ("lr", 3, 1, 10, 11)
            assert loss.last_value == 0.5
            assert math.isnan(lr.last_value)
            assert await read(store, "loss") == [(10, 1.0), (11, 2.0), (12, 0.5)]

    run(scenario)


def test_a_store_of_version_2_goes_on(tmp_path: Path) -> None:
    async def scenario() -> None:
        make_version_2(tmp_path)
        async with opened(tmp_path) as store:
            stream = await store.register(greeting(writer="w2", attempt="a2"), 9)
            assert (stream.acked, stream.attempt) == (2, 2)
            await store.append(frame(stream, 3, points([12], loss=[7.0], lr=[8.0]), points([13], lr=[4.0])))
            loss, lr = await store.metrics("r")
            assert (loss.count, loss.last_step, loss.last_value) == (5, 12, 7.0)
            assert (lr.count, lr.nan_count, lr.last_step, lr.last_value) == (5, 1, 13, 4.0)
            # An older attempt's points, late: counted, but they do not speak.
            old = await store.register(greeting(writer="w1", attempt="a1"), 9)
            await store.append(frame(old, 3, points([99], loss=[1.0])))
            loss, _ = await store.metrics("r")
            assert (loss.count, loss.last_step, loss.last_value) == (6, 12, 7.0)
            before = repr((await read(store, "loss"), await read(store, "lr")))
        engine = engine_of(tmp_path)
        engine.open(exclusive=True)
        reader, writer = engine.connect_reader(), engine.connect_writer()
        assert compact(engine, reader, writer, "r")
        reader.close()
        writer.close()
        engine.close()
        async with opened(tmp_path) as store:
            assert repr((await read(store, "loss"), await read(store, "lr"))) == before
            assert await store._read(lambda db: db.execute("SELECT count(*) FROM frame").fetchone()) == (0,)

    run(scenario)


def test_a_store_of_version_3_summarises_again_what_it_cannot_show(tmp_path: Path) -> None:
    summaries = {
        "none": "null",
        "good": '{"events":1}',
        "surrogate": '{"name":"\\ud800"}',
        "NaN": '{"wall_ms":NaN}',
        "large": '{"name":"' + "x" * 70_000 + '"}',
    }

    async def scenario() -> None:
        connection = make_version(3, tmp_path)
        connection.execute("INSERT INTO run VALUES ('r', 'p', 'r', 'running', '', 1, 5, 1, 1, 1, '[]', '', '{}', 0, 0)")
        for name, text in summaries.items():
            connection.execute(
                "INSERT INTO trace VALUES (?, 'r', 'a.json', 0, 1, 5, 10, '', 'ready', 7, 'traces/x', ?)", (name, text)
            )
        connection.close()
        async with opened(tmp_path) as store:
            states = {row.id: (row.summary_state, row.summary) for row in await store.traces("r")}
            pending = [row.id for row in await store.traces_to_summarise("", None, 9)]
        assert states.pop("good") == ("ready", {"events": 1})
        assert states == dict.fromkeys(["none", "surrogate", "NaN", "large"], ("pending", None))
        assert sorted(pending) == ["NaN", "large", "none", "surrogate"]

    run(scenario)
