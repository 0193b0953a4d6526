"""Disambiguate tables with equal names, for the names of series and the keys of an optimizer.

Owns the rule that makes names distinct, and the warning. Must not know the table beyond its name.
"""

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from itertools import count
from typing import Protocol
from weakref import WeakSet

__all__ = ["distinct_names", "warn_of_shared_names"]

_logger = logging.getLogger(__name__)


class _Named(Protocol):
    name: str


_told: WeakSet[_Named] = WeakSet()


def distinct_names(names: Sequence[str], taken: Collection[str] = ()) -> list[str]:
    """Return a name for each of `names`, in their order, all different and none of them in `taken`.

    The first of equal names is kept if it is free; the others become `name-2`, `name-3` and so on, skipping names that
    are in use.
    """
    used = {*taken}
    result: list[str | None] = [None] * len(names)
    for place, name in enumerate(names):
        if name not in used:
            used.add(name)
            result[place] = name
    numbers: dict[str, count[int]] = {}
    for place, name in enumerate(names):
        if result[place] is None:
            candidates = (f"{name}-{number}" for number in numbers.setdefault(name, count(2)))
            result[place] = next(candidate for candidate in candidates if candidate not in used)
            used.add(str(result[place]))
    return [str(name) for name in result]


def warn_of_shared_names(tables: Iterable[_Named]) -> None:
    """Log one warning for each name that several of the tables have, except for tables already reported."""
    tables = list(tables)
    times = Counter(table.name for table in tables)
    for name in [name for name, number in times.items() if number > 1]:
        ours = [table for table in tables if table.name == name]
        if not all(table in _told for table in ours):
            _told.update(ours)
            _logger.warning(
                "%d hash tables are called %r; their series are numbered (%s, %s-2, ...). Give every table its "
                "own name: HashTable(name=...), or EmbeddingOption(shared_name=...)",
                *(times[name], name, name, name),
            )
