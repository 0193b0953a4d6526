"""Raw points that are older than their project keeps them: dropped, while their pyramid stays.

Owns which chunks are due; every slice is one short transaction. Must not know processes or the command line.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from recis_server.store.engine import Connection

__all__ = ["DAY_NS", "Retention", "drop_slice", "find_due"]

DAY_NS = 86_400 * 10**9
SLICE_CHUNKS = 256


@dataclass(frozen=True, slots=True)
class Retention:
    """For how many days raw points are kept; `days` None for ever, `projects` has what differs for one project."""

    days: float | None = None
    projects: Mapping[str, float | None] = field(default_factory=dict)

    @classmethod
    def parse(cls, texts: Sequence[str]) -> "Retention":
        """From `DAYS`, for all projects, and any number of `PROJECT=DAYS`; `forever` is a number of days too.

        Raises:
            ValueError: something else.
        """
        days: float | None = None
        projects: dict[str, float | None] = {}
        for text in texts:
            project, equals, number = text.rpartition("=")
            try:
                kept = None if number == "forever" else float(number)
            except ValueError:
                kept = math.nan
            if (equals and not project) or (kept is not None and not 0 <= kept < math.inf):
                raise ValueError(
                    f"--retain-raw: expected DAYS or PROJECT=DAYS, DAYS a number or 'forever', got {text!r}"
                )
            if equals:
                projects[project] = kept
            else:
                days = kept
        return cls(days, projects)

    def days_of(self, project: str) -> float | None:
        """How long this project's are kept."""
        return self.projects.get(project, self.days)


def find_due(connection: Connection, retention: Retention, now_ns: int) -> dict[str, int]:
    """Runs that may have points that are due, each with the time before which they are; in a read transaction."""
    due: dict[str, int] = {}
    for run_id, project, oldest_ns in connection.execute(
        "SELECT r.run_id, r.project, min(a.last_ns) FROM run AS r JOIN axis AS a ON a.run_id = r.run_id"
        " GROUP BY r.run_id, r.project"
    ).fetchall():
        days = retention.days_of(project)
        if days is not None and oldest_ns < now_ns - int(days * DAY_NS):
            due[run_id] = now_ns - int(days * DAY_NS)
    return due


def drop_slice(connection: Connection, run_id: str, before_ns: int) -> bool:
    """Drops the points of some chunks of a run; whether there may be more. In a transaction that writes.

    A chunk that has no pyramid keeps its points: it has a few rows, or hardly two of them in reach of each other.
    """
    found = connection.execute(
        "SELECT c.series, c.attempt, c.lo, c.axis FROM chunk AS c JOIN axis AS a"
        " ON a.run_id = c.run_id AND a.axis = c.axis"
        " WHERE c.run_id = ? AND c.levels != 0 AND a.last_ns < ? LIMIT ?",
        (run_id, before_ns, SLICE_CHUNKS),
    ).fetchall()
    axes: dict[int, int] = defaultdict(int)
    for _, _, _, axis in found:
        axes[axis] += 1
    connection.executemany(
        "UPDATE chunk SET axis = NULL, data = NULL WHERE run_id = ? AND series = ? AND attempt = ? AND lo = ?",
        [(run_id, *place) for *place, _ in found],
    )
    connection.executemany(
        "UPDATE axis SET num_chunks = num_chunks - ? WHERE run_id = ? AND axis = ?",
        [(count, run_id, axis) for axis, count in axes.items()],
    )
    connection.executemany(
        "DELETE FROM axis WHERE run_id = ? AND axis = ? AND num_chunks <= 0", [(run_id, axis) for axis in axes]
    )
    return len(found) == SLICE_CHUNKS
