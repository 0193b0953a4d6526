"""Figures of series that need no points to be read: one tally per key set, updated by every commit.

Owns the table `tally` and the meaning of its columns. A key set's series share their steps, so one row serves all of
them: a commit changes one row per report, not one per series. Functions inside a transaction; must not know frames'
rows, threads or who asks.
"""

# Only the number of placeholders is put into statements; every value is bound.
# ruff: noqa: S608

import math
import struct
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from recis.wire.codec import points_columns
from recis.wire.messages import Points
from recis_server.store.engines.engine import Connection
from recis_server.store.tables.keyset_cache import KeySetCache
from recis_server.store.values import MetricRow

__all__ = ["Summary", "Tally", "read_lasts", "read_metrics", "read_tallies", "summarise", "write_tallies"]

_NO_STEP = 2**63 - 1
_NO_PAIRS = np.empty(0, np.int64)


class Summary(NamedTuple):
    """The contribution of one record of points to a tally.

    `nans` is the number of non-finite values per key (k int64), empty if there are none; `lasts` the values of the last
    row with the highest step (k float64); both little-endian.
    """

    num_rows: int
    low: int
    high: int
    nans: bytes
    lasts: bytes


@dataclass(slots=True)
class Tally:
    """A row of the table, see `schema`."""

    num_rows: int = 0
    first_step: int = 0
    last_step: int = 0
    last_attempt: int = 0
    mark: int = 0
    nans: bytes = b""
    lasts: bytes = b""

    def add(self, rows: Summary, attempt: int, mark: int, places: Mapping[int, int]) -> None:
        """Add rows of `attempt`; `places` is the order of attempts, `mark` the run's points including these."""
        self.first_step = min(self.first_step, rows.low) if self.num_rows else rows.low
        self.num_rows += rows.num_rows
        if rows.nans:
            self.nans = _sum(self.nans, rows.nans) if self.nans else rows.nans
        if (places[attempt], rows.high) >= (places.get(self.last_attempt, 0), self.last_step):
            self.last_attempt, self.last_step, self.lasts, self.mark = attempt, rows.high, rows.lasts, mark


def summarise(points: Points) -> Summary:
    """Return the contribution of a validated record."""
    num_keys = len(points.keys)
    if len(points.steps) == 8:
        # Slow trainings send single rows, and a call into numpy takes longer than all of this.
        step = int.from_bytes(points.steps, "little", signed=True)
        values = struct.unpack(f"<{num_keys}d", points.values)
        nans = b"" if math.isfinite(sum(values)) else _pack([not math.isfinite(value) for value in values])
        return Summary(1, step, step, nans, points.values)
    steps, _, columns = points_columns(points)
    # Of equal highest steps the last row counts.
    last = len(steps) - 1 - int(np.argmax(steps[::-1]))
    strange = ~np.isfinite(columns)
    nans = _pack(strange.sum(axis=1).tolist()) if strange.any() else b""
    return Summary(len(steps), int(steps.min()), int(steps[last]), nans, columns[:, last].tobytes())


def write_tallies(connection: Connection, tallies: Mapping[tuple[str, int], Tally]) -> None:
    """Write the tallies of (run, key set)."""
    connection.executemany(
        "INSERT INTO tally (run_id, keyset, num_rows, first_step, last_step, last_attempt, mark, nans, lasts)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (run_id, keyset) DO UPDATE SET"
        " num_rows = excluded.num_rows, first_step = excluded.first_step, last_step = excluded.last_step,"
        " last_attempt = excluded.last_attempt, mark = excluded.mark, nans = excluded.nans, lasts = excluded.lasts",
        [
            (
                *place,
                one.num_rows,
                one.first_step,
                one.last_step,
                one.last_attempt,
                one.mark,
                one.nans,
                one.lasts,
            )
            for place, one in tallies.items()
        ],
    )


def read_tallies(connection: Connection, run_id: str) -> dict[int, Tally]:
    """Return the tallies of a run by key set; a set without points has none."""
    return {
        keyset: Tally(*row)
        for keyset, *row in connection.execute(
            "SELECT keyset, num_rows, first_step, last_step, last_attempt, mark, nans, lasts FROM tally"
            " WHERE run_id = ?",
            (run_id,),
        ).fetchall()
    }


