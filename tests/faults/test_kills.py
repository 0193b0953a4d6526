"""Kill the server, kill the trainer, start again: every value for which `log` returned is stored exactly once."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import recis.monitor
from tests.e2e.processes import get_json, until
from tests.faults.reports import address_of, count, received, serve, stored, sync

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

TIGHT_LOOP = """
import sys
import recis.monitor
run = recis.monitor.init(sys.argv[1], run_id="killed", spool_dir=sys.argv[2])
step = 0
while True:
    run.log({"a": float(step), "b": step / 3}, step)
    if step % 500 == 0:
        print(step, flush=True)
    step += 1
"""


def kill_trainer(address: str, spool: Path, at_least: int) -> int:
    """Runs the tight loop, kills it, and returns the last step that it is known to have logged."""
    with subprocess.Popen(
        [sys.executable, "-c", TIGHT_LOOP, address, str(spool)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) >= at_least:
                break
        process.send_signal(signal.SIGKILL)
        rest = re.findall(r"(\d+)\n", process.stdout.read())
    return int(rest[-1]) if rest else at_least


def check_killed(address: str, last: int) -> None:
    steps = stored(address, "killed", "a")
    assert [step for step, _ in steps] == list(range(len(steps))), "lost, doubled or out of place"
    assert len(steps) > last
    assert all(value == float(step) for step, value in steps)
    assert received(address, "killed") == {"points": 2 * len(steps), "missing": 0, "dropped": 0}


def test_a_server_killed_twice_in_mid_stream_has_everything_once(tmp_path: Path) -> None:
    steps = 0
    server = serve(tmp_path / "server")
    address = address_of(server)
    run = recis.monitor.init(address, run_id="mid", spool_dir=str(tmp_path / "spool"))

    def log_until(enough: int) -> bool:
        nonlocal steps
        for _ in range(50):
            run.log({"loss": steps / 7}, steps)
            steps += 1
        try:
            return count(address, "mid", "loss") >= enough
        except OSError:
            return False

    port = address.rpartition(":")[2]
    for enough in (500, 2000):
        until(lambda enough=enough: log_until(enough), 60, f"{enough} points on the server")  # type: ignore[misc]
        server.process.kill()
        server.process.wait()
        for _ in range(2000):
            run.log({"loss": steps / 7}, steps)
            steps += 1
        server = serve(tmp_path / "server", port)
        address_of(server)
    with server:
        assert run.finish(timeout_s=60)
        points = stored(address, "mid", "loss")
        assert points == [(step, step / 7) for step in range(steps)]
        assert received(address, "mid") == {"points": steps, "missing": 0, "dropped": 0}
        assert get_json(f"{address}/api/v1/runs/mid")["state"] == "finished"
    assert not (tmp_path / "spool").exists()


def test_a_trainer_killed_in_a_tight_loop_is_completed_by_sync(tmp_path: Path) -> None:
    with serve(tmp_path / "server") as server:
        address = address_of(server)
        last = kill_trainer(address, tmp_path / "spool", 200_000)
        done = sync(tmp_path / "spool", address)
        assert done.returncode == 0, done.stderr
        assert ": sent" in done.stdout
        assert not (tmp_path / "spool").exists()
        check_killed(address, last)


def test_a_trainer_killed_while_the_server_is_away_is_completed_by_the_next_start(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    last = kill_trainer("http://127.0.0.1:9", spool, 100_000)
    with serve(tmp_path / "server") as server:
        address = address_of(server)
        with recis.monitor.init(address, run_id="next", spool_dir=str(spool)) as run:
            run.log({"a": 1.0}, 1)
            until(lambda: len(list(spool.glob("*/writer.json"))) == 1, 60, "the left-over folder gone")
        check_killed(address, last)
        assert count(address, "next", "a") == 1


def test_an_offline_run_is_sent_by_sync_and_sync_can_be_repeated(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    with recis.monitor.init(run_id="offline", spool_dir=str(spool), mode="offline") as run:
        for step in range(1000):
            run.log({"a": float(step)}, step)
    unreachable = sync(spool, "http://127.0.0.1:9")
    assert unreachable.returncode == 1
    assert "NOT sent, kept" in unreachable.stdout
    with serve(tmp_path / "server") as server:
        address = address_of(server)
        sent = sync(spool, address)
        assert (sent.returncode, sent.stdout.count(": sent")) == (0, 1)
        assert stored(address, "offline", "a") == [(step, float(step)) for step in range(1000)]
    nothing = sync(spool, address)
    assert nothing.returncode == 2
    assert "expected a spool folder" in nothing.stderr
