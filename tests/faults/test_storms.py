"""Repeated kills of the server, of its maintenance worker and of the database, while several runs stream.

Clients keep logged values only until they are acknowledged: the points at the end are those acknowledged.
"""

import asyncio
import contextlib
import os
import random
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from recis_server.store import open_store
from recis_server.store.points.chunks import CHUNK_ROWS
from recis_server.store.sql import SqlStore
from recis_server.store.values import PointsSlice

import recis.monitor
from recis.monitor import Run
from scripts.postgres import PostgresServer, postgres_server
from tests.e2e.processes import get_json, until
from tests.faults.reports import address_of, maintenance_workers, received, serve, sync
from tests.server.store.brute import Point, assert_buckets, buckets_of, width_of
from tests.server.store.points.test_compaction import assert_whole

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

NUM_KILLS = 24
REWIND = 1500
RANKS = {"one": (0,), "two": (0,), "wide": (0, 1)}
"""The runs and their ranks."""

Place = tuple[str, int]
"""A run and a rank."""
Rows = dict[int, tuple[float, int, int]]
"""By step: the value, and the times before and after it was logged."""


class Rank:
    """One process of a training: logs without pause, and restarts a few steps before where it was."""

    def __init__(self, address: str, spool: Path, run_id: str, rank: int) -> None:
        self._address = address
        self._spool = spool
        self.run_id = run_id
        self.rank = rank
        self._run: Run | None = None
        self._step = 0
        self.attempts: list[Rows] = []
        self.start()

    def start(self) -> None:
        """Start a new attempt; the spool contains what the last one has not sent."""
        if self._run is not None:
            self._run.finish(timeout_s=0.2)
            self._step = max(0, self._step - REWIND)
        os.environ.update(RANK=str(self.rank), WORLD_SIZE=str(len(RANKS[self.run_id])))
        self._run = recis.monitor.init(self._address, run_id=self.run_id, spool_dir=str(self._spool))
        self.attempts.append({})

    def log(self, num_rows: int) -> None:
        """Log two values for each of the next steps."""
        assert self._run is not None
        rows = self.attempts[-1]
        for _ in range(num_rows):
            value = len(self.attempts) * 1e6 + self._step / 7
            before = time.time_ns()
            self._run.log({"a": value, "b": -value}, self._step)
            rows[self._step] = (value, before, time.time_ns())
            self._step += 1

    def finish(self) -> None:
        """Finish the run; everything is acknowledged then, including the spools of earlier attempts."""
        assert self._run is not None
        assert self._run.finish(timeout_s=90)

    def end(self) -> None:
        """End the run, whatever the result of the test."""
        assert self._run is not None
        if self._run.is_open:
            self._run.finish(timeout_s=0.1)


class Storm:
    """A server on one store, with all processes that can be killed."""

    def __init__(self, folder: Path, options: tuple[str, ...], seed: int) -> None:
        self.random = random.Random(seed)
        self.kills: Counter[str] = Counter()
        self._folder = folder
        self._options = options
        self.server = serve(folder, "0", *options)
        self.address = address_of(self.server)
        self._port = self.address.rpartition(":")[2]

    def kill_server(self) -> None:
        self.server.process.kill()
        self.server.process.wait()
        self.server = serve(self._folder, self._port, *self._options)

    def kill_worker(self) -> None:
        # A killed one comes back a little later.
        end = time.monotonic() + 5
        while not maintenance_workers(self.server) and time.monotonic() < end:
            time.sleep(0.05)
        for pid in maintenance_workers(self.server):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                self.kills["found worker"] += 1

    def kill_both(self) -> None:
        # Both are frozen first, so that neither can react to the end of the other.
        pids = [self.server.process.pid, *maintenance_workers(self.server)]
        for how in (signal.SIGSTOP, signal.SIGKILL):
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, how)
        self.kill_server()

    def rage(self, ranks: list[Rank], ways: list[Callable[[], None]]) -> None:
        """Kill `NUM_KILLS` times, with all ranks streaming before, during and after each."""
        for number in range(NUM_KILLS):
            end = time.monotonic() + self.random.uniform(0.1, 3.0)
            while time.monotonic() < end:
                for rank in ranks:
                    rank.log(25)
                time.sleep(0.005)  # leaves the processor to the processes that are killed
            way = self.random.choice(ways)
            way()
            self.kills[way.__name__] += 1
            if number % 5 == 4:
                # Of a single rank only: in a job of several, another process of the same rank would belong to the same
                # attempt.
                self.random.choice([rank for rank in ranks if len(RANKS[rank.run_id]) == 1]).start()

    def settle(self, ranks: list[Rank], spool: Path) -> None:
        """Wait until everything is sent, including what earlier attempts left while there was no server."""
        address_of(self.server)
        for rank in ranks:
            rank.finish()

        def sent() -> bool:
            return not spool.exists() or sync(spool, self.address).returncode == 0

        until(sent, 90, "an empty spool")


@pytest.fixture
def storm(tmp_path: Path, impatient: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Storm]]:
    """Create a storm, and stop its server at the end."""
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    made: list[Storm] = []

    def make(*options: str) -> Storm:
        made.append(Storm(tmp_path / "server", options, seed=20250))
        return made[-1]

    yield make
    for one in made:
        one.server.process.kill()
        one.server.process.wait()


