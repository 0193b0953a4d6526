"""Decide which arguments count as numbers: those of Python and numpy, but not bools.

Owns the checks and their errors. Must not know the callers. Imports without numpy and torch.
"""

from numbers import Integral, Real
from typing import Any

from recis.errors import ArgumentError

__all__ = ["as_int", "as_real", "positive_int"]


def as_int(value: Any) -> int | None:
    """Return `value` as a plain int, or None if it is not an integer. A bool is not: True is no number of steps."""
    if isinstance(value, bool):
        return None
    return int(value) if isinstance(value, Integral) else None  # numpy registers its integers as such, its bool not


def as_real(value: Any) -> float | None:
    """Return `value` as a plain float, or None if it is not a real number; a bool is not."""
    if isinstance(value, bool):
        return None
    return float(value) if isinstance(value, Real) else None


def positive_int(where: str, value: object, unit: str = "") -> int:
    """Return `value` as a plain int if it is a positive integer.

    Args:
        where: name of the argument, for the error.
        value: the value.
        unit: its unit, for the error.

    Raises:
        ArgumentError: (a `ValueError`) it is anything else.
    """
    number = as_int(value)
    if number is None or number < 1:
        raise ArgumentError(where, f"a positive int ({unit})" if unit else "a positive int", value)
    return number
