"""Runs as users see them: one of them, and which state is shown when silence counts.

Must not know HTTP or engines. The store says what the ranks said; who is connected is asked of `Liveness`.
"""

import time
from typing import Literal, Protocol, get_args

from recis_server.errors import NotFound
from recis_server.store.interface import Store
from recis_server.store.values import RunRow

__all__ = ["STATES", "Liveness", "State", "get_run", "judged", "no_run", "shown_state"]

State = Literal["running", "stalled", "disconnected", "finished", "failed"]
STATES: tuple[str, ...] = get_args(State)
LOST_NS = 600 * 10**9
"""A run that has been away for so long is shown as stalled."""


class Liveness(Protocol):
    """Who is connected."""

    def live_state(self, run: str) -> str | None:
        """`running` or `stalled` for a run that is connected, None for others."""

    def live_states(self) -> dict[str, str]:
        """The same for all runs that are connected."""


def judged(said: str, live: str | None, updated_ns: int, now_ns: int) -> str:
    """The state that is shown.

    What the ranks said last (`finished`, `failed`) counts; else what their connections say; without any, `disconnected`
    and after ten minutes `stalled`.
    """
    if said != "running":
        return said
    if live is not None:
        return live
    return "stalled" if now_ns - updated_ns > LOST_NS else "disconnected"


def shown_state(row: RunRow, liveness: Liveness) -> str:
    """The state of one run."""
    return judged(row.state, liveness.live_state(row.id), row.updated_ns, time.time_ns())


async def get_run(store: Store, run: str) -> RunRow:
    """One run; raises `NotFound`."""
    row = await store.run(run)
    if row is None:
        raise no_run(run)
    return row


def no_run(run: str) -> NotFound:
    """What is raised where there is no such run."""
    return NotFound(f"there is no run {run[:200]!r}")
