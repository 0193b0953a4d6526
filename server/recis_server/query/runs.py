"""Runs as users see them: one run, and the state shown when its connections are taken into account.

Must not know HTTP or engines. The store has what the ranks reported; `Liveness` knows who is connected.
"""

from typing import Literal, Protocol, get_args

from recis_server.errors import NotFound
from recis_server.store.interface import Store
from recis_server.store.values import RunRow

__all__ = ["STATES", "Liveness", "State", "get_run", "judged", "no_run", "shown_state"]

State = Literal["running", "stalled", "disconnected", "finished", "failed"]
STATES: tuple[str, ...] = get_args(State)


class Liveness(Protocol):
    """The connections of runs."""

    def live_state(self, run: str) -> str | None:
        """Return `running` or `stalled` for a connected run, None for others."""

    def live_states(self) -> dict[str, str]:
        """Return the states of all connected runs."""


def judged(said: str, live: str | None) -> str:
    """Return the state to show.

    A reported end (`finished`, `failed`) takes precedence over the state of the connections; a run with neither is
    disconnected, however long ago it was: a dead job reports nothing, and one that is back is connected.
    """
    if said != "running":
        return said
    return "disconnected" if live is None else live


def shown_state(row: RunRow, liveness: Liveness) -> str:
    """Return the state to show for one run."""
    return judged(row.state, liveness.live_state(row.id))


async def get_run(store: Store, run: str) -> RunRow:
    """Return one run; raise `NotFound`."""
    row = await store.run(run)
    if row is None:
        raise no_run(run)
    return row


def no_run(run: str) -> NotFound:
    """Return the error for a run that does not exist."""
    return NotFound(f"there is no run {run[:200]!r}")
