"""`recis.launch`: rank and number of ranks from the variables of launchers, and the process that started this one."""

import logging
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Mapping

import pytest

from recis import launch
from recis.launch import Place, is_on_one_machine, launcher_pid, place, started_at

LAUNCHERS = (
    *(
        "RANK",
        "WORLD_SIZE",
        "LOCAL_",
        "NODE_RANK",
        "GROUP_RANK",
        "NNODES",
        "NUM_NODES",
        "SLURM_",
        "OMPI_",
        "MV2_",
        "PMI",
    ),
    *("HOROVOD_", "MASTER_"),
)


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(LAUNCHERS):
            monkeypatch.delenv(name)
    monkeypatch.setattr(launch, "_warned", set())


def say(monkeypatch: pytest.MonkeyPatch, variables: Mapping[str, object]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, str(value))


TORCHRUN = {"RANK": 3, "WORLD_SIZE": 4}
SRUN = {"SLURM_PROCID": 2, "SLURM_NTASKS": 6}
MPIRUN = {"OMPI_COMM_WORLD_RANK": 1, "OMPI_COMM_WORLD_SIZE": 5}
HYDRA = {"PMI_RANK": 4, "PMI_SIZE": 7}
LIGHTNING = {"NODE_RANK": 0, "LOCAL_RANK": 1, "WORLD_SIZE": 8}


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, (0, 1)),
        (TORCHRUN, (3, 4)),
        (SRUN, (2, 6)),
        (MPIRUN, (1, 5)),
        (HYDRA, (4, 7)),
        (LIGHTNING, (1, 8)),
        (LIGHTNING | HYDRA, (4, 7)),
        (LIGHTNING | HYDRA | MPIRUN, (1, 5)),
        (LIGHTNING | HYDRA | MPIRUN | SRUN, (2, 6)),
        (LIGHTNING | HYDRA | MPIRUN | SRUN | TORCHRUN, (3, 4)),
        ({"LOCAL_RANK": 1, "WORLD_SIZE": 2}, (1, 2)),
        ({"NODE_RANK": 2, "LOCAL_RANK": 1, "LOCAL_WORLD_SIZE": 4, "WORLD_SIZE": 12}, (9, 12)),
        ({"NODE_RANK": 2, "LOCAL_RANK": 1, "NNODES": 3, "WORLD_SIZE": 12}, (9, 12)),
        ({"NODE_RANK": 2, "LOCAL_RANK": 1, "NUM_NODES": 3, "LOCAL_WORLD_SIZE": 4}, (9, 12)),
        ({"LOCAL_RANK": 1, "LOCAL_WORLD_SIZE": 4}, (1, 4)),
        ({"LOCAL_RANK": -1}, (0, 1)),
        ({"LOCAL_RANK": 1}, (0, 1)),
        ({"WORLD_SIZE": 4}, (0, 1)),
        ({"RANK": 0}, (0, 1)),
        ({"RANK": "", "WORLD_SIZE": ""}, (0, 1)),
        ({"RANK": " 1 ", "WORLD_SIZE": "2\n"}, (1, 2)),
        ({"SLURM_PROCID": 2, "SLURM_NPROCS": 6}, (2, 6)),
        (SRUN | {"SLURM_PROCID": 1, "SLURM_STEP_NUM_TASKS": 2}, (1, 2)),
        ({"MV2_COMM_WORLD_RANK": 1, "MV2_COMM_WORLD_SIZE": 3}, (1, 3)),
        ({"HOROVOD_RANK": 1, "HOROVOD_SIZE": 3}, (1, 3)),
        ({"GROUP_RANK": 2, "LOCAL_RANK": 1, "LOCAL_WORLD_SIZE": 4, "WORLD_SIZE": 12}, (9, 12)),
    ],
)
def test_the_first_launcher_that_says_rank_and_size_is_believed(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    variables: dict[str, object],
    expected: tuple[int, int],
) -> None:
    say(monkeypatch, variables)
    found = place()
    assert (found.rank, found.world_size) == expected
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        # The script of a batch job, which has no siblings.
        ({"SLURM_PROCID": 0, "SLURM_NTASKS": 8, "SLURM_TASK_PID": 77}, (0, 1)),
        ({"SLURM_PROCID": 0, "SLURM_NTASKS": 8, "SLURM_TASK_PID": 77, "SLURM_STEP_ID": 4294967290}, (0, 1)),
        ({"SLURM_NTASKS": 8}, (0, 1)),
        # A task, started directly or through a shell.
        ({"SLURM_PROCID": 0, "SLURM_NTASKS": 8, "SLURM_TASK_PID": os.getpid(), "SLURM_STEP_ID": 3}, (0, 8)),
        ({"SLURM_PROCID": 0, "SLURM_NTASKS": 8, "SLURM_TASK_PID": 77, "SLURM_STEP_ID": 3}, (0, 8)),
        # `mpirun` in a batch script, and through its daemon on another machine.
        ({"SLURM_PROCID": 0, "SLURM_NTASKS": 5, "SLURM_TASK_PID": 77} | MPIRUN, (1, 5)),
        ({"SLURM_PROCID": 1, "SLURM_NTASKS": 2, "SLURM_TASK_PID": 77, "SLURM_STEP_ID": 0} | MPIRUN, (1, 5)),
        ({"SLURM_PROCID": 1, "SLURM_NTASKS": 2, "SLURM_TASK_PID": 77, "SLURM_STEP_ID": 0} | HYDRA, (4, 7)),
    ],
)
def test_what_slurm_says_of_another_process_is_not_believed(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, object], expected: tuple[int, int]
) -> None:
    say(monkeypatch, variables)
    found = place()
    assert (found.rank, found.world_size) == expected


