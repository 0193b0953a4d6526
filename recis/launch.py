"""The place of this process in its job: its rank, the number of ranks, and the process that started them.

Owns the precedence of launchers; must not know runs, or torch beyond an existing process group.
"""

import logging
import multiprocessing
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from recis.environment import launcher_setting

__all__ = [
    "Place",
    "is_on_one_machine",
    "is_slurm_step",
    "launcher_pid",
    "place",
    "place_in_group",
    "started_at",
]

_PAIRS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("RANK", ("WORLD_SIZE",)),  # torchrun, and most launchers compatible with it
    # srun; if the step and the allocation have different numbers of tasks, the step's applies
    ("SLURM_PROCID", ("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS", "SLURM_NPROCS")),
    ("OMPI_COMM_WORLD_RANK", ("OMPI_COMM_WORLD_SIZE",)),  # mpirun of Open MPI
    ("MV2_COMM_WORLD_RANK", ("MV2_COMM_WORLD_SIZE",)),  # mpirun of MVAPICH
    ("PMI_RANK", ("PMI_SIZE",)),  # mpirun of MPICH and its descendants
    ("HOROVOD_RANK", ("HOROVOD_SIZE",)),  # horovodrun
)
MAX_RANKS = 1 << 31
"""Largest world size that a server accepts."""
_LOCAL_SIZES = (
    "LOCAL_WORLD_SIZE",
    "OMPI_COMM_WORLD_LOCAL_SIZE",
    "MV2_COMM_WORLD_LOCAL_SIZE",
    "MPI_LOCALNRANKS",
    "HOROVOD_LOCAL_SIZE",
    "LOCAL_SIZE",
)
_MAX_STEP = 1 << 31
"""Slurm numbers steps without `srun` (the batch script, an interactive shell) downwards from the largest number.
"""
_logger = logging.getLogger(__name__)
_warned: set[str] = set()  # bounded: one text per pair of variables


@dataclass(frozen=True, slots=True)
class Place:
    """A rank below `world_size`, and its source: a variable, `"group"`, or `""` if given as an argument or alone."""

    rank: int = 0
    world_size: int = 1
    source: str = ""


def place(rank: int | None = None, world_size: int | None = None) -> Place:
    """Return the place of this process from the first source that has it: the arguments, which must be given together;
    an initialised process group; `torchrun`; Slurm; MPI; launchers that number the processes of each machine."""
    if rank is not None and world_size is not None:
        return Place(rank, world_size)
    if (group := place_in_group()) is not None:
        return group
    for names in _PAIRS:
        if (found := _of_pair(*names)) is not None:
            return found
    return _of_machines() or Place()


def place_in_group() -> Place | None:
    """Return the place in the default process group, or None if there is none."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return None
    return Place(distributed.get_rank(), distributed.get_world_size(), "group")


def _of_pair(rank_name: str, size_names: tuple[str, ...]) -> Place | None:
    if rank_name == "SLURM_PROCID" and not _is_slurm_task():
        return None
    rank, size_name = _number(rank_name), size_names[0]
    if rank is None:
        return None
    size = None
    for size_name in size_names:
        if (size := _number(size_name)) is not None:
            break
    if size is None and rank_name == "RANK":
        size = rank + 1
        if rank > 0:
            _warn(f"RANK is {rank}, but WORLD_SIZE is not set: assuming {size}")
    if size is None:
        return None
    if not rank < size <= MAX_RANKS:
        _warn(
            f"{rank_name} and {size_name}: expected a rank below the number of ranks, which is at most {MAX_RANKS}, "
            f"got {rank} of {size}; ignored"
        )
        return None
    return Place(rank, size, rank_name)


def is_slurm_step() -> bool:
    """Return whether this process was started by `srun`, directly or indirectly."""
    step = _number("SLURM_STEP_ID")
    return step is not None and step < _MAX_STEP


def _is_slurm_task() -> bool:
    """Return whether Slurm's task variables apply to this process, as far as can be determined."""
    task_pid = _number("SLURM_TASK_PID")
    if task_pid is None:
        return True
    if not is_slurm_step():
        return False  # a batch script, which has rank 0 and possibly many tasks in its allocation
    # Slurm starts one `mpirun` daemon per machine, and the ranks inherit the daemon's variables.
    return task_pid == os.getpid() or not any(launcher_setting(name) for name, _ in _PAIRS[2:])