def read_metrics(
    connection: Connection, keyset_cache: KeySetCache, run_id: str, created_ns: int, places: Mapping[int, int]
) -> tuple[MetricRow, ...]:
    """Return the series names of a run over all ranks, in order of first appearance.

    The latest (attempt, step) of a name has the last value, on the lowest of ranks that are equally far. The loop is
    over key sets rather than names: a run may have hundreds of thousands of names.

    Args:
        connection: in a transaction.
        keyset_cache: the cache of the store.
        run_id: the run.
        created_ns: when it was created.
        places: the run's attempts, `attempts.attempt_places`.
    """
    tallies = read_tallies(connection, run_id)
    sets = keyset_cache.read(connection, [(run_id, keyset) for keyset in tallies], {run_id: created_ns})
    numbers: dict[str, int] = {}
    members: dict[int, npt.NDArray[np.int64]] = {}
    for keyset in sorted(tallies):
        keys = sets[run_id, keyset].keys
        members[keyset] = np.asarray([numbers.setdefault(key, len(numbers)) for key in keys], np.int64)
    count, nans, firsts, lasts = (np.zeros(len(numbers), np.int64) for _ in range(4))
    firsts[:] = _NO_STEP
    values = np.zeros(len(numbers), np.float64)

    def by_age(keyset: int) -> tuple[int, int, int, int]:
        tally = tallies[keyset]
        return places[tally.last_attempt], tally.last_step, -sets[run_id, keyset].rank, tally.mark

    for keyset in sorted(tallies, key=by_age):
        tally, where = tallies[keyset], members[keyset]
        count[where] += tally.num_rows
        firsts[where] = np.minimum(firsts[where], tally.first_step)
        lasts[where] = tally.last_step
        values[where] = np.frombuffer(tally.lasts, "<f8")
        if tally.nans:
            nans[where] += np.frombuffer(tally.nans, "<i8")
    ranks = _ranks([(sets[run_id, keyset].rank, where) for keyset, where in members.items()], len(numbers))
    columns = (count.tolist(), firsts.tolist(), lasts.tolist(), values.tolist(), nans.tolist())
    return tuple(map(MetricRow, numbers, ranks, *columns))


def _ranks(sets: Sequence[tuple[int, npt.NDArray[np.int64]]], num_names: int) -> list[tuple[int, ...]]:
    """Return the ranks of each name in order, from the rank and the names of each key set."""
    known = sorted({rank for rank, _ in sets})
    if len(known) == 1:
        return [(known[0],)] * num_names
    places = {rank: place for place, rank in enumerate(known)}
    pairs = np.unique(np.concatenate([where * len(known) + places[rank] for rank, where in sets] or [_NO_PAIRS]))
    names, of_name = np.divmod(pairs, max(1, len(known)))
    edges = np.searchsorted(names, np.arange(num_names + 1)).tolist()
    found = [known[place] for place in of_name.tolist()]
    return [tuple(found[begin:end]) for begin, end in pairwise(edges)]


def read_lasts(
    connection: Connection,
    keyset_cache: KeySetCache,
    run_ids: Sequence[str],
    created_ns: Mapping[str, int],
    places: Mapping[str, Mapping[int, int]],
    keys: Collection[str] | None,
) -> Callable[[str], dict[str, float]]:
    """Return a function from a run to the latest value of each of its keys, in order of the keys.

    The latest (attempt, step) of a key counts, on the lowest of ranks that are equally far. The function raises if the
    tallies of its run are damaged.

    Args:
        connection: in a transaction.
        keyset_cache: the cache of the store.
        run_ids: the runs; one may occur several times.
        created_ns: when each run was created; others are omitted.
        places: the order of each run's attempts.
        keys: these, None for all.
    """
    if keys is not None and not keys:
        return lambda run_id: {}
    found = connection.execute(
        "SELECT run_id, keyset, last_attempt, last_step, mark, lasts FROM tally"
        f" WHERE run_id IN ({', '.join('?' * len(run_ids))})",
        run_ids,
    ).fetchall()
    rows = [row for row in found if row[0] in created_ns]
    columns = keyset_cache.read(connection, (row[:2] for row in rows), created_ns)
    tallies: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
    for row in rows:
        tallies[row[0]].append(row)

    def newest(run_id: str) -> dict[str, float]:
        sets = []
        for _, keyset, attempt, step, mark, lasts in tallies.get(run_id, ()):
            _, rank, names = columns[run_id, keyset]
            sets.append(((places[run_id][attempt], step, -rank, mark), names, lasts))
        return _newest(sets, keys)

    return newest


def _newest(
    sets: list[tuple[tuple[int, int, int, int], tuple[str, ...], bytes]], keys: Collection[str] | None
) -> dict[str, float]:
    """Return values by key; if several key sets have a key, the one with the highest place counts."""
    values: dict[str, float] = {}
    sets.sort(key=itemgetter(0))
    for _, names, lasts in sets:
        values.update(zip(names, struct.unpack(f"<{len(names)}d", lasts), strict=True))
    return {key: values[key] for key in sorted(values) if keys is None or key in keys}


def _pack(counts: list[int]) -> bytes:
    return struct.pack(f"<{len(counts)}q", *counts)


def _sum(one: bytes, other: bytes) -> bytes:
    total: npt.NDArray[np.int64] = np.frombuffer(one, "<i8") + np.frombuffer(other, "<i8")
    return total.tobytes()
