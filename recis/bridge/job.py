"""Determine which job this process belongs to, and which start of it, with the same result on all ranks.

Owns the rules by which different trainings get different runs, and a restarted job keeps its run
(docs/decisions/0015). Must not know sockets or its callers.
"""

import contextlib
import hashlib
import importlib
import json
import logging
import os
import secrets
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from recis import launch
from recis.bridge.claims import claim
from recis.environment import launcher_setting
from recis.launch import Place
from recis.wire.codec import is_id

__all__ = ["Job", "find_job"]

STORE_S = 10.0
"""Time limit for an answer from the store of a process group or of `torchrun`."""
_ELASTIC = "TORCHELASTIC_RUN_ID"
_STARTED_BY_MPI = frozenset({"OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK", "PMI_RANK"})
_STARTS_A_RANK_ONCE = _STARTED_BY_MPI | {"SLURM_PROCID", "LOCAL_RANK", "HOROVOD_RANK"}
"""Launchers that never restart a single rank while the job continues, as others may."""
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Job:
    """Identifiers that are equal on all ranks: the run, also when the job is started again, and this start of it."""

    run: str
    start: str


def find_job(at: Place, opening: int) -> Job:
    """Return the job of the process at this place; `opening` is how many runs it has opened before."""
    name = _given_name() or _allocated_name(at)
    token = secrets.token_hex(12)
    if at.world_size == 1:
        job = Job(name or f"{time.strftime('%Y%m%d-%H%M%S')}-{token[:6]}", token)
    else:
        key = _start_key(at) or token
        restarts = (_setting("SLURM_RESTART_COUNT"), _setting("TORCHELASTIC_RESTART_COUNT"))
        job = Job(name or f"job-{_digest(key, opening)[:12]}", _digest(name, key, *restarts, opening))
    if opening and name:
        job = Job(f"{job.run}-r{opening + 1}", job.start)
    if at.world_size > 1 and _has_group(at):
        agreed = _agree(_group_store, f"start/{opening}", [job.run, job.start])
        job = Job(*agreed) if agreed is not None else job
    return job


# --- what names a job


def _given_name() -> str | None:
    """Return the user's name for the job: `torchrun --rdzv-id`.

    In a Slurm allocation, a number (that of the allocation, or a random one) and the id that `--standalone` generates
    do not count: the former does not distinguish two jobs, the latter differs after a preemption.
    """
    name = _setting(_ELASTIC)
    if name in ("", "none"):  # without `--rdzv-id`
        return None
    if _setting("SLURM_JOB_ID") and (name.isdigit() or _is_made_up(name)):
        return None
    return _as_id(name)


def _is_made_up(name: str) -> bool:
    try:
        uuid.UUID(name)
    except ValueError:
        return False
    return True


def _allocated_name(at: Place) -> str | None:
    """Return what distinguishes the job within its Slurm allocation; the same when the allocation is run again."""
    number = _setting("SLURM_JOB_ID")
    if not number:
        return None
    array, task = _setting("SLURM_ARRAY_JOB_ID") or number, _setting("SLURM_ARRAY_TASK_ID")
    name = f"slurm-{array}_{task}" if task else f"slurm-{number}"
    if launch.is_slurm_step():
        name += "." + _setting("SLURM_STEP_ID")
        if at.source == "SLURM_PROCID" and at.world_size > 1:
            return _as_id(name)  # each `srun` is a step of its own
    # All processes of these jobs have the same arguments. In other jobs the arguments may include the rank.
    command = _command()[:6] if at.world_size == 1 or _is_elastic() else ""
    restarts = _setting("SLURM_RESTART_COUNT") or 0
    if at.world_size == 1 or (_has_group(at) and not _is_elastic()):
        earlier = _count((name, restarts, at.world_size, command, at.rank), _process(os.getpid()))
    else:
        earlier = _count((name, restarts, at.world_size, command), _launch(at))
    return _as_id("-".join(filter(None, (name, command, str(earlier + 1) if earlier else ""))))


def _command() -> str:
    try:
        folder = str(Path.cwd())
    except OSError:  # it was removed
        folder = ""
    return _digest(folder, *sys.argv)


# --- what names a start of a job