def _of_machines() -> Place | None:
    """Return the place from the node rank and the local rank, which are all that Lightning's launcher sets."""
    local, size = _number("LOCAL_RANK"), _number("WORLD_SIZE")
    node = _number("NODE_RANK") or _number("GROUP_RANK") or 0
    if local is None:
        return None
    here, nodes = _number("LOCAL_WORLD_SIZE"), _number("NNODES") or _number("NUM_NODES")
    if size is None and here is not None and (nodes is not None or node == 0):
        size = here * (nodes or 1)
    if here is None and size is not None and nodes is not None:
        here = size // nodes
    if size is None:
        return None
    if here is None and node > 0:
        here = size // (node + 1)
        _warn(
            f"NODE_RANK is {node}, but the number of processes per machine is unknown: assuming {here}. "
            "Call init after creating the process group, or with rank= and world_size="
        )
    rank = node * (here or 0) + local
    if not rank < size <= MAX_RANKS:
        _warn(f"NODE_RANK and LOCAL_RANK: expected a rank below {size}, got {node} and {local}; ignored")
        return None
    return Place(rank, size, "LOCAL_RANK")


def is_on_one_machine(at: Place) -> bool:
    """Return whether all ranks are on this machine, according to the launcher; the same on all ranks."""
    for name in _LOCAL_SIZES:
        if (here := _number(name)) is not None:
            return here >= at.world_size
    for name in ("SLURM_NNODES", "NNODES", "NUM_NODES"):
        if (nodes := _number(name)) is not None:
            return nodes == 1
    address = launcher_setting("MASTER_ADDR") or "localhost"
    return address in ("localhost", "::1") or address.startswith("127.")


# --- processes


def launcher_pid(variable: str) -> int:
    """Return the process that started this one and its siblings; 0 if each machine is a single sibling.

    It is the nearest ancestor that was itself started without `variable`, which distinguishes the siblings: shells and
    tools in between have it too.
    """
    own = _names_at_start(os.getpid())
    if variable == "LOCAL_RANK" and variable not in own and multiprocessing.parent_process() is None:
        return os.getpid()  # Lightning's rank 0 sets it for itself, and starts the others with it
    pid = os.getppid()
    while variable and variable in _names_at_start(pid):
        pid = _parent_of(pid)
    return pid


def started_at(pid: int) -> str:
    """Return a text that distinguishes the process from others with the same pid over time, or "" if unknown."""
    fields = _status_of(pid)
    return fields[19] if len(fields) > 19 else ""


def _parent_of(pid: int) -> int:
    fields = _status_of(pid)
    return int(fields[1]) if len(fields) > 1 else 0


def _status_of(pid: int) -> list[str]:
    """Return the fields after the name in `/proc/PID/stat`; empty if it cannot be read."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return []


def _names_at_start(pid: int) -> frozenset[str]:
    """Return the variables that a process was started with; empty if unreadable, as for another user's process."""
    try:
        pairs = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return frozenset()
    return frozenset(pair.partition(b"=")[0].decode(errors="replace") for pair in pairs)


# --- variables


def _number(name: str) -> int | None:
    text = (launcher_setting(name) or "").strip()
    if not text:
        return None
    if text.isascii() and text.isdigit() and len(text) < 20:
        return int(text)
    if not (name == "LOCAL_RANK" and text == "-1"):  # used by some to mean none
        _warn(f"{name}: expected a number of at least 0, got {text!r:.80}; ignored")
    return None


def _warn(text: str) -> None:
    if text not in _warned:
        _warned.add(text)
        _logger.warning("%s", text)
