"""Retention of raw points: drop those that are older than their project keeps them, and leave their pyramid.

Owns which chunks are due; every slice is one short transaction. Must not know processes or the command line.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from recis_server.store.engines.engine import Connection

__all__ = ["DAY_NS", "FIRST_PLACE", "Place", "Retention", "drop_slice", "find_due"]

MAX_LINES = 100_000
DAY_NS = 86_400 * 10**9
SLICE_CHUNKS = 256
"""Chunks examined by one transaction, which holds the write lock for a few milliseconds, whatever the run's size."""
Place = tuple[int, int, int]
"""Series, attempt and first step: the key of a chunk in its run."""
FIRST_PLACE: Place = (-1, -1, 0)


@dataclass(frozen=True, slots=True)
class Retention:
    """For how many days raw points are kept; `days` None for ever, `projects` overrides it for single projects.

    `lines` is the highest number of log lines of a run.
    """

    days: float | None = None
    projects: Mapping[str, float | None] = field(default_factory=dict)
    lines: int = MAX_LINES

    @classmethod
    def parse(cls, texts: Sequence[str], lines: int = MAX_LINES) -> "Retention":
        """Parse `DAYS`, for all projects, and any number of `PROJECT=DAYS`; DAYS may be `forever`.

        Raises:
            ValueError: any other text.
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
        return cls(days, projects, lines)

    @property
    def drops(self) -> bool:
        """Return whether the points of any project expire."""
        return any(days is not None for days in (self.days, *self.projects.values()))

    def days_of(self, project: str) -> float | None:
        """Return for how many days this project's points are kept."""
        return self.projects.get(project, self.days)


def find_due(connection: Connection, retention: Retention, now_ns: int) -> dict[str, int]:
    """Return the runs with points that are due, each with the time before which they are; in a read transaction."""
    if not retention.drops:
        return {}
    due: dict[str, int] = {}
    for run_id, project, oldest_ns in connection.execute(
        "SELECT r.run_id, r.project, (SELECT min(a.last_ns) FROM axis AS a WHERE a.run_id = r.run_id) FROM run AS r"
    ).fetchall():
        days = retention.days_of(project)
        before_ns = None if days is None else now_ns - int(days * DAY_NS)
        if oldest_ns is not None and before_ns is not None and oldest_ns < before_ns:
            # Chunks without a pyramid remain, and are old for ever.
            found = connection.execute(
                "SELECT 1 FROM chunk AS c JOIN axis AS a ON a.run_id = c.run_id AND a.axis = c.axis"
                " WHERE c.run_id = ? AND c.levels != 0 AND a.last_ns < ? LIMIT 1",
                (run_id, before_ns),
            ).fetchone()
            if found is not None:
                due[run_id] = before_ns
    return due


def drop_slice(connection: Connection, run_id: str, before_ns: int, after: Place) -> Place | None:
    """Examine the next `SLICE_CHUNKS` chunks of a run and drop the points of those that are due.

    Call it in a write transaction. A chunk without a pyramid keeps its points: it has few rows, or steps far apart.

    Returns:
        Where to continue, None at the end.
    """
    looked = connection.execute(
        "SELECT c.series, c.attempt, c.lo, c.levels, a.axis, a.last_ns FROM chunk AS c LEFT JOIN axis AS a"
        " ON a.run_id = c.run_id AND a.axis = c.axis"
        " WHERE c.run_id = ? AND (c.series, c.attempt, c.lo) > (?, ?, ?)"
        " ORDER BY c.series, c.attempt, c.lo LIMIT ?",
        (run_id, *after, SLICE_CHUNKS),
    ).fetchall()
    places: list[Place] = []
    axes: dict[int, int] = defaultdict(int)
    for *place, levels, axis, last_ns in looked:
        if levels and axis is not None and last_ns < before_ns:
            places.append((place[0], place[1], place[2]))
            axes[axis] += 1
    connection.executemany(
        "UPDATE chunk SET axis = NULL, data = NULL WHERE run_id = ? AND series = ? AND attempt = ? AND lo = ?",
        [(run_id, *place) for place in places],
    )
    connection.executemany(
        "UPDATE axis SET num_chunks = num_chunks - ? WHERE run_id = ? AND axis = ?",
        [(count, run_id, axis) for axis, count in axes.items()],
    )
    connection.executemany(
        "DELETE FROM axis WHERE run_id = ? AND axis = ? AND num_chunks <= 0", [(run_id, axis) for axis in axes]
    )
    return tuple(looked[-1][:3]) if len(looked) == SLICE_CHUNKS else None
