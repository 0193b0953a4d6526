"""Several processes of one training: forked and spawned workers, ranks of a launcher, runs opened and closed."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import recis.monitor
from tests.e2e.processes import RunningCommand, get_json, until
from tests.faults.reports import address_of, count, raw_series, received, serve, stored

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

WORKERS = """
import os, sys
import torch.utils.data
import recis.monitor
from recis.framework.metrics import add_metric


class Data(torch.utils.data.Dataset):
    def __len__(self):
        return 400

    def __getitem__(self, number):
        add_metric("from_a_worker", 1.0)
        recis.monitor.log({"from_a_worker": 1.0}, number)
        run = globals().get("run")
        if run is not None:  # inherited by fork
            run.log({"from_a_worker": 1.0}, number)
            run.alert("from a worker")
            assert run.finish()
        return number


if __name__ == "__main__":
    address, spool, context = sys.argv[1:]
    run = recis.monitor.init(address, run_id=f"workers-{context}", spool_dir=spool)
    step = 0
    for _ in range(3):
        loader = torch.utils.data.DataLoader(
            Data(), batch_size=10, num_workers=2, multiprocessing_context=context, persistent_workers=False
        )
        for batch in loader:
            run.log({"value": step / 3}, step)
            step += 1
    assert run.finish(timeout_s=30)
"""

RANKS = """
import os, sys
import recis.monitor
address, spool, distributed = sys.argv[1:]
if distributed == "joined":
    import torch.distributed
    torch.distributed.init_process_group("gloo")
run = recis.monitor.init(address, project=distributed, spool_dir=spool)
for step in range(500):
    run.log({"loss": step + 1000.0 * run.rank}, step)
assert run.rank == int(os.environ["RANK"])
assert run.finish(timeout_s=60)
if distributed == "joined":
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
"""

SURVIVING_CHILD = """
import os, signal, sys, time
import recis.monitor
run = recis.monitor.init(sys.argv[1], run_id="parent", spool_dir=sys.argv[2])
run.log({"value": 1.0}, 1)
child = os.fork()
if child == 0:
    time.sleep(600)
