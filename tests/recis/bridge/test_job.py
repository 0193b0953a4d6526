"""`recis.bridge.job`: which trainings belong to one run, and which do not."""

import os
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch.distributed

from recis import launch
from recis.bridge import job as job_module
from recis.bridge.job import Job, find_job
from recis.launch import Place
from recis.wire.codec import is_id
from tests.recis.test_launch import LAUNCHERS

ALONE = Place()


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which nothing has been started yet."""
    for name in list(os.environ):
        if name.startswith((*LAUNCHERS, "TORCHELASTIC_")):
            monkeypatch.delenv(name)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


class Machine:
    """Starts jobs of several ranks; settings apply to the following jobs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.set = monkeypatch.setenv
        self._patch = monkeypatch.setattr
        self._launcher = 1000
        self._newest = 5000

    def start(self, size: int = 2, *, source: str = "RANK", opening: int = 0, words: str = "train.py") -> Job:
        """Start a launcher and its job; check that all its ranks find the same."""
        self._launcher += 1
        return self.ranks(size, source=source, opening=opening, words=words)

    def ranks(self, size: int = 2, *, source: str = "RANK", opening: int = 0, words: str = "train.py") -> Job:
        """Start the ranks of the current launcher, or restart them."""
        self._patch(launch, "launcher_pid", lambda _: self._launcher)
        self._patch(launch, "started_at", lambda pid: f"at {pid}")
        self._patch(sys, "argv", words.split())
        self._newest += 0 if opening else size
        found = set()
        for rank in range(size):
            self._patch(os, "getpid", lambda pid=self._newest - rank: pid)
            found.add(find_job(Place(rank, size, source) if size > 1 else ALONE, opening))
        assert len(found) == 1
        [job] = found
        assert is_id(job.run)
        assert is_id(job.start)
        return job


