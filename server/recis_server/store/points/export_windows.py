"""The ranges in which an export reads a run, and the number of its points.

Functions on a connection inside a read transaction; must not know formats, threads or the content of a range.
"""

# Only sums of columns are put into statements; every value is bound.
# ruff: noqa: S608

from collections.abc import Collection
from typing import NamedTuple

from recis_server.store.engines.engine import Connection
from recis_server.store.points.series import series_names
from recis_server.store.tables.sql_parameters import total
from recis_server.store.values import ExportSize

__all__ = ["GROUP_SERIES", "WINDOW_ROWS", "Group", "export_size", "groups", "windows"]

WINDOW_ROWS = 65_536
GROUP_SERIES = 512
"""Short series read together: one statement for each of tens of thousands would take minutes."""

# Added up in the database: a series may have a million frames.
_EDGES = f"""
SELECT min(lo) FROM (
    SELECT lo, ({total("num_rows", " OVER (ORDER BY lo)")}) / ? AS bin FROM (
        SELECT lo, num_rows FROM chunk WHERE run_id = ? AND series = ? AND axis IS NOT NULL
        UNION ALL
        SELECT f.lo, f.num_rows FROM keyset AS k JOIN frame AS f ON f.run_id = k.run_id AND f.keyset = k.keyset
        WHERE k.run_id = ? AND k.series = ?
    ) AS piece
) AS place GROUP BY bin ORDER BY bin
"""
_ROWS = f"""
SELECT series, {total("num_rows")} FROM (
    SELECT series, num_rows FROM chunk WHERE run_id = ? AND axis IS NOT NULL
    UNION ALL
    SELECT k.series, f.num_rows FROM keyset AS k JOIN (
        SELECT keyset, {total("num_rows")} AS num_rows FROM frame WHERE run_id = ? GROUP BY keyset
    ) AS f ON f.keyset = k.keyset WHERE k.run_id = ?
) AS piece GROUP BY series
"""
_COLD_SIZE = f"""
SELECT s.key, {total("CASE WHEN c.axis IS NULL THEN 0 ELSE c.num_rows END")},
    {total("CASE WHEN c.axis IS NULL THEN c.num_rows ELSE 0 END")}
FROM series AS s JOIN chunk AS c ON c.run_id = s.run_id AND c.series = s.series
WHERE s.run_id = ? GROUP BY s.key
"""
_HOT_SIZE = f"""
SELECT s.key, {total("f.num_rows")}, 0
FROM series AS s JOIN keyset AS k ON k.run_id = s.run_id AND k.series = s.series
JOIN (
    SELECT keyset, {total("num_rows")} AS num_rows FROM frame WHERE run_id = ? GROUP BY keyset
) AS f ON f.keyset = k.keyset
WHERE s.run_id = ? GROUP BY s.key
"""


class Group(NamedTuple):
    """Series to read together: number, rank and key of each. A long one is alone, and read in `windows`."""

    series: list[tuple[int, int, str]]
    is_long: bool


def groups(connection: Connection, run_id: str, keys: Collection[str] | None) -> list[Group]:
    """Return the series of these keys (None: all) that have points, in order of first appearance."""
    num_rows = dict(connection.execute(_ROWS, (run_id, run_id, run_id)).fetchall())
    found: list[Group] = []
    waiting: list[tuple[int, int, str]] = []
    room = WINDOW_ROWS
    for one in series_names(connection, run_id):
        rows = num_rows.get(one[0], 0)
        if rows == 0 or not (keys is None or one[2] in keys):
            continue
        if waiting and (rows > room or len(waiting) == GROUP_SERIES):
            found.append(Group(waiting, is_long=False))
            waiting, room = [], WINDOW_ROWS
        if rows > WINDOW_ROWS:
            found.append(Group([one], is_long=True))
        else:
            waiting.append(one)
            room -= rows
    if waiting:
        found.append(Group(waiting, is_long=False))
    return found


def windows(connection: Connection, run_id: str, series: int) -> list[tuple[int | None, int | None]]:
    """Return step ranges that together cover a series, each with about `WINDOW_ROWS` rows; the ends are open."""
    found = connection.execute(_EDGES, (WINDOW_ROWS, run_id, series, run_id, series)).fetchall()
    edges = [edge for (edge,) in found[1:]]
    return list(zip([None, *edges], [*edges, None], strict=True))


def export_size(connection: Connection, run_id: str, keys: Collection[str] | None) -> ExportSize:
    """Return how many points of these keys (None: all) there are, and how many retention has dropped."""
    cold = connection.execute(_COLD_SIZE, (run_id,)).fetchall()
    hot = connection.execute(_HOT_SIZE, (run_id, run_id)).fetchall()
    wanted = [row for row in (*cold, *hot) if keys is None or row[0] in keys]
    return ExportSize(sum(points for _, points, _ in wanted), sum(expired for _, _, expired in wanted))
