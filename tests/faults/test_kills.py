"""Kill the server, kill the trainer, start again: every value for which `log` returned is stored exactly once."""

import json
import random
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

import recis.monitor
from tests.children import start
from tests.e2e.processes import RunningCommand, get_json, until
from tests.faults.proxy import Proxy
from tests.faults.reports import Reported, address_of, count, received, serve, stored, sync
from tests.recis.bridge.conftest import Spooled

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

TIGHT_LOOP = """
import sys
import urllib.request
from collections.abc import Callable
import recis.monitor
run = recis.monitor.init(sys.argv[1], run_id="killed", spool_dir=sys.argv[2])
step = 0
while True:
    run.log({"a": float(step), "b": step / 3}, step)
    if step % 500 == 0:
        print(step, flush=True)
    step += 1
"""

COUNTED_LOOP = """
import mmap, os, sys
import recis.monitor
spool, counter = sys.argv[1:]
with open(counter, "r+b") as file:
    logged = memoryview(mmap.mmap(file.fileno(), 8)).cast("q")
run = recis.monitor.init(mode="offline", run_id="counted", spool_dir=spool)
names = [[f"metric/{number}" for number in range(width)] for width in (1, 10, 200, 2049, 5000)]
step = 0
while True:
    metrics = dict.fromkeys(names[step // 100 % 5], float(step))
    metrics["metric/0"] = step / 3
    run.log(metrics, step)
    logged[0] = step
    step += 1
"""

TRACES = """
import sys, time
import recis.monitor
run = recis.monitor.init(sys.argv[1], run_id="traces", spool_dir=sys.argv[2])
for number, path in enumerate(sys.argv[3:], 1):
    run.log({"a": float(number)}, number)
    run.upload_trace(path, number)
print("there", flush=True)
time.sleep(600)
"""


