"""A rank is killed and restarted while the others continue: it stays in its attempt, and its newer values count."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.children import start
from tests.e2e.processes import get_json, until
from tests.faults.reports import address_of, counts, events, raw_series, received, serve, sync

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

RANK = """
import sys
import recis.monitor
url, spool, first, last, sign = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
run = recis.monitor.init(url, run_id="job", spool_dir=spool)
for step in range(first, last):
    run.log({"loss": sign * float(step)}, step)
print("logged", flush=True)
for line in sys.stdin:
    if line == "more\\n":
        for step in range(last, last + 100):
            run.log({"loss": sign * float(step)}, step)
        last += 100
        print("logged", flush=True)
sys.exit(0 if run.finish(timeout_s=60) else 1)
"""
LONG = 400_000
"""Steps whose frames take much longer to send than a short training."""


class Rank:
    """A process of the job; all have the same parent process, like the ranks of a launcher."""

    def __init__(self, rank: int, url: str, spool: Path, first: int, last: int, sign: int = 1) -> None:
        command = ["-c", RANK, url, str(spool), str(first), str(last), str(sign)]
        launch = {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
        environment = {key: value for key, value in os.environ.items() if not key.startswith("RECIS_")}
        self.process = start(*command, env=environment | launch, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def wait_until_logged(self) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "logged\n"

    def log_more(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("more\n")
        self.process.stdin.flush()
        self.wait_until_logged()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def finish(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self.process.wait(90) == 0


@contextmanager
def ranks() -> Iterator[list[Rank]]:
    """A list of ranks; those added to it end with the test."""
    started: list[Rank] = []
    try:
        yield started
    finally:
        for rank in started:
            with rank.process:
                rank.process.kill()


def check(address: str, spool: Path, steps: dict[int, dict[int, float]]) -> None:
    """Check that there is one attempt, with every rank's values at its steps."""
    if spool.exists():
        assert sync(spool, address).returncode == 0
    run = get_json(f"{address}/api/v1/runs/job")
    assert (run["ranks"], run["attempts"], run["state"]) == ([0, 1], 1, "finished")
    assert events(address, "job", "attempt") == []
    assert events(address, "job", "rank_conflict") == []
    found = {
        series["rank"]: dict(zip(series["x"], series["last"], strict=True))
        for series in raw_series(address, "job", "loss")
    }
    for rank, values in steps.items():
        wrong = [step for step, value in values.items() if found[rank].get(step) != value]
        assert not wrong, f"rank {rank}: {len(wrong)} steps from {wrong[0]} on have another value"
        assert found[rank].keys() == values.keys()
    assert received(address, "job")["missing"] == 0
    assert received(address, "job")["dropped"] == 0


def test_a_rank_that_is_started_again_alone_shows_its_newer_values(tmp_path: Path) -> None:
    """The killed process left many values, which must not replace those of the steps trained again."""
    spool = tmp_path / "spool"
    with serve(tmp_path / "server") as server, ranks() as started:
        address = address_of(server)
        other = Rank(0, address, spool, 0, 1000)
        killed = Rank(1, "http://127.0.0.1:9", spool, 0, LONG)
        started += [other, killed]
        other.wait_until_logged()
        killed.wait_until_logged()
        killed.kill()
        again = Rank(1, address, spool, LONG - 1000, LONG + 1000, -1)
        started.append(again)
        again.wait_until_logged()
        other.log_more()
        again.finish()
        other.finish()
        check(
            address,
            spool,
            {
                0: {step: float(step) for step in range(1100)},
                1: {step: float(step if step < LONG - 1000 else -step) for step in range(LONG + 1000)},
            },
        )


def test_a_rank_that_is_killed_in_mid_stream_and_started_again_joins_the_others(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    with serve(tmp_path / "server") as server, ranks() as started:
        address = address_of(server)
        started += [Rank(rank, address, spool, 0, 50_000) for rank in (0, 1)]
        for rank in started:
            rank.wait_until_logged()
        until(lambda: counts(address, "job").get("loss", 0) > 0, 60, "points on the server")
        for sign, first in ((-1, 30_000), (1, 20_000), (-1, 10_000)):
            started[-1].kill()
            started.append(Rank(1, address, spool, first, 50_000, sign))
            started[-1].wait_until_logged()
        started[0].log_more()
        started[-1].finish()
        started[0].finish()
        check(
            address,
            spool,
            {
                0: {step: float(step) for step in range(50_100)},
                1: {step: float(step if step < 10_000 else -step) for step in range(50_000)},
            },
        )


def test_spools_of_one_rank_are_sent_in_the_order_of_their_starts(tmp_path: Path) -> None:
    """With `sync` too, even if an interrupted one has modified the older folder last."""
    spool = tmp_path / "spool"
    with ranks() as started:
        for first, sign in ((0, 1), (500, -1), (800, 1)):
            started.append(Rank(1, "http://127.0.0.1:9", spool, first, 1000, sign))
            started[-1].wait_until_logged()
            started[-1].kill()
    oldest = min(spool.iterdir(), key=lambda path: (path / "writer.json").stat().st_mtime_ns)
    (oldest / "touched").touch()
    (oldest / "touched").unlink()
    with serve(tmp_path / "server") as server:
        address = address_of(server)
        assert sync(spool, address).returncode == 0
        [series] = raw_series(address, "job", "loss")
        assert series["last"] == [float(-step if 500 <= step < 800 else step) for step in range(1000)]


def test_two_processes_that_claim_one_rank_are_an_event(tmp_path: Path) -> None:
    with serve(tmp_path / "server") as server, ranks() as started:
        address = address_of(server)
        started += [Rank(1, address, tmp_path / f"spool-{number}", 0, 100) for number in (0, 1)]
        for rank in started:
            rank.wait_until_logged()
        until(lambda: get_json(f"{address}/api/v1/runs")["runs"], 60, "the run on the server")

        def conflicts() -> list[dict[str, Any]]:
            started[0].log_more()
            return events(address, "job", "rank_conflict")

        until(lambda: bool(conflicts()), 60, "the conflict is noted")
        for rank in started:
            rank.finish()
        [event] = events(address, "job", "rank_conflict")
        assert (event["rank"], event["level"]) == (1, "warning")
        assert all(f"process {rank.process.pid} on " in event["text"] for rank in started)
