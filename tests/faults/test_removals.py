"""Deletion and retention with the real command, while other runs stream: all data is removed and its space freed."""

import asyncio
import math
import sqlite3
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from recis_server.store.engines.sqlite import SqliteEngine
from recis_server.store.sql import SqlStore
from recis_server.store.values import StoredFrame

import recis.monitor
from recis.wire.codec import column
from recis.wire.messages import Event, Frame, Hello, Line, Pass, Points
from tests.e2e.processes import get_json, until
from tests.faults.reports import Reported, address_of, count, serve

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

DAY_NS = 86_400 * 10**9
ROWS = 100_000


async def fill(path: Path, runs: dict[str, str], num_frames: int, time_ns: int) -> None:
    """Fill a store with runs of given projects: each has `2 * num_frames * ROWS` points with the same time."""
    store = SqlStore(SqliteEngine(path))
    await store.open()
    for run, project in runs.items():
        row = await store.register(Hello(run=run, writer=f"w-{run}", attempt="a", project=project), time_ns)
        for number in range(num_frames):
            steps = range(number * ROWS, number * ROWS + ROWS)
            values = [math.sin(step) for step in steps] * 2
            times = column([time_ns] * ROWS, "<i8")
            points = Points(("loss", "qps"), column(steps, "<i8"), times, column(values, "<f8"))
            rest = (
                Line(time_ns=time_ns, text="x"),
                Event(kind="alert", level="info", time_ns=time_ns, text="x"),
                Pass("user", number, time_ns, None, 1, 0, 1, 0, 0.5, 8),
            )
            await store.append(StoredFrame(row, Frame(n=number + 1, records=(points, *rest)), time_ns))
    await store.close()


def query(path: Path, sql: str) -> Any:
    with sqlite3.connect(path) as db:
        row = db.execute(sql).fetchone()
    db.close()
    return row


def tables_with(path: Path, run: str) -> set[str]:
    """Return the tables that have rows of this run."""
    with sqlite3.connect(path) as db:
        names = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        of_runs = [name for name in names if any(c[1] == "run_id" for c in db.execute(f"PRAGMA table_info({name})"))]
        found = {name for name in of_runs if db.execute(f"SELECT 1 FROM {name} WHERE run_id = ?", (run,)).fetchone()}
    db.close()
    return found


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The data folder of a server that is not yet started."""
    folder = tmp_path / "server" / "data"
    folder.mkdir(parents=True)
    return folder


@pytest.mark.usefixtures("impatient")
def test_a_deleted_run_of_five_million_points_leaves_nothing_while_another_streams(data: Path, tmp_path: Path) -> None:
    path = data / "recis.db"
    asyncio.run(fill(path, {"old": "p", "kept": "p"}, 25, time.time_ns()))
    with serve(tmp_path / "server") as server:
        address = address_of(server)
        with recis.monitor.init(address, run_id="old", spool_dir=str(tmp_path / "spool")) as run:
            run.log({"loss": 1.0}, 3_000_000)
            run.control("lr", type="float", value=1.0, on_change=lambda value: None)
            trace = tmp_path / "local-rank0-timeline-1.json"
            trace.write_text('{"traceEvents": []}' + " " * 100_000)
            run.upload_trace(trace, 1)
            until(lambda: get_json(f"{address}/api/v1/runs/old/traces")["traces"], 30, "the trace")
        assert [file for file in (data / "blobs").rglob("*") if file.is_file()]
        assert count(address, "old", "loss") == 2_500_001
        until(lambda: query(path, "SELECT count(*) FROM frame") == (0,), 120, "everything cold")
        assert {"chunk", "axis", "pyramid", "line", "event", "filter_pass", "trace", "control"} < tables_with(
            path, "old"
        )
        size = path.stat().st_size
        reported = Reported(recis.monitor.init(address, run_id="new", spool_dir=str(tmp_path / "spool")))
        answers: list[int] = []

        def delete() -> None:
            request = urllib.request.Request(f"{address}/api/v1/runs/old", method="DELETE")
            with urllib.request.urlopen(request, timeout=60) as answer:
                answers.append(answer.status)

        thread = threading.Thread(target=delete)
        thread.start()
        while thread.is_alive():
            reported.log(100)
            time.sleep(0.005)
        thread.join()
        assert answers == [200]
        assert tables_with(path, "old") == set()
        assert [file for file in (data / "blobs").rglob("*") if file.is_file()] == []
        assert list((data / "uploads").iterdir()) == []
        with pytest.raises(urllib.error.HTTPError, match="404"):
            get_json(f"{address}/api/v1/runs/old")
        assert reported.run.finish(timeout_s=60)
        reported.check(address)
        until(lambda: path.stat().st_size < size * 6 // 10, 60, "the space given back")
        assert count(address, "kept", "loss") == 2_500_000
        assert path.with_name("recis.db-wal").stat().st_size <= 80 << 20
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    db.close()


@pytest.mark.usefixtures("impatient")
def test_raw_points_go_after_their_days_and_charts_stay(data: Path, tmp_path: Path) -> None:
    path = data / "recis.db"
    runs = {"usual": "p", "short": "ads", "long": "kept=long"}
    asyncio.run(fill(path, runs, 4, time.time_ns() - 20 * DAY_NS))
    with serve(tmp_path / "server") as server:
        address = address_of(server)
        until(lambda: query(path, "SELECT count(*) FROM frame") == (0,), 60, "everything cold")
        before = {run: chart(address, run) for run in runs}
        size = path.stat().st_size
    options = [text for rule in ("30", "ads=7.5", "kept=long=forever") for text in ("--retain-raw", rule)]
    with serve(tmp_path / "server", "0", *options) as server:
        address = address_of(server)
        reported = Reported(recis.monitor.init(address, run_id="new", spool_dir=str(tmp_path / "spool")))

        def gone() -> bool:
            reported.log(100)
            return query(path, "SELECT count(data) FROM chunk WHERE run_id = 'short'") == (0,)

        until(gone, 60, "the raw points of one run gone")
        assert reported.run.finish(timeout_s=60)
        reported.check(address)
        assert {run: chart(address, run) for run in runs} == before
        assert resolution(address, "short") > 1
        assert resolution(address, "usual") == resolution(address, "long") == 1
        assert "line" not in tables_with(path, "short")
        assert "filter_pass" not in tables_with(path, "short")
        assert {"line", "filter_pass", "event"} < tables_with(path, "usual") & tables_with(path, "long")
        until(lambda: path.stat().st_size < size * 9 // 10, 60, "the space given back")


def chart(address: str, run: str) -> Any:
    """Return the whole series in few buckets."""
    return get_json(f"{address}/api/v1/runs/{run}/series?key=loss&points=100")["series"]


def resolution(address: str, run: str) -> int:
    """Return the width of the buckets of the first thousand steps."""
    [series] = get_json(f"{address}/api/v1/runs/{run}/series?key=loss&start=0&stop=1000&points=2000")["series"]
    return int(max(series["count"]))


@pytest.mark.parametrize("rule", ["soon", "p=", "=3", "-1"])
def test_a_rule_that_is_none_is_told_in_one_line(tmp_path: Path, rule: str) -> None:
    with serve(tmp_path / "server", "0", f"--retain-raw={rule}") as server:
        assert server.wait(60) == 2
        assert server.output.count("\n") == 1
        assert "--retain-raw: expected DAYS or PROJECT=DAYS" in server.output
