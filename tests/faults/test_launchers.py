"""Jobs of every kind of launcher: all processes are ranks of one run, and no two jobs share a run."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts.ports import free_port
from tests.e2e.processes import get_json
from tests.faults.reports import address_of, raw_series, serve

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

TRAIN = """
import os, sys
import recis.monitor

run = recis.monitor.init(project=sys.argv[1])
for step in range(20):
    run.log({"loss": 1000.0 * run.rank + step}, step)
run.finish(timeout_s=60)
if len(sys.argv) > 2:  # how often to fail
    sys.exit(int(os.environ["TORCHELASTIC_RESTART_COUNT"]) < int(sys.argv[2]))
"""

SPAWN = """
import os, sys
import torch.distributed as dist, torch.multiprocessing as mp
import recis.monitor

def main(rank, port):
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    with recis.monitor.init(project=sys.argv[1]) as run:
        for step in range(20):
            run.log({"loss": 1000.0 * run.rank + step}, step)
    dist.destroy_process_group()

if __name__ == "__main__":
    for port in sys.argv[2:]:
        mp.start_processes(main, (int(port),), nprocs=2, start_method="fork")  # as mp.spawn, sooner
"""

LIGHTNING = """
import os, subprocess, sys
import recis.monitor

children = []
if "LOCAL_RANK" not in os.environ:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=sys.argv[2], NODE_RANK="0", LOCAL_RANK="0", WORLD_SIZE="3")
    for rank in ("1", "2"):
        children.append(subprocess.Popen([sys.executable, *sys.argv], env=os.environ | {"LOCAL_RANK": rank}))
with recis.monitor.init(project=sys.argv[1]) as run:
    for step in range(20):
        run.log({"loss": 1000.0 * run.rank + step}, step)
for child in children:
    assert child.wait() == 0
"""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serve(tmp_path_factory.mktemp("server")) as running:
        yield address_of(running)


class Machine:
    """A folder in which jobs start, with its own folder for temporary files."""

    def __init__(self, folder: Path, address: str) -> None:
        self._folder = folder
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("RECIS_", "SLURM_"))}
        self._environment = inherited | {"RECIS_MONITOR_URL": address, "TMPDIR": str(folder), "OMP_NUM_THREADS": "1"}

    def start(self, text: str, *arguments: str, launch: tuple[str, ...] = (), **variables: object) -> Any:
        script = self._folder / "train.py"
        script.write_text(text, encoding="utf-8")
        return subprocess.Popen(
            [sys.executable, *launch, str(script), *arguments],
            cwd=self._folder,
            env=self._environment | {key: str(value) for key, value in variables.items()},
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: Any, **options: Any) -> None:
        """Start a job, or the ranks of one, and wait until it succeeds."""
        self.wait(self.start(*arguments, **options))

    def wait(self, *processes: Any) -> None:
        for process in processes:
            _, errors = process.communicate(timeout=120)
            assert process.returncode == 0, errors[-3000:]


@pytest.fixture
def machine(tmp_path: Path, address: str) -> Machine:
    return Machine(tmp_path, address)


def torchrun(*options: str) -> tuple[str, ...]:
    return ("-m", "torch.distributed.run", "--nproc-per-node", "2", *options)


def runs_of(address: str, project: str, *, ranks: int = 2) -> dict[str, int]:
    """Return the runs of a project and their attempts, after checking that each has all ranks with all points."""
    runs = get_json(f"{address}/api/v1/runs?project={project}")["runs"]
    for run in runs:
        assert run["ranks"] == list(range(ranks))
        assert run["world_size"] == ranks
        for series in raw_series(address, run["id"], "loss"):
            assert series["last"] == [1000.0 * series["rank"] + step for step in range(20)]
        assert len(raw_series(address, run["id"], "loss")) == ranks
    return {run["id"]: run["attempts"] for run in runs}


def test_one_command_twice_in_an_allocation_that_is_preempted_then(address: str, machine: Machine) -> None:
    for count in ({}, {}, {"SLURM_RESTART_COUNT": 1}):
        machine.run(TRAIN, "preempted", launch=torchrun("--standalone"), SLURM_JOB_ID=4242, **count)
    assert sorted(runs_of(address, "preempted").values()) == [1, 2]


def test_torchrun_that_starts_its_processes_again(address: str, machine: Machine) -> None:
    machine.run(TRAIN, "elastic", "1", launch=torchrun("--max-restarts", "1", "--standalone"))
    assert list(runs_of(address, "elastic").values()) == [2]


def test_processes_that_are_spawned_and_join_a_group(address: str, machine: Machine) -> None:
    port = str(free_port())
    machine.run(SPAWN, "spawned", port, port)
    assert list(runs_of(address, "spawned").values()) == [1, 1]


def test_a_process_that_starts_the_others_as_lightning_does(address: str, machine: Machine) -> None:
    for _ in range(2):
        machine.run(LIGHTNING, "lightning", "29633")
    assert list(runs_of(address, "lightning", ranks=3).values()) == [1, 1]


@pytest.mark.parametrize(
    ("launcher", "rank", "size", "common"),
    [
        ("srun", "SLURM_PROCID", "SLURM_NTASKS", {"SLURM_JOB_ID": 77}),
        ("mpirun", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", {}),
        ("mpiexec", "PMI_RANK", "PMI_SIZE", {"SLURM_JOB_ID": 78}),
    ],
)
def test_processes_that_are_numbered_by_variables(
    address: str, machine: Machine, launcher: str, rank: str, size: str, common: dict[str, Any]
) -> None:
    numbered: list[dict[str, Any]] = [common | {rank: number, size: 2} for number in range(2)]
    started = [machine.start(TRAIN, launcher, **variables) for variables in numbered]
    machine.wait(*started)
    assert list(runs_of(address, launcher).values()) == [1]