@contextlib.contextmanager
def streaming(address: str, spool: Path) -> Iterator[list[Rank]]:
    """All ranks of all runs."""
    ranks = [Rank(address, spool, run_id, rank) for run_id, numbers in RANKS.items() for rank in numbers]
    try:
        yield ranks
    finally:
        for rank in ranks:
            rank.end()


def wanted(attempts: list[Rows]) -> list[Rows]:
    """Return the current points, then the superseded points of each attempt."""
    speaks: Rows = {}
    lost: list[Rows] = []
    for number, rows in enumerate(attempts):
        limit = min((min(newer) for newer in attempts[number + 1 :] if newer), default=2**62)
        speaks |= {step: row for step, row in rows.items() if step < limit}
        lost.append({step: row for step, row in rows.items() if step >= limit})
    return [speaks, *filter(None, lost)]


def assert_same(found: PointsSlice, rows: Rows, sign: int) -> None:
    assert found.steps.tolist() == sorted(rows), "lost, doubled or out of place"
    values = [rows[step] for step in sorted(rows)]
    assert found.values.tolist() == [sign * value for value, _, _ in values]
    before, after = (np.array([row[column] for row in values]) for column in (1, 2))
    # The client's clock may be read slightly before the time of the point is set.
    assert bool(((found.times >= before - 10_000) & (found.times <= after + 10_000)).all())


def points_of(found: PointsSlice) -> list[Point]:
    return list(map(Point, found.steps.tolist(), found.times.tolist(), found.values.tolist()))


async def check_charts(store: SqlStore, rank: Rank, key: str, slices: Sequence[PointsSlice]) -> None:
    """Check charts of few, some and many buckets against the points, including superseded ones."""
    for most in (7, 100, 3000):
        chart = await store.chart(rank.run_id, [key], [rank.rank], None, None, most, superseded=True)
        lines = [points_of(one) for one in slices]
        assert chart.width == width_of(lines, None, None, most)
        for one, line in zip(chart.series, lines, strict=True):
            assert_buckets(one.buckets, buckets_of(line, chart.width))


def check(url: str, ranks: list[Rank]) -> None:
    """Check that every point is there once with value, step and time in all attempts and charts, and that chunks are
    consistent.
    """

    async def scenario() -> None:
        store = open_store(url, exclusive=False)
        await store.open()
        assert isinstance(store, SqlStore)
        try:
            for rank in ranks:
                for key, sign in (("a", 1), ("b", -1)):
                    _, slices = await store.points(rank.run_id, key, [rank.rank], None, None, superseded=True)
                    expected = wanted(rank.attempts)
                    assert len(slices) == len(expected)
                    for one, rows in zip(slices, expected, strict=True):
                        assert_same(one, rows, sign)
                    await check_charts(store, rank, key, slices)
            for run in RANKS:
                await store._read(lambda db, run=run: assert_whole(db, run, CHUNK_ROWS))  # type: ignore[misc]
                counts = {metric.key: metric.count for metric in await store.metrics(run)}
                total = sum(len(rows) for rank in ranks if rank.run_id == run for rows in rank.attempts)
                assert (counts["a"], counts["b"]) == (total, total)
        finally:
            await store.close()

    asyncio.run(scenario())


def check_all(storm: Storm, url: str, ranks: list[Rank]) -> None:
    for run in RANKS:
        known = received(storm.address, run)
        assert (known["missing"], known["dropped"]) == (0, 0)
        assert get_json(f"{storm.address}/api/v1/runs/{run}")["state"] == "finished"
    check(url, ranks)


def test_a_server_on_a_file_that_is_killed_again_and_again_has_everything_once(
    tmp_path: Path, storm: Callable[..., Storm]
) -> None:
    one = storm()
    path = tmp_path / "server" / "data" / "recis.db"
    with streaming(one.address, tmp_path / "spool") as ranks:
        one.rage(ranks, [one.kill_server, one.kill_worker, one.kill_both])
        one.settle(ranks, tmp_path / "spool")
        check_all(one, f"sqlite:///{path}", ranks)
    assert one.kills["found worker"] >= 4, one.kills
    assert one.server.interrupt() == 0
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert db.execute("SELECT count(*) FROM chunk").fetchone() > (20,)
    db.close()


@pytest.fixture
def database() -> Iterator[PostgresServer]:
    """A separate PostgreSQL server, because it will crash."""
    with postgres_server(durable=True) as server:
        yield server


def test_a_server_on_postgresql_and_its_database_are_killed_again_and_again(
    tmp_path: Path, storm: Callable[..., Storm], database: PostgresServer
) -> None:
    url = database.make_database()
    one = storm("--store", url + "?partitions=3")

    def crash_database() -> None:
        database.stop(signal.SIGQUIT)
        database.start()

    def stop_database() -> None:
        database.stop()
        database.start()

    with streaming(one.address, tmp_path / "spool") as ranks:
        one.rage(ranks, [one.kill_server, one.kill_worker, one.kill_both, crash_database, stop_database])
        one.settle(ranks, tmp_path / "spool")
        check_all(one, url, ranks)
    assert one.kills["crash_database"] >= 2, one.kills
    assert one.server.interrupt() == 0
