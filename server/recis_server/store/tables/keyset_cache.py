"""A cache of the series in each key set, which never change once written.

Owns the cache (bounded, shared by the reading threads) and how it is filled; must not know values or who asks.
"""

# Only the number of placeholders is put into the statement; every value is bound.
# ruff: noqa: S608

import sys
import threading
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from recis_server.store.engines.engine import Connection
from recis_server.store.tables.sql_parameters import question_marks

__all__ = ["KeySet", "KeySetCache"]

MAX_COLUMNS = 1 << 20
"""Columns in the cache; beyond this number it is cleared, and filled again as needed."""
_OVERHEAD_COLUMNS = 16
"""Overhead of a key set, in columns."""


class KeySet(NamedTuple):
    """One key set of a run created at `created_ns`: a later run may have the same id."""

    created_ns: int
    rank: int
    keys: tuple[str, ...]


class KeySetCache:
    """The series of the key sets read last, at most `max_columns` columns in total. Thread-safe."""

    def __init__(self, max_columns: int = MAX_COLUMNS) -> None:
        self._max_columns = max_columns
        self._known: dict[tuple[str, int], KeySet] = {}
        self._num_columns = 0
        self._lock = threading.Lock()

    def read(
        self, connection: Connection, keysets: Iterable[tuple[str, int]], created_ns: Mapping[str, int]
    ) -> dict[tuple[str, int], KeySet]:
        """Return key sets.

        Args:
            connection: in a transaction.
            keysets: pairs of run and key set, all of them written.
            created_ns: when each of the runs was created.
        """
        found: dict[tuple[str, int], KeySet] = {}
        unknown: dict[str, None] = {}
        for place in keysets:
            known = self._known.get(place)
            if known is not None and known.created_ns == created_ns[place[0]]:
                found[place] = known
            else:
                unknown[place[0]] = None
        if unknown:
            fresh = _read(connection, tuple(unknown), created_ns)
            self._keep(fresh)
            found.update(fresh)
        return found

    def _keep(self, fresh: Mapping[tuple[str, int], KeySet]) -> None:
        with self._lock:
            self._num_columns += sum(len(one.keys) + _OVERHEAD_COLUMNS for one in fresh.values())
            if self._num_columns > self._max_columns:
                self._known.clear()
                self._num_columns = 0
                return
            self._known.update(fresh)


def _read(
    connection: Connection, run_ids: tuple[str, ...], created_ns: Mapping[str, int]
) -> dict[tuple[str, int], KeySet]:
    runs = question_marks(len(run_ids))
    names: dict[tuple[str, int], list[str]] = defaultdict(list)
    ranks: dict[tuple[str, int], int] = {}
    for run_id, keyset, rank, key in connection.execute(
        "SELECT k.run_id, k.keyset, s.rank, s.key FROM keyset AS k"
        " JOIN series AS s ON s.run_id = k.run_id AND s.series = k.series"
        # Constrain both tables by their keys; otherwise a planner may scan the other table.
        f" WHERE k.run_id IN ({runs}) AND s.run_id IN ({runs}) ORDER BY k.run_id, k.keyset, k.position",
        (*run_ids, *run_ids),
    ).fetchall():
        names[run_id, keyset].append(sys.intern(key))
        ranks[run_id, keyset] = rank
    return {place: KeySet(created_ns[place[0]], ranks[place], tuple(keys)) for place, keys in names.items()}
