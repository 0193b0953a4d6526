"""Parts of statements that both engines take: lists of any length as few different texts, and sums that end somewhere.

Owns how lists are cut, how their parameters are written and how numbers are added up; must not know tables.
"""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, TypeVar

from recis.wire.messages import MAX_COUNT

__all__ = ["cut", "names", "question_marks", "saturated", "table_of", "total"]

T = TypeVar("T")


def cut(rows: Sequence[T], most: int) -> Iterator[Sequence[T]]:
    """All rows in order, in pieces of lengths that are powers of two, `most` rows at most."""
    first = 0
    while first < len(rows):
        size = 1 << min(most, len(rows) - first).bit_length() - 1
        yield rows[first : first + size]
        first += size


def names(values: Sequence[T], most: int) -> Iterator[list[T]]:
    """All values in pieces of at most `most`, for `IN`: it does not mind that some end with the last one repeated."""
    for first in range(0, len(values), most):
        piece = values[first : first + most]
        yield [*piece, *[piece[-1]] * ((1 << (len(piece) - 1).bit_length()) - len(piece))]


def question_marks(number: int) -> str:
    """`?, ?, ?`"""
    return ", ".join("?" * number)


def saturated(number: int) -> int:
    """A count that may have been added up to more than one may be."""
    return max(0, min(number, MAX_COUNT))


def total(column: str, over: str = "") -> str:
    """The saturated sum of a column of counts, as an expression for `SELECT`; `over` is its window.

    Integers overflow, with an error that takes the whole statement along; floats are exact up to `MAX_COUNT`.
    """
    added = f"sum(CASE WHEN {column} > 0 THEN CAST({column} AS DOUBLE PRECISION) ELSE 0 END){over}"
    return f"CASE WHEN {added} < {MAX_COUNT} THEN CAST({added} AS BIGINT) ELSE {MAX_COUNT} END"


def table_of(rows: Sequence[Sequence[Any]]) -> tuple[str, list[Any]]:
    """Rows of equal length as a table for `FROM`, whose columns are `column1`, `column2`, …; and its parameters."""
    row = f"({question_marks(len(rows[0]))})"
    return f"(VALUES {', '.join([row] * len(rows))})", list(chain.from_iterable(rows))
