"""Frozen processes and clock changes: a frozen server costs training nothing, a clock that goes back moves no point."""

import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import recis.monitor
from recis.bridge import sender, sockets
from tests.e2e.processes import RunningCommand, until
from tests.faults.reports import address_of, count, raw_series, received, serve

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

CALLS = 10_000
METRICS = {f"metric/{number}": float(number) for number in range(10)}

JUMPING_CLOCK = """
import sys, time
true_time_ns, offset_ns = time.time_ns, 0
time.time_ns = lambda: true_time_ns() + offset_ns
import recis.monitor  # by now all of it reads this clock
from recis.bridge import fast_path, row_writer
fast_path.RowWriter = row_writer.PlainRowWriter  # the compiled one asks the system itself
run = recis.monitor.init(sys.argv[1], run_id="clock", spool_dir=sys.argv[2])
for step in range(3000):
    if step == 1000:
        offset_ns = -3600 * 10**9
    if step == 2000:
        offset_ns = 2 * 3600 * 10**9
    run.log({"offset": offset_ns / 1e9, "at": time.time_ns() / 1e9}, step)
    if step % 250 == 0:
        time.sleep(0.3)  # several flushes before and after each jump
assert run.finish(timeout_s=30)
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningCommand]:
    with serve(tmp_path / "server") as running:
        yield running
        running.process.send_signal(signal.SIGCONT)


def cost_us(run: recis.monitor.Run, first: int) -> float:
    """Return the median time of a call, in microseconds."""
    times = []
    for step in range(first, first + CALLS):
        began = time.perf_counter_ns()
        run.log(METRICS, step)
        times.append(time.perf_counter_ns() - began)
    return statistics.median(times) / 1e3


@pytest.mark.alone
def test_a_frozen_server_costs_training_nothing_and_gets_everything_later(
    server: RunningCommand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "BACKOFF_S", (0.1, 0.5))
    address = address_of(server)
    run = recis.monitor.init(address, run_id="frozen", spool_dir=str(tmp_path / "spool"))
    warm, up = cost_us(run, 0), cost_us(run, CALLS)
    until(lambda: count(address, "frozen", "metric/0") > 0, 30, "points on the server")
    server.process.send_signal(signal.SIGSTOP)
    frozen = [cost_us(run, (2 + part) * CALLS) for part in range(4)]
    server.process.send_signal(signal.SIGCONT)
    again = cost_us(run, 6 * CALLS)
    # These are medians of the same loop in the same process: the noise of a busy machine is well below the factor.
    assert max(frozen) < 3 * max(warm, up, again), (warm, up, frozen, again)
    assert run.finish(timeout_s=60)
    [series] = raw_series(address, "frozen", "metric/9")
    assert series["x"] == list(range(7 * CALLS))
    assert set(series["last"]) == {9.0}
    assert received(address, "frozen") == {"points": 7 * CALLS * 10, "missing": 0, "dropped": 0}


@pytest.mark.alone
def test_a_run_ends_in_time_though_the_server_is_frozen(
    server: RunningCommand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = address_of(server)
    threads = threading.active_count()
    connected = recis.monitor.init(address, run_id="connected", spool_dir=str(tmp_path / "spool"))
    connected.log(METRICS, 0)
    until(lambda: count(address, "connected", "metric/0") == 1, 30, "the run on the server")
    server.process.send_signal(signal.SIGSTOP)
    # The second one does not get past its greeting: the kernel accepts the connection, but nothing answers.
    greeting = recis.monitor.init(address, run_id="greeting", spool_dir=str(tmp_path / "spool"))
    for run in (connected, greeting):
        run.log(METRICS, 1)
        began = time.monotonic()
        assert not run.finish(timeout_s=1.0)
        assert time.monotonic() - began < 1.0 + sockets.CLOSE_S + 1.5
    until(lambda: threading.active_count() <= threads, 5, "no thread left")
    server.process.send_signal(signal.SIGCONT)
    with recis.monitor.init(address, run_id="later", spool_dir=str(tmp_path / "spool")) as later:
        later.log(METRICS, 0)
        until(lambda: count(address, "greeting", "metric/0") == 1, 30, "what was left over")
        until(lambda: count(address, "connected", "metric/0") == 2, 30, "what was left over")


def test_points_keep_the_times_they_were_logged_with_when_the_clock_jumps(
    server: RunningCommand, tmp_path: Path
) -> None:
    address = address_of(server)
    subprocess.run([sys.executable, "-c", JUMPING_CLOCK, address, str(tmp_path / "spool")], check=True, timeout=90)
    [offsets], [clock] = raw_series(address, "clock", "offset"), raw_series(address, "clock", "at")
    assert offsets["x"] == clock["x"] == list(range(3000))
    assert offsets["last"] == [0.0] * 1000 + [-3600.0] * 1000 + [7200.0] * 1000
    late = [at - logged for at, logged in zip(clock["time"], clock["last"], strict=True)]
    assert min(late) + 1e-5 >= 0
    assert max(late) < 1, "a point has the time of another clock"
    assert received(address, "clock") == {"points": 6000, "missing": 0, "dropped": 0}
