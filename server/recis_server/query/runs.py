"""Runs as users see them: their state when silence counts, and pages of a list that is filtered by it.

Must not know HTTP or engines. The store says what the ranks said; who is connected is asked of `Liveness`.
"""

import time
from dataclasses import dataclass
from typing import Any, Protocol

from recis_server.errors import NotFound
from recis_server.query.shapes import run_shape
from recis_server.store.interface import RunRow, Store

__all__ = ["STATES", "Liveness", "Wanted", "get_run", "list_runs", "shown_state"]

STATES = ("running", "stalled", "disconnected", "finished", "failed")
LOST_NS = 600 * 10**9
"""A run that has been away for so long is shown as stalled."""
_PAGES = 20


class Liveness(Protocol):
    """Who is connected, and what their silence means."""

    def state(self, row: RunRow) -> str:
        """`running`, `stalled`, `disconnected`, or what the ranks said last."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which runs a list is for."""

    project: str | None = None
    state: str | None = None
    text: str | None = None
    sort: str = "-created_at"


def shown_state(row: RunRow, liveness: Liveness) -> str:
    """The run's state, `stalled` instead of `disconnected` after ten minutes."""
    state = liveness.state(row)
    lost = state == "disconnected" and time.time_ns() - row.updated_ns > LOST_NS
    return "stalled" if lost else state


async def get_run(store: Store, run: str) -> RunRow:
    """One run; raises `NotFound`."""
    row = await store.run(run)
    if row is None:
        raise NotFound(f"there is no run {run[:200]!r}")
    return row


async def list_runs(
    store: Store, liveness: Liveness, wanted: Wanted, *, limit: int, cursor: str | None
) -> dict[str, Any]:
    """A page of runs and the cursor of the next.

    A state is judged here, so a page may be shorter than `limit` although more follow: the cursor says.
    """
    shapes: list[dict[str, Any]] = []
    for _ in range(_PAGES):
        page = await store.runs(
            project=wanted.project, text=wanted.text, sort=wanted.sort, limit=limit - len(shapes), cursor=cursor
        )
        for row in page.runs:
            state = shown_state(row, liveness)
            if wanted.state in (None, state):
                shapes.append(run_shape(row, state))
        cursor = page.next_cursor
        if cursor is None or len(shapes) >= limit:
            break
    return {"runs": shapes, "next_cursor": cursor}