@pytest.fixture
def on(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


def runs(*jobs: Job) -> int:
    """Return the number of runs, after checking that every job is a separate start."""
    assert len({job.start for job in jobs}) == len(jobs)
    return len({job.run for job in jobs})


def test_without_a_launcher_each_opening_is_a_run(on: Machine) -> None:
    assert runs(on.start(1), on.ranks(1), on.ranks(1, opening=1)) == 3


def test_without_a_batch_system_each_launch_is_a_run(on: Machine) -> None:
    assert runs(on.start(), on.start(), on.ranks(opening=1)) == 3
    on.set("MASTER_PORT", "29501")
    first = on.start()
    on.set("MASTER_PORT", "29502")
    assert runs(first, on.ranks()) == 2


def test_ranks_that_are_started_again_by_the_same_launcher_stay_in_their_start(on: Machine) -> None:
    assert on.start() == on.ranks()


@pytest.mark.parametrize("source", ["SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "PMI_RANK", "LOCAL_RANK"])
@pytest.mark.parametrize("allocation", [False, True])
def test_a_launcher_that_starts_no_rank_twice_may_start_one_job_after_the_other(
    on: Machine, source: str, allocation: bool
) -> None:
    if allocation:
        on.set("SLURM_JOB_ID", "4242")
    first = [on.start(source=source), on.ranks(source=source), on.start(source=source)]
    assert runs(*first) == 3
    if allocation:
        on.set("SLURM_RESTART_COUNT", "1")
        again = [on.start(source=source), on.ranks(source=source), on.start(source=source)]
        assert [job.run for job in again] == [job.run for job in first]
        assert runs(*again, *first) == 3


def test_torchrun_that_starts_its_processes_again_keeps_the_run(on: Machine) -> None:
    for name in ("none", "nightly", "0d6e1a34-3c5e-4d2c-9d0a-6b3f8f9a7c11"):
        on.set("TORCHELASTIC_RUN_ID", name)
        on.set("TORCHELASTIC_RESTART_COUNT", "0")
        on.set("MASTER_PORT", "29501")
        first = on.start()
        on.set("TORCHELASTIC_RESTART_COUNT", "1")
        on.set("MASTER_PORT", "29502")
        assert runs(first, on.ranks()) == 1
        assert (first.run == name) == (name != "none")


def test_a_name_that_was_given_to_torchrun_names_the_run(on: Machine) -> None:
    on.set("TORCHELASTIC_RUN_ID", "nightly")
    assert runs(on.start(), on.start(), on.start(1)) == 1
    assert on.start(1).run == "nightly"
    assert on.start(opening=1).run == "nightly-r2"


@pytest.mark.parametrize("elastic", [None, "none", "4242", "17", "0d6e1a34-3c5e-4d2c-9d0a-6b3f8f9a7c11"])
@pytest.mark.parametrize("size", [1, 2])
def test_trainings_of_one_allocation_are_apart_and_found_again_when_it_was_preempted(
    on: Machine, elastic: str | None, size: int
) -> None:
    on.set("SLURM_JOB_ID", "4242")
    if elastic is not None:
        on.set("TORCHELASTIC_RUN_ID", elastic)

    def script() -> list[Job]:
        """Start the jobs of a batch script: settings, one setting twice, and several runs of one training."""
        lines = [on.start(size, words=f"train.py --lr {lr}") for lr in ("0.1", "0.2", "0.2")]
        return [*lines, on.ranks(size, words="train.py --lr 0.2", opening=1)]

    first = script()
    assert runs(*first) == 4
    assert all(job.run.startswith("slurm-4242") for job in first)
    for count in ("1", "2"):
        on.set("SLURM_RESTART_COUNT", count)
        again = script()
        assert [job.run for job in again] == [job.run for job in first]
        assert runs(*again, *first) == 4


def test_another_allocation_and_another_task_of_an_array_are_other_runs(on: Machine) -> None:
    on.set("SLURM_JOB_ID", "4242")
    first = on.start(1)
    on.set("SLURM_JOB_ID", "4243")
    second = on.start(1)
    on.set("SLURM_ARRAY_JOB_ID", "4242")
    on.set("SLURM_ARRAY_TASK_ID", "7")
    third = on.start(1)
    assert third.run.startswith("slurm-4242_7-")
    assert runs(first, second, third) == 3


def test_steps_of_an_allocation_are_runs_by_themselves(on: Machine) -> None:
    on.set("SLURM_JOB_ID", "4242")
    on.set("SLURM_STEP_ID", "0")
    first = on.start(4, source="SLURM_PROCID")
    assert first.run == "slurm-4242.0"
    assert first == on.start(4, source="SLURM_PROCID")  # on another machine: other parents, the same step
    on.set("SLURM_STEP_ID", "1")
    assert runs(first, on.start(4, source="SLURM_PROCID")) == 2
    on.set("SLURM_STEP_ID", "0")
    on.set("SLURM_RESTART_COUNT", "1")
    assert runs(first, on.start(4, source="SLURM_PROCID")) == 1


def test_a_folder_that_cannot_be_written_is_a_warning(
    on: Machine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    on.set("SLURM_JOB_ID", "4242")
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    assert on.start(1).run.startswith("slurm-4242-")
    assert "cannot distinguish this training from others started in the same way" in caplog.text


def test_ranks_on_several_machines_have_in_common_what_their_launcher_says(
    on: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    on.set("MASTER_ADDR", "node-1")
    on.set("MASTER_PORT", "29500")
    assert on.start(4) == on.start(4)  # on two machines
    assert "nothing distinguishes the starts of a job on several machines" in caplog.text
    caplog.clear()
    on.set("PMIX_NAMESPACE", "prterun-node-1-77@1")
    first = on.start(4, source="OMPI_COMM_WORLD_RANK")
    assert first == on.start(4, source="OMPI_COMM_WORLD_RANK")
    on.set("PMIX_NAMESPACE", "prterun-node-1-78@1")
    assert runs(first, on.start(4, source="OMPI_COMM_WORLD_RANK")) == 2
    assert caplog.text == ""


def test_ranks_of_torchrun_on_several_machines_agree_by_its_store(
    on: Machine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    on.set("TORCHELASTIC_RUN_ID", "none")
    on.set("MASTER_ADDR", "127.0.0.1")
    on.set("LOCAL_WORLD_SIZE", "1")
    jobs = []
    for _ in range(2):
        agents = torch.distributed.TCPStore(  # type: ignore[attr-defined]
            "127.0.0.1", 0, is_master=True, wait_for_workers=False
        )
        on.set("MASTER_PORT", str(agents.port))
        jobs.append(on.start())
        assert on.start() == jobs[-1]  # on the other machine
    assert runs(*jobs) == 2
    assert caplog.text == ""
    del agents
    monkeypatch.setattr(job_module, "STORE_S", 0.5)
    assert on.start().run not in {job.run for job in jobs}
    assert "nothing distinguishes the starts of a job on several machines" in caplog.text


class Group:
    """A process group whose store gives prepared answers."""

    def __init__(self, rank: int, size: int, answer: object) -> None:
        self.distributed_c10d = SimpleNamespace(_get_default_store=lambda: self)
        self.is_available = self.is_initialized = lambda: True
        self.get_rank, self.get_world_size = lambda: rank, lambda: size
        self._answer = answer

    def compare_set(self, key: str, expected: str, wanted: str) -> bytes:
        assert key.startswith("recis-monitor/start/")
        if isinstance(self._answer, Exception):
            raise self._answer
        return b'["theirs", "abc"]' if self._answer == "theirs" else wanted.encode()


def test_a_process_group_lets_the_first_rank_decide(on: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.distributed", Group(1, 2, "theirs"))  # type: ignore[arg-type]
    assert find_job(Place(1, 2, "group"), 0) == Job("theirs", "abc")
    # The group of another job: according to the arguments, this job is larger.
    assert find_job(Place(5, 8), 0).run.startswith("job-")
    monkeypatch.setitem(sys.modules, "torch.distributed", Group(1, 2, "mine"))  # type: ignore[arg-type]
    first, second = (find_job(Place(1, 2, "group"), 0) for _ in range(2))
    assert runs(first, second) == 2


@pytest.mark.parametrize("error", [RuntimeError("Broken pipe"), AttributeError("no store"), TimeoutError()])
def test_a_store_that_does_not_answer_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    monkeypatch.setitem(sys.modules, "torch.distributed", Group(1, 2, error))  # type: ignore[arg-type]
    monkeypatch.setattr(job_module, "STORE_S", 5.0)
    assert find_job(Place(1, 2, "group"), 0).run.startswith("job-")
    assert "the ranks cannot agree on their run" in caplog.text
