"""A run restarted under its `run_id`: newer values count, older ones are kept and marked, whenever they arrive."""

import csv
import io
import json
import signal
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import recis.monitor
from tests.children import Child, start
from tests.e2e.processes import get_json, until
from tests.faults.reports import address_of, count, events, received, serve, stored, sync

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

TRAINING = """
import sys
import time
import recis.monitor
url, spool, first, sign, wait_at = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
run = recis.monitor.init(url, run_id="r", spool_dir=spool)
for step in range(first, 1000):
    run.log({"loss": sign * float(step)}, step)
    if step == wait_at:
        print(step, flush=True)
        time.sleep(600)
sys.exit(0 if run.finish() else 1)
"""


def train(address: str, spool: Path, first: int, sign: int, wait_at: int = -1) -> Child:
    """Start a training process from a step on; it reports when it reaches `wait_at`, and waits there."""
    arguments = [address, str(spool), str(first), str(sign), str(wait_at)]
    return start("-c", TRAINING, *arguments, stdout=subprocess.PIPE)


def train_until_killed(address: str, spool: Path, kill_at: int, on_server: bool = True) -> None:
    """Run a training and kill it when it has logged `kill_at` and a part of its values may be on the server."""
    with train(address, spool, 0, 1, kill_at) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"{kill_at}\n"
        if on_server:
            until(lambda: has_points(address), 60, "points of the first attempt")
        process.send_signal(signal.SIGKILL)


def has_points(address: str) -> bool:
    try:
        return count(address, "r", "loss") > 0
    except urllib.error.HTTPError:
        return False  # the run is not known yet


def get_text(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        text: str = answer.read().decode()
    return text


def ghosts(address: str) -> list[dict[str, Any]]:
    url = f"{address}/api/v1/runs/r/series?key=loss&points=0&superseded=true"
    return [one for one in get_json(url)["series"] if one["superseded"]]


def check_resumed(address: str, killed_at: int, old: int, new: int) -> None:
    """Check a run whose attempt `old` trained steps 0 to `killed_at`, and attempt `new` from 500 to the end."""
    assert stored(address, "r", "loss") == [(step, float(step if step < 500 else -step)) for step in range(1000)]
    [ghost] = ghosts(address)
    assert (ghost["attempt"], ghost["x"]) == (old, list(range(500, killed_at + 1)))
    assert ghost["last"] == [float(step) for step in ghost["x"]]
    run = get_json(f"{address}/api/v1/runs/r")
    assert (run["attempts"], run["state"], run["last_step"], run["summary"]["loss"]) == (2, "finished", 999, -999.0)
    assert received(address, "r") == {"points": killed_at + 1 + 500, "missing": 0, "dropped": 0}
    [event] = events(address, "r", "attempt")
    assert event["data"] == {"attempt": 2}
    rows = list(csv.DictReader(io.StringIO(get_text(f"{address}/api/v1/runs/r/export?format=csv&key=loss"))))
    marked = [(int(row["attempt"]), int(row["step"]), float(row["value"]), row["superseded"]) for row in rows]
    assert marked == [
        *((old, step, float(step), "0") for step in range(500)),
        *((new, step, -float(step), "0") for step in range(500, 1000)),
        *((old, step, float(step), "1") for step in range(500, killed_at + 1)),
    ]
    lines = get_text(f"{address}/api/v1/runs/r/export?format=jsonl&key=loss").splitlines()
    assert [json.loads(line)["superseded"] for line in lines] == [row["superseded"] == "1" for row in rows]
    with urllib.request.urlopen(f"{address}/api/v1/runs/r/export?format=parquet&key=loss", timeout=10) as answer:
        table = pq.read_table(io.BytesIO(answer.read())).to_pydict()
    columns = [table["attempt"], table["step"], table["value"], [str(int(mark)) for mark in table["superseded"]]]
    assert list(zip(*columns, strict=True)) == marked


def test_a_killed_run_that_is_started_again_shows_the_newer_steps_and_keeps_the_older(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    with serve(tmp_path / "server") as server:
        address = address_of(server)
        train_until_killed(address, spool, 700)
        with train(address, spool, 500, -1) as again:
            assert again.wait(60) == 0
        if spool.exists():  # the data that the killed one left, if the second one ended before sending it
            assert sync(spool, address).returncode == 0
        check_resumed(address, 700, 1, 2)


def test_an_attempt_that_the_server_hears_of_late_does_not_win_over_the_one_after_it(tmp_path: Path) -> None:
    """The first attempt had no server, and is sent after the second has ended: its values are the older ones."""
    with serve(tmp_path / "server") as server:
        address = address_of(server)
        train_until_killed("http://127.0.0.1:9", tmp_path / "elsewhere", 700, on_server=False)
        with train(address, tmp_path / "spool", 500, -1) as again:
            assert again.wait(60) == 0
        assert get_json(f"{address}/api/v1/runs/r")["attempts"] == 1
        assert sync(tmp_path / "elsewhere", address).returncode == 0
        check_resumed(address, 700, 2, 1)


def test_three_attempts_sent_in_the_wrong_order_end_in_the_right_one(tmp_path: Path) -> None:
    for number, (first, last) in enumerate([(0, 90), (40, 80), (60, 70)]):
        spool = str(tmp_path / f"spool{number}")
        with recis.monitor.init(mode="offline", run_id="r", spool_dir=spool) as run:
            for step in range(first, last):
                run.log({"loss": number + step / 1000}, step)
    with serve(tmp_path / "server") as server:
        address = address_of(server)
        for number in (2, 0, 1):
            assert sync(tmp_path / f"spool{number}", address).returncode == 0
        newest = [0] * 40 + [1] * 20 + [2] * 10
        assert stored(address, "r", "loss") == [(step, number + step / 1000) for step, number in enumerate(newest)]
        assert [(one["attempt"], one["x"]) for one in ghosts(address)] == [
            (2, list(range(40, 90))),  # the first one
            (3, list(range(60, 80))),
        ]
