"""Who this process is to the server: run, attempt, rank, writer.

Owns how all ranks of a job come to the same run and attempt without configuration; must not know sockets or hooks.
"""

import hashlib
import os
import secrets
import socket
import sys
import time
from dataclasses import dataclass
from itertools import count

from recis import environment
from recis.wire.codec import is_id
from recis.wire.showing import shown

__all__ = ["Identity", "check_run_id", "identify"]

_openings = count()  # each run opened in a process of a job has its own place in the job's store


@dataclass(frozen=True, slots=True)
class Identity:
    """Equal on all ranks: `run`, `attempt`, `world_size`; own to each: `rank`, `writer`."""

    run: str
    attempt: str
    writer: str
    rank: int
    world_size: int
    host: str
    pid: int


def check_run_id(text: str) -> None:
    """Raises `ValueError` when `text` cannot name a run."""
    if not isinstance(text, str) or not is_id(text):
        raise ValueError(
            f"run_id: expected 1 to 128 letters, digits, '.', '_', '-' (the first no sign), got {shown(text)}"
        )


def identify(run_id: str | None) -> Identity:
    """Works out the identity; `run_id` (checked) wins over the launcher's job, the job over a new name."""
    rank, world_size = environment.rank(), environment.world_size()
    start = _shared_start(world_size)
    job = environment.job_id() if world_size > 1 else None
    run = run_id or (_as_id(job) if job else None) or f"{time.strftime('%Y%m%d-%H%M%S')}-{start[:6]}"
    if run_id is None and job is None and world_size > 1:
        run = f"job-{start[:12]}"  # the clock may differ from rank to rank
    return Identity(
        run=run,
        attempt=start,
        writer=secrets.token_hex(12),
        rank=min(rank, world_size - 1),
        world_size=world_size,
        host=socket.gethostname(),
        pid=os.getpid(),
    )


def _shared_start(world_size: int) -> str:
    """A name for this start of the job that is equal on all its ranks and new at the next start."""
    mine = secrets.token_hex(12)
    if world_size == 1:
        return mine
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        # The first rank to come wins; no rank waits for another, so a rank without a monitor stalls nobody.
        store = distributed.distributed_c10d._get_default_store()  # noqa: SLF001 - torch has no public name for it
        place = f"recis-monitor/start/{next(_openings)}"
        return bytes(store.compare_set(place, "", mine)).decode()
    return hashlib.sha256(environment.launcher_key().encode()).hexdigest()[:24]


def _as_id(text: str) -> str:
    """`text` itself if it is an identifier, else one made from it."""
    if is_id(text):
        return text
    return f"job-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
