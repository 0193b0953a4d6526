"""Where this process stands in its job: its rank, how many ranks there are, and which process has started them.

Owns the order in which launchers are believed; must not know runs, or torch beyond a process group that exists.
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
    ("RANK", ("WORLD_SIZE",)),  # torchrun, and most who follow it
    # srun; where the step and the allocation have different numbers of tasks, the step's counts
    ("SLURM_PROCID", ("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS", "SLURM_NPROCS")),
    ("OMPI_COMM_WORLD_RANK", ("OMPI_COMM_WORLD_SIZE",)),  # mpirun of Open MPI
    ("MV2_COMM_WORLD_RANK", ("MV2_COMM_WORLD_SIZE",)),  # mpirun of MVAPICH
    ("PMI_RANK", ("PMI_SIZE",)),  # mpirun of MPICH and its descendants
    ("HOROVOD_RANK", ("HOROVOD_SIZE",)),  # horovodrun
)
MAX_RANKS = 1 << 31
"""Largest world size that a server takes."""
_LOCAL_SIZES = (
    "LOCAL_WORLD_SIZE",
    "OMPI_COMM_WORLD_LOCAL_SIZE",
    "MV2_COMM_WORLD_LOCAL_SIZE",
    "MPI_LOCALNRANKS",
    "HOROVOD_LOCAL_SIZE",
    "LOCAL_SIZE",
)
_MAX_STEP = 1 << 31
"""Slurm numbers the steps that are no `srun` (the batch script, an interactive shell) from above."""
_logger = logging.getLogger(__name__)
_warned: set[str] = set()  # bounded: one text per pair of variables


@dataclass(frozen=True, slots=True)
class Place:
    """A rank below `world_size`, and what said so: a variable, `"group"`, or `""` where it was given or is alone."""

    rank: int = 0
    world_size: int = 1
    source: str = ""


def place(rank: int | None = None, world_size: int | None = None) -> Place:
    """Return where this process stands, by the first that knows: the arguments, which are checked and given both; an
    initialised process group; `torchrun`; Slurm; MPI; launchers that number the processes of each machine."""
    if rank is not None and world_size is not None:
        return Place(rank, world_size)
    if (group := place_in_group()) is not None:
        return group
    for names in _PAIRS:
        if (found := _of_pair(*names)) is not None:
            return found
    return _of_machines() or Place()


def place_in_group() -> Place | None:
    """Return the place in the default process group, None where there is none."""
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
            _warn(f"RANK is {rank}, but WORLD_SIZE is not set: taken for {size}")
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
    """Return whether this process was started by `srun`, or by something that `srun` has started."""
    step = _number("SLURM_STEP_ID")
    return step is not None and step < _MAX_STEP


def _is_slurm_task() -> bool:
    """Whether what Slurm says of its task holds for this process, as far as can be seen."""
    task_pid = _number("SLURM_TASK_PID")
    if task_pid is None:
        return True
    if not is_slurm_step():
        return False  # a batch script, which has rank 0 and perhaps many tasks in its allocation
    # Of `mpirun`'s daemons, which Slurm starts one a machine, the ranks have inherited what is said of the daemon.
    return task_pid == os.getpid() or not any(launcher_setting(name) for name, _ in _PAIRS[2:])


def _of_machines() -> Place | None:
    """From the rank among the processes of a machine, and the machine's; Lightning's launcher says no more."""
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
            f"NODE_RANK is {node}, but nothing says how many processes a machine has: taken for {here}. "
            "Call init when the process group is there, or with rank= and world_size="
        )
    rank = node * (here or 0) + local
    if not rank < size <= MAX_RANKS:
        _warn(f"NODE_RANK and LOCAL_RANK: expected a rank below {size}, got {node} and {local}; ignored")
        return None
    return Place(rank, size, "LOCAL_RANK")


def is_on_one_machine(at: Place) -> bool:
    """Return whether all ranks are on this machine, as far as launchers say; the same on all of them."""
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
    """Return the process that has started this one and its siblings; 0 when the whole machine is one of the siblings.

    It is the nearest ancestor that was itself started without `variable`, which tells the siblings apart: a shell or a
    tool in between has it too.
    """
    own = _names_at_start(os.getpid())
    if variable == "LOCAL_RANK" and variable not in own and multiprocessing.parent_process() is None:
        return os.getpid()  # Lightning's rank 0 sets it itself, and starts the others with it
    pid = os.getppid()
    while variable and variable in _names_at_start(pid):
        pid = _parent_of(pid)
    return pid


def started_at(pid: int) -> str:
    """Return what tells the process from others that have its number before and after; "" where nothing does."""
    fields = _status_of(pid)
    return fields[19] if len(fields) > 19 else ""


def _parent_of(pid: int) -> int:
    fields = _status_of(pid)
    return int(fields[1]) if len(fields) > 1 else 0


def _status_of(pid: int) -> list[str]:
    """The fields behind the name in the kernel's line about a process; none where there is no such line."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return []


def _names_at_start(pid: int) -> frozenset[str]:
    """The variables that a process was started with; none where they cannot be read, as of another user's process."""
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
    if not (name == "LOCAL_RANK" and text == "-1"):  # how some say that there is none
        _warn(f"{name}: expected a number of at least 0, got {text!r:.80}; ignored")
    return None


def _warn(text: str) -> None:
    if text not in _warned:
        _warned.add(text)
        _logger.warning("%s", text)