print(child, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


FORKED = """
import multiprocessing, sys
import recis.monitor

def train(number):
    run = recis.monitor.init(sys.argv[1], run_id=f"forked-{number}", spool_dir=sys.argv[2])
    run.log({"value": 1.0}, 1)

if __name__ == "__main__":
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=train, args=(number,)) for number in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join()
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCommand]:
    with serve(tmp_path_factory.mktemp("server")) as running:
        address_of(running)
        yield running


def run_python(script: Path, text: str, *arguments: str, launch: tuple[str, ...] = ()) -> None:
    """Run a script, which must succeed; without settings of the monitor and with one thread per process."""
    script.write_text(text, encoding="utf-8")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RECIS_")}
    done = subprocess.run(
        [sys.executable, *launch, str(script), *arguments],
        env={**environment, "OMP_NUM_THREADS": "1", "RECIS_MONITOR_COLLECT": "none"},
        cwd=script.parent,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_loader_worker_that_logs_never_touches_the_sender(
    server: RunningCommand, tmp_path: Path, method: str
) -> None:
    address = address_of(server)
    run_python(tmp_path / "train.py", WORKERS, address, str(tmp_path / "recis-spool"), method)
    assert stored(address, f"workers-{method}", "value") == [(step, step / 3) for step in range(120)]
    assert count(address, f"workers-{method}", "from_a_worker") == 0
    assert received(address, f"workers-{method}") == {"points": 120, "missing": 0, "dropped": 0}
    assert get_json(f"{address}/api/v1/runs/workers-{method}")["state"] == "finished"


def test_runs_of_forked_processes_that_just_return_are_there_and_finished(
    server: RunningCommand, tmp_path: Path
) -> None:
    address = address_of(server)
    run_python(tmp_path / "train.py", FORKED, address, str(tmp_path / "spool"))
    for number in range(3):
        assert get_json(f"{address}/api/v1/runs/forked-{number}")["state"] == "finished"
        assert stored(address, f"forked-{number}", "value") == [(1, 1.0)]
    assert not (tmp_path / "spool").exists()


def test_a_forked_child_that_outlives_a_killed_parent_does_not_keep_its_spool(
    server: RunningCommand, tmp_path: Path
) -> None:
    spool = tmp_path / "recis-spool"
    with subprocess.Popen(
        [sys.executable, "-c", SURVIVING_CHILD, "http://127.0.0.1:9", str(spool)], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        try:
            parent.wait(30)
            address = address_of(server)
            with recis.monitor.init(address, run_id="after", spool_dir=str(spool)):
                until(lambda: len(list(spool.glob("*/writer.json"))) == 1, 30, "what the parent left is sent")
            assert stored(address, "parent", "value") == [(1, 1.0)]
        finally:
            os.kill(child, 9)


@pytest.mark.parametrize("distributed", ["joined", "apart"])
def test_four_ranks_of_a_launcher_are_one_run(server: RunningCommand, tmp_path: Path, distributed: str) -> None:
    address = address_of(server)
    launch = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=4")
    run_python(tmp_path / "rank.py", RANKS, address, str(tmp_path / "spool"), distributed, launch=launch)
    [run] = get_json(f"{address}/api/v1/runs?project={distributed}")["runs"]
    assert (run["ranks"], run["world_size"], run["attempts"], run["state"]) == ([0, 1, 2, 3], 4, 1, "finished")
    for series in raw_series(address, run["id"], "loss"):
        assert series["x"] == list(range(500))
        assert series["last"] == [step + 1000.0 * series["rank"] for step in range(500)]
    assert [series["rank"] for series in raw_series(address, run["id"], "loss")] == [0, 1, 2, 3]
    assert received(address, run["id"]) == {"points": 2000, "missing": 0, "dropped": 0}
    assert not (tmp_path / "spool").exists()


@pytest.mark.parametrize(
    ("ending", "status", "state", "message"),
    [
        ("raise ValueError('the loss\\nis a string')", 1, "failed", "ValueError: the loss\nis a string"),
        ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)", 143, "failed", "Terminated: SIGTERM"),
        ("sys.exit(0)", 0, "finished", ""),
        ("sys.exit('no data')", 1, "failed", "SystemExit: no data"),
        ("run.finish(); run.finish(); run.log({'value': 1.0}, 11)", 0, "finished", ""),
    ],
    ids=["exception", "SIGTERM", "exit", "failing exit", "finished twice"],
)
def test_how_a_training_ends_is_on_the_server_with_all_that_it_reported(
    server: RunningCommand, tmp_path: Path, ending: str, status: int, state: str, message: str
) -> None:
    address = address_of(server)
    run_id = f"end-{status}-{len(ending)}"
    code = (
        "import os, signal, sys, time, recis.monitor\n"
        f"run = recis.monitor.init({address!r}, run_id={run_id!r}, spool_dir={str(tmp_path / 'spool')!r})\n"
        "for step in range(10):\n    run.log({'value': float(step)}, step)\n" + ending
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == status, done.stderr
    run = get_json(f"{address}/api/v1/runs/{run_id}")
    assert run["state"] == state
    assert stored(address, run_id, "value") == [(step, float(step)) for step in range(10)]
    assert not (tmp_path / "spool").exists()
    assert run["message"] == message
    if ending.startswith("run.finish"):
        assert "finish was called twice" in done.stderr
        assert "called after finish" in done.stderr


def open_files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def test_fifty_runs_opened_and_closed_leave_no_thread_socket_or_file(server: RunningCommand, tmp_path: Path) -> None:
    address = address_of(server)
    spool = tmp_path / "spool"

    def one(number: int) -> None:
        with recis.monitor.init(address, run_id=f"loop-{number}", spool_dir=str(spool)) as run:
            run.log({"value": float(number)}, number)

    one(0)  # modules that the first one loads permanently
    threads, files = threading.active_count(), open_files(os.getpid())
    of_server = open_files(server.process.pid)
    for number in range(1, 51):
        one(number)
    assert threading.active_count() <= threads
    assert open_files(os.getpid()) <= files
    until(lambda: open_files(server.process.pid) <= of_server, 20, "the server's sockets closed")
    assert not spool.exists()
    assert all(stored(address, f"loop-{number}", "value") == [(number, number)] for number in range(51))