@pytest.mark.parametrize(
    ("variables", "expected", "warning"),
    [
        ({"RANK": "abc", "WORLD_SIZE": 4}, (0, 1), "RANK: expected a number of at least 0, got 'abc'; ignored"),
        ({"RANK": -1, "WORLD_SIZE": 4}, (0, 1), "RANK: expected a number of at least 0, got '-1'"),
        ({"RANK": "1e3", "WORLD_SIZE": 4} | SRUN, (2, 6), "RANK: expected a number"),
        ({"RANK": "٣", "WORLD_SIZE": 4}, (0, 1), "RANK: expected a number"),
        ({"RANK": "9" * 50, "WORLD_SIZE": 4}, (0, 1), "RANK: expected a number"),
        ({"RANK": 4, "WORLD_SIZE": 4}, (0, 1), "RANK and WORLD_SIZE: expected a rank below .*, got 4 of 4; ignored"),
        ({"RANK": 0, "WORLD_SIZE": 0}, (0, 1), "got 0 of 0; ignored"),
        ({"RANK": 1 << 40, "WORLD_SIZE": 1 << 41}, (0, 1), "which is at most 2147483648, got"),
        ({"RANK": 5, "WORLD_SIZE": 4} | MPIRUN, (1, 5), "got 5 of 4; ignored"),
        ({"RANK": 3}, (3, 4), "RANK is 3, but WORLD_SIZE is not set: assuming 4"),
        ({"RANK": 3, "WORLD_SIZE": "four"}, (3, 4), "WORLD_SIZE: expected a number of at least 0, got 'four'"),
        ({"LOCAL_RANK": 9, "WORLD_SIZE": 4}, (0, 1), "expected a rank below 4, got 0 and 9; ignored"),
        ({"NODE_RANK": 1, "LOCAL_RANK": 1, "WORLD_SIZE": 4}, (3, 4), "the number of processes per machine is unknown"),
    ],
)
def test_what_makes_no_sense_is_one_warning(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    variables: dict[str, object],
    expected: tuple[int, int],
    warning: str,
) -> None:
    say(monkeypatch, variables)
    for _ in range(3):
        found = place()
        assert (found.rank, found.world_size) == expected
    caplog.set_level(logging.WARNING)
    assert len([text for text in caplog.messages if re.search(warning, text)]) == 1


def test_arguments_win(monkeypatch: pytest.MonkeyPatch) -> None:
    say(monkeypatch, TORCHRUN)
    assert place(1, 2) == Place(1, 2)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, True),
        ({"MASTER_ADDR": "127.0.0.1"}, True),
        ({"MASTER_ADDR": "node-7"}, False),
        ({"MASTER_ADDR": "node-7", "LOCAL_WORLD_SIZE": 4}, True),
        ({"MASTER_ADDR": "127.0.0.1", "LOCAL_WORLD_SIZE": 2}, False),
        ({"SLURM_NNODES": 2}, False),
        ({"OMPI_COMM_WORLD_LOCAL_SIZE": 4, "SLURM_NNODES": 2}, True),
    ],
)
def test_one_machine_is_told_from_several(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, object], expected: bool
) -> None:
    say(monkeypatch, variables)
    assert is_on_one_machine(Place(0, 4, "RANK")) is expected


CHILD = """
import os, sys
sys.path.insert(0, {root!r})
from recis.launch import launcher_pid
{before}
print(launcher_pid({variable!r}), os.getpid())
"""


def ask(variable: str, environment: dict[str, str], *, before: str = "", shell: bool = False) -> tuple[int, int]:
    """Return the launcher that a child process finds, and its own process id."""
    root = str(launch.__file__).rsplit("/", 2)[0]
    code = textwrap.dedent(CHILD).format(root=root, before=before, variable=variable)
    command = [sys.executable, "-c", code]
    if shell:
        command = ["sh", "-c", '"$@"; true', "sh", *command]
    clean = {key: value for key, value in os.environ.items() if not key.startswith(LAUNCHERS)}
    done = subprocess.run(command, env=clean | environment, capture_output=True, text=True, check=True)
    found, own = done.stdout.split()
    return int(found), int(own)


def test_the_launcher_is_the_ancestor_that_does_not_have_the_rank() -> None:
    me = os.getpid()
    assert ask("RANK", {"RANK": "1"})[0] == me
    assert ask("RANK", {"RANK": "1"}, shell=True)[0] == me  # through a shell that has it too
    assert ask("", {})[0] == me
    # Set by the process itself: by one of several siblings, or by the one that will start the others.
    assert ask("RANK", {}, before="os.environ['RANK'] = '1'")[0] == me
    found, own = ask("LOCAL_RANK", {}, before="os.environ['LOCAL_RANK'] = '0'")
    assert found == own


def test_a_process_is_told_from_others_with_its_number() -> None:
    assert started_at(os.getpid()) == started_at(os.getpid()) != ""
    assert started_at(os.getpid()) != started_at(1)
    assert started_at(1 << 40) == ""
    assert launcher_pid("") == os.getppid()
