"""Runs as users see them: one of them, and which state is shown when silence counts.

Must not know HTTP or engines. The store says what the ranks said; who is connected is asked of `Liveness`.
"""

from typing import Literal, Protocol, get_args

from recis_server.errors import NotFound
from recis_server.store.interface import Store
from recis_server.store.values import RunRow

__all__ = ["STATES", "Liveness", "State", "get_run", "judged", "no_run", "shown_state"]

State = Literal["running", "stalled", "disconnected", "finished", "failed"]
STATES: tuple[str, ...] = get_args(State)


class Liveness(Protocol):
    """Who is connected."""

    def live_state(self, run: str) -> str | None:
        """`running` or `stalled` for a run that is connected, None for others."""

    def live_states(self) -> dict[str, str]:
        """The same for all runs that are connected."""


def judged(said: str, live: str | None) -> str:
    """The state that is shown, everywhere.

    What the ranks said last (`finished`, `failed`) counts; else what their connections say; without any the run is
    disconnected, for however long: a job that is dead says nothing any more, and one that is back is connected.
    """
    if said != "running":
        return said
    return "disconnected" if live is None else live


def shown_state(row: RunRow, liveness: Liveness) -> str:
    """The state of one run."""
    return judged(row.state, liveness.live_state(row.id))


async def get_run(store: Store, run: str) -> RunRow:
    """One run; raises `NotFound`."""
    row = await store.run(run)
    if row is None:
        raise no_run(run)
    return row


def no_run(run: str) -> NotFound:
    """What is raised where there is no such run."""
    return NotFound(f"there is no run {run[:200]!r}")