def kill_with_traces(address: str, spool: Path, traces: list[Path], enough: Callable[[], bool]) -> None:
    """Run a training that has traces to send, and kill it as soon as `enough` is true."""
    arguments = [address, str(spool), *map(str, traces)]
    with start("-c", TRACES, *arguments, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "there\n"
        until(enough, 60, "enough for the kill")
        process.send_signal(signal.SIGKILL)


def make_traces(folder: Path, sizes: list[int]) -> list[Path]:
    """Create files that look like traces and cannot be compressed."""
    paths = []
    for number, size in enumerate(sizes):
        paths.append(folder / f"local-rank0-timeline-{number}.json")
        text = json.dumps({"traceEvents": [{"name": random.Random(number).randbytes(size // 2).hex(), "ph": "M"}]})
        paths[-1].write_text(text)
    return paths


def check_traces(address: str, traces: list[Path]) -> None:
    rows = get_json(f"{address}/api/v1/runs/traces/traces")["traces"]
    assert sorted(row["name"] for row in rows) == sorted(path.name for path in traces)
    for path in traces:
        [row] = [row for row in rows if row["name"] == path.name]
        with urllib.request.urlopen(f"{address}/api/v1/traces/{row['id']}/download", timeout=30) as answer:
            assert answer.read() == path.read_bytes(), "not the bytes that the training wrote"


def kill_trainer(address: str, spool: Path, at_least: int) -> int:
    """Run the tight loop, kill it, and return the last step that it is known to have logged."""
    with start("-c", TIGHT_LOOP, address, str(spool), stdout=subprocess.PIPE) as process:
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


def test_servers_that_follow_each_other_on_the_same_data_have_everything_once(tmp_path: Path) -> None:
    """Each is stopped while receiving, and drains; the next one continues from there."""
    folder = tmp_path / "server"
    server = serve(folder)
    address = address_of(server)
    reported = Reported(recis.monitor.init(address, run_id="follow", spool_dir=str(tmp_path / "spool")))
    for number in range(1, 4):

        def streaming(number: int = number) -> bool:
            reported.log(200)
            return count(address, "follow", "value") >= 3000 * number

        until(streaming, 60, "points on the server")
        assert server.interrupt() == 0
        reported.log(500)
        server = serve(folder, address.rpartition(":")[2])
        assert address_of(server) == address
    with server:
        assert reported.run.finish(timeout_s=60)
        reported.check(address)


def test_a_trainer_killed_in_a_tight_loop_is_completed_by_sync(tmp_path: Path) -> None:
    with serve(tmp_path / "server") as server:
        address = address_of(server)
        last = kill_trainer(address, tmp_path / "spool", 200_000)
        done = sync(tmp_path / "spool", address)
        assert done.returncode == 0, done.stderr
        assert ": sent" in done.stdout
        assert not (tmp_path / "spool").exists()
        check_killed(address, last)


def test_a_trainer_killed_at_any_moment_has_in_its_spool_all_that_it_has_logged(tmp_path: Path) -> None:
    """Reports of all widths and several segments; the number of calls that returned survives in a file."""
    moments = random.Random(12)
    for number in range(12):
        spool, counter = tmp_path / f"spool{number}", tmp_path / f"counter{number}"
        counter.write_bytes((-1).to_bytes(8, sys.byteorder, signed=True))

        def logged(counter: Path = counter) -> int:
            return int.from_bytes(counter.read_bytes(), sys.byteorder, signed=True)

        with start("-c", COUNTED_LOOP, str(spool), str(counter)) as process:
            until(lambda: logged() >= 0, 60, "the first call")
            time.sleep(moments.uniform(0.0, 0.35))  # the moment of the kill does not matter
            process.send_signal(signal.SIGKILL)
        values = Spooled(spool).values()
        found = sorted(values["metric/0"])
        assert len(found) - 1 in (logged(), logged() + 1), "a call that returned left nothing"
        assert found == [(step, step / 3) for step in range(len(found))], "lost, doubled or out of place"
        wide = [(step, float(step)) for step in range(logged() + 1) if step // 100 % 5 == 4]
        assert sorted(values.get("metric/4999", []))[: len(wide)] == wide, "a part of a report is lost"
        assert not list(spool.rglob("set-aside")), "a report that was cut short is no damage"


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


def test_traces_that_waited_when_their_training_was_killed_are_sent_by_sync(tmp_path: Path) -> None:
    traces = make_traces(tmp_path, [1000, 3_000_000, 10])
    kill_with_traces("http://127.0.0.1:9", tmp_path / "spool", traces, lambda: True)
    with serve(tmp_path / "server") as server:
        address = address_of(server)
        done = sync(tmp_path / "spool", address)
        assert done.returncode == 0, done.stdout + done.stderr
        check_traces(address, traces)
        assert stored(address, "traces", "a") == [(number, float(number)) for number in (1, 2, 3)]
    assert not (tmp_path / "spool").exists()


def test_an_upload_cut_by_the_kill_of_its_training_goes_on_where_it_was(tmp_path: Path) -> None:
    traces = make_traces(tmp_path, [8_000_000])
    size = traces[0].stat().st_size
    with serve(tmp_path / "server") as server:
        address = address_of(server)
        with Proxy(int(address.rpartition(":")[2])) as proxy:
            proxy.bytes_per_s = 4_000_000.0

            def half_way() -> bool:
                return any(1_000_000 < link.moved["up"] < size // 2 for link in proxy.links)

            kill_with_traces(proxy.address, tmp_path / "spool", traces, half_way)
            until(lambda: not any(link.is_open for link in proxy.links), 30, "the connections of the killed process")
            proxy.bytes_per_s = None
            before = len(proxy.links)
            assert sync(tmp_path / "spool", proxy.address).returncode == 0
            check_traces(address, traces)
            assert sum(link.moved["up"] for link in proxy.links[before:]) < size - 500_000, "sent from its start"


def test_a_summary_survives_the_kill_of_its_server(tmp_path: Path) -> None:
    """The server is killed as soon as the traces are listed: the next one continues with the pending summaries."""
    event = '{"ph":"X","cat":"cpu_op","name":"op","pid":1,"tid":1,"ts":1,"dur":2000}'
    files = {"whole.json": f"[{','.join([event] * 200_000)}]", "cut.json": f"[{event}, {event[:20]}"}
    for name, text in files.items():
        (tmp_path / name).write_text(text)

    def summaries(address: str) -> dict[str, str]:
        try:
            rows = get_json(f"{address}/api/v1/runs/traces/traces")["traces"]
        except urllib.error.HTTPError:  # not known yet
            return {}
        return {row["name"]: row["summary_state"] for row in rows if row["state"] == "ready"}

    with serve(tmp_path / "server") as server:
        address = address_of(server)
        with recis.monitor.init(address, run_id="traces", spool_dir=str(tmp_path / "spool")) as run:
            run.log({"a": 1.0}, 1)
            for step, name in enumerate(files):
                run.upload_trace(tmp_path / name, step)
        until(lambda: len(summaries(address)) == 2, 60, "both traces")
        server.process.kill()
    with serve(tmp_path / "server") as last:
        address = address_of(last)
        until(lambda: "pending" not in summaries(address).values(), 60, "their summaries")
        assert summaries(address) == {"whole.json": "ready", "cut.json": "failed"}


def test_a_note_of_a_trace_that_is_damaged_holds_up_nothing_and_is_no_success(tmp_path: Path) -> None:
    traces = make_traces(tmp_path, [1000, 2000])
    kill_with_traces("http://127.0.0.1:9", tmp_path / "spool", traces, lambda: True)
    torn, _ = sorted((tmp_path / "spool").rglob("trace-*.json"))
    torn.write_bytes(torn.read_bytes()[:20])
    with serve(tmp_path / "server") as server:
        address = address_of(server)
        done = sync(tmp_path / "spool", address)
        named = [line for line in done.stderr.splitlines() if torn.name in line]
        assert (done.returncode, len(named)) == (3, 1), done.stderr
        assert "lost 0 values and 1 other record; see" in done.stdout
        check_traces(address, traces[1:])
        assert stored(address, "traces", "a") == [(1, 1.0), (2, 2.0)]


def test_a_second_server_is_refused_while_the_first_lives_and_takes_over_when_it_is_killed(tmp_path: Path) -> None:
    folder = tmp_path / "server"
    first = serve(folder)
    address = address_of(first)
    port = address.rpartition(":")[2]
    reported = Reported(recis.monitor.init(address, run_id="two", spool_dir=str(tmp_path / "spool")))
    reported.log(1000)
    until(lambda: count(address, "two", "value") == 1000, 60, "points on the first")
    second = RunningCommand(folder, "serve")
    assert second.wait(60) == 2
    assert f"in use by process {first.process.pid}" in second.output
    reported.log(1000)
    until(lambda: count(address, "two", "value") == 2000, 60, "points on the first, undisturbed")
    first.process.kill()
    first.process.wait()
    reported.log(1000)
    with serve(folder, port) as third:
        assert address_of(third) == address
        reported.log(1000)
        assert reported.run.finish(timeout_s=60)
        reported.check(address)