def _start_key(at: Place) -> str | None:
    """Return what all ranks of one start have in common; None if they can agree through a process group."""
    if _has_group(at) and not _is_elastic():
        return None
    for name in ("PMIX_NAMESPACE", "OMPI_MCA_ess_base_jobid"):
        if at.source in _STARTED_BY_MPI and _setting(name):
            return f"{name} {_setting(name)}"
    if at.source == "SLURM_PROCID" and launch.is_slurm_step():
        return "srun"  # the run's name includes the step
    address, port = _setting("MASTER_ADDR"), _setting("MASTER_PORT")
    if _starter(at) and launch.is_on_one_machine(at):
        # torchrun uses a different port when it restarts its processes.
        return f"{socket.gethostname()} {_launch(at)} {'' if _is_elastic() else port}"
    if _is_elastic() and (agreed := _agree(_torchrun_store, "launch", [secrets.token_hex(12)])) is not None:
        return str(agreed[0])
    _logger.warning(
        "nothing distinguishes the starts of a job on several machines with this launcher: "
        "call init after creating the process group, or give each start its own run_id"
    )
    return f"{address} {port} {_setting(_ELASTIC)}"


def _is_elastic() -> bool:
    return bool(_setting(_ELASTIC))


def _starter(at: Place) -> int:
    return launch.launcher_pid(_ELASTIC if _is_elastic() else at.source)


def _launch(at: Place) -> str:
    """Return what distinguishes this launch on this machine; the same for all of its processes here."""
    starter = _process(_starter(at))
    if _is_elastic() or at.source not in _STARTS_A_RANK_ONCE:
        return starter
    # One launcher may start several jobs in sequence: this is the first, second, ... process of its rank.
    return f"{starter} {_count((starter, at.source, at.world_size, at.rank), _process(os.getpid()))}"


def _count(scope: tuple[object, ...], claimant: str) -> int:
    """Return how many others have claimed the scope on this machine before."""
    try:
        return claim(_digest(*scope), claimant)
    except OSError as error:
        _logger.warning("cannot distinguish this training from others started in the same way: %s", error)
        return 0


def _process(pid: int) -> str:
    return f"{pid} {launch.started_at(pid)}"


# --- agreeing


def _has_group(at: Place) -> bool:
    """Return whether the ranks are those of a process group that exists."""
    group = launch.place_in_group()
    return group is not None and (group.rank, group.world_size) == (at.rank, at.world_size)


def _group_store() -> Any:
    return sys.modules["torch.distributed"].distributed_c10d._get_default_store()  # noqa: SLF001 - it has no public name


def _torchrun_store() -> Any:
    """Return the store in the first agent, which outlives restarts of the processes."""
    address, port = _setting("MASTER_ADDR"), int(_setting("MASTER_PORT"))
    store = sys.modules["torch.distributed"].TCPStore
    return store(address, port, is_master=False, wait_for_workers=False, timeout=timedelta(seconds=STORE_S))


def _agree(open_store: Callable[[], Any], key: str, mine: list[str]) -> list[str] | None:
    """Return the value that the first calling rank stored under `key`; None if the store does not answer.

    No rank waits for another, so a rank without a monitor stalls nobody.
    """
    answers: list[list[str]] = []

    def ask() -> None:
        try:
            answer = open_store().compare_set(f"recis-monitor/{key}", "", json.dumps(mine))
            answers.append(json.loads(bytes(answer)))
        except Exception as error:  # noqa: BLE001 - boundary: a store may fail in any way; training goes on
            _logger.warning("the ranks cannot agree on their run: %s", error)

    with contextlib.suppress(ImportError):  # on this thread: the import may take longer than the store's time limit
        importlib.import_module("torch.distributed")
    thread = threading.Thread(target=ask, name="recis-identity", daemon=True)
    thread.start()
    thread.join(STORE_S)
    return answers[0] if answers else None


# --- text


def _setting(name: str) -> str:
    return launcher_setting(name) or ""


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps([str(part) for part in parts]).encode()).hexdigest()[:24]


def _as_id(text: str) -> str:
    """Return `text` if it is a valid identifier, otherwise one derived from it."""
    return text if is_id(text) else f"job-{_digest(text)[:16]}"
