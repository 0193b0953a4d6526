"""Determine the identity of this process for the server: run, attempt, rank, writer.

Owns the checks of what users pass; `job` determines the rest. Must not know sockets or hooks.
"""

import operator
import os
import secrets
import socket
from dataclasses import dataclass
from typing import Any

from recis import launch
from recis.bridge.job import find_job
from recis.wire.codec import is_id
from recis.wire.showing import shown

__all__ = ["Identity", "check_place", "check_run_id", "identify"]


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
    """Raise `ValueError` if `text` cannot name a run."""
    if not issubclass(type(text), str) or not is_id(text):  # by type: reading the class of some objects raises
        raise ValueError(
            f"run_id: expected 1 to 128 letters, digits, '.', '_', '-' (the first a letter or digit), got {shown(text)}"
        )


def check_place(rank: int | None, world_size: int | None) -> None:
    """Raise `ValueError` if these are not a rank and a number of ranks above it, or both None."""
    if rank is None and world_size is None:
        return
    number, size = _whole(rank), _whole(world_size)
    if number is None or size is None or not 0 <= number < size < 1 << 31:
        raise ValueError(
            "rank, world_size: expected two ints, the first at least 0 and below the second, or neither, "
            f"got {shown(rank)} and {shown(world_size)}"
        )


def _whole(value: Any) -> int | None:
    if type(value) is bool:
        return None
    try:
        return operator.index(value)
    except Exception:  # noqa: BLE001 - boundary: a caller's object may raise anything
        return None


def identify(
    run_id: str | None, rank: int | None = None, world_size: int | None = None, *, opening: int = 0
) -> Identity:
    """Determine the identity.

    Args:
        run_id: checked; None takes the name of the job, else a new one.
        rank: checked, with `world_size`; None takes what the launcher sets.
        world_size: see `rank`.
        opening: how many runs this process has opened before; equal on all ranks.
    """
    at = launch.place(_whole(rank), _whole(world_size))
    job = find_job(at, opening)
    return Identity(
        run=run_id or job.run,
        attempt=job.start,
        writer=secrets.token_hex(12),
        rank=at.rank,
        world_size=at.world_size,
        host=socket.gethostname(),
        pid=os.getpid(),
    )
