"""Full disks, on the side of the training and on the server's.

A limit on the size of files (`RLIMIT_FSIZE`, set while the process runs) simulates the full disk: writes beyond it
fail, and setting it needs no privileges.
"""

import logging
import resource
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

import recis.monitor
from recis.bridge import sender
from tests.children import start
from tests.e2e.processes import RunningCommand, get_json, until
from tests.faults.reports import Reported, address_of, count, counts, meter, received, serve, stored

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

NO_ROOM = 64 << 10
UNLIMITED = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)

FULL_SPOOL = """
import resource, sys, time
import recis.monitor
address, spool, limit_from, steps = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
run = recis.monitor.init(address, run_id="full-spool", spool_dir=spool)
for step in range(steps):
    if step == limit_from:
        resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 10, resource.RLIM_INFINITY))
    run.log({"a": float(step), "b": step / 3}, step)
print("logged", run.dropped, flush=True)
sys.stdin.readline()
run.log({"a": float(steps), "b": steps / 3}, steps)
print(run.finish(timeout_s=60), run.failures, flush=True)
"""


class FullSpool:
    """A training whose disk becomes full, and that waits for a line on its standard input before it ends."""

    def __init__(self, address: str, spool: Path, *, limit_from: int, steps: int) -> None:
        arguments = [address, str(spool), str(limit_from), str(steps)]
        self.process = start("-c", FULL_SPOOL, *arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def line(self) -> list[str]:
        assert self.process.stdout is not None
        return self.process.stdout.readline().split()

    def end(self) -> list[str]:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        words = self.line()
        assert self.process.wait(30) == 0
        return words

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self.process:
            self.process.kill()


def _steps(address: str) -> list[int]:
    points = stored(address, "full-spool", "a")
    assert all(value == float(step) for step, value in points)
    steps = [step for step, _ in points]
    assert steps == sorted(set(steps)), "doubled or out of place"
    return steps


def test_a_full_spool_disk_loses_nothing_while_the_server_is_there(tmp_path: Path) -> None:
    with serve(tmp_path / "server") as server:
        address = address_of(server)
        with FullSpool(address, tmp_path / "spool", limit_from=0, steps=300_000) as training:
            assert training.line()[0] == "logged"
            assert training.end() == ["True", "0"]
        assert _steps(address) == list(range(300_001))
        assert received(address, "full-spool") == {"points": 2 * 300_001, "missing": 0, "dropped": 0}


def test_a_spool_disk_that_fills_up_drops_the_oldest_and_the_server_hears_how_many(tmp_path: Path) -> None:
    """No server for 2.6 M points and no disk for most of them: what fits into memory is kept, the rest is dropped and
    counted.
    """
    steps = 1_300_000
    folder = tmp_path / "server"
    with serve(folder) as first:
        address = address_of(first)
    with FullSpool(address, tmp_path / "spool", limit_from=200_000, steps=steps) as training:
        word, dropped = training.line()
        assert word == "logged"
        assert int(dropped) > 0
        with serve(folder, address.rpartition(":")[2]) as server:
            assert address_of(server) == address
            assert training.end() == ["True", "0"]
            kept = _steps(address)
            known = received(address, "full-spool")
    assert kept == list(range(kept[0], steps + 1)), "what is kept is the newest, without a hole"
    assert known["points"] == 2 * len(kept)
    assert known["points"] + known["dropped"] == 2 * (steps + 1), "a lost point that was not counted"


class FullDisk:
    """Takes the disk space from a running process, and gives it back."""

    def __init__(self, server: RunningCommand) -> None:
        self._pid = server.process.pid

    def begin(self) -> None:
        resource.prlimit(self._pid, resource.RLIMIT_FSIZE, (NO_ROOM, resource.RLIM_INFINITY))

    def end(self) -> None:
        resource.prlimit(self._pid, resource.RLIMIT_FSIZE, UNLIMITED)


@pytest.fixture
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "BACKOFF_S", (0.05, 0.5))


def log_until_full(reported: Reported, server: RunningCommand) -> None:
    def refused() -> bool:
        reported.log(500)
        return "was not kept" in server.output

    until(refused, 30, "a frame that the server could not keep")


@pytest.mark.usefixtures("quick_retries")
def test_a_server_without_room_loses_nothing_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    with serve(tmp_path / "server") as server:
        address = address_of(server)
        reported = Reported(recis.monitor.init(address, run_id="room", spool_dir=str(tmp_path / "spool")))
        reported.log(100)
        until(lambda: count(address, "room", "value") == 100, 30, "the first points")
        disk = FullDisk(server)
        for _ in range(2):
            disk.begin()
            log_until_full(reported, server)
            assert get_json(f"{address}/healthz"), "a full disk is no end"
            assert count(address, "room", "value") >= 100, "what is stored can be read"
            disk.end()
            before = count(address, "room", "value")
            until(lambda before=before: count(address, "room", "value") > before, 30, "new points")  # type: ignore[misc]
        assert reported.run.finish(timeout_s=30)
        reported.check(address)
        assert meter(address, "recis_points_total") == sum(counts(address, "room").values()), "committed twice"


@pytest.mark.usefixtures("quick_retries")
def test_a_server_without_room_that_is_killed_has_everything_after_its_restart(tmp_path: Path) -> None:
    folder = tmp_path / "server"
    server = serve(folder)
    address = address_of(server)
    reported = Reported(recis.monitor.init(address, run_id="room", spool_dir=str(tmp_path / "spool")))
    reported.log(2000)
    until(lambda: count(address, "room", "value") == 2000, 30, "the first points")
    FullDisk(server).begin()
    log_until_full(reported, server)
    server.process.kill()
    server.process.wait()
    reported.log(1000)
    with serve(folder, address.rpartition(":")[2]) as again:
        assert address_of(again) == address
        assert reported.run.finish(timeout_s=30)
        reported.check(address)


@pytest.mark.usefixtures("quick_retries")
def test_a_trace_that_finds_no_room_on_the_server_is_sent_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "recis.bridge.sender")
    trace = tmp_path / "big-rank0-timeline-7.json"
    trace.write_bytes(b'{"traceEvents": [' + b"{}," * 200_000 + b"{}]}")
    with serve(tmp_path / "server") as server:
        address = address_of(server)
        with recis.monitor.init(address, run_id="trace-room", spool_dir=str(tmp_path / "spool")) as run:
            run.log({"value": 1.0}, 1)
            until(lambda: count(address, "trace-room", "value") == 1, 30, "the run")
            disk = FullDisk(server)
            disk.begin()
            run.upload_trace(trace, 7)
            until(lambda: "upload was interrupted" in caplog.text, 30, "an upload that was refused")
            disk.end()
            until(lambda: traces(address, "trace-room"), 30, "the trace")
        [row] = traces(address, "trace-room")
        assert row["size"] == trace.stat().st_size


def traces(address: str, run: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = get_json(f"{address}/api/v1/runs/{run}/traces")["traces"]
    return found
