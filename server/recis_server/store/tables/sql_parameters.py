"""Parts of statements for both engines: lists of any length with few distinct texts, and saturated sums.

Owns how lists are split, how their parameters are written and how numbers are added up; must not know tables.
"""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, TypeVar

from recis.wire.messages import MAX_COUNT

__all__ = ["cut", "names", "question_marks", "saturated", "table_of", "total"]

T = TypeVar("T")


def cut(rows: Sequence[T], most: int) -> Iterator[Sequence[T]]:
    """Yield all rows in order, in pieces whose lengths are powers of two, at most `most`."""
    first = 0
    while first < len(rows):
        size = 1 << min(most, len(rows) - first).bit_length() - 1
        yield rows[first : first + size]
        first += size


def names(values: Sequence[T], most: int) -> Iterator[list[T]]:
    """Yield all values in pieces for `IN` of at most `most`, padded with the last value to a power of two."""
    for first in range(0, len(values), most):
        piece = values[first : first + most]
        yield [*piece, *[piece[-1]] * ((1 << (len(piece) - 1).bit_length()) - len(piece))]


def question_marks(number: int) -> str:
    """Return `?, ?, ?`."""
    return ", ".join("?" * number)


def saturated(number: int) -> int:
    """Return a count limited to `MAX_COUNT`."""
    return max(0, min(number, MAX_COUNT))


def total(column: str, over: str = "") -> str:
    """Return the saturated sum of a column of counts as an expression for `SELECT`; `over` is its window.

    Integers overflow with an error that fails the whole statement; floats are exact up to `MAX_COUNT`.
    """
    added = f"sum(CASE WHEN {column} > 0 THEN CAST({column} AS DOUBLE PRECISION) ELSE 0 END){over}"
    return f"CASE WHEN {added} < {MAX_COUNT} THEN CAST({added} AS BIGINT) ELSE {MAX_COUNT} END"


def table_of(rows: Sequence[Sequence[Any]]) -> tuple[str, list[Any]]:
    """Return rows of equal length as a table for `FROM` with columns `column1`, `column2`, …; and its parameters."""
    row = f"({question_marks(len(rows[0]))})"
    return f"(VALUES {', '.join([row] * len(rows))})", list(chain.from_iterable(rows))
