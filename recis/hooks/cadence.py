"""Validated step intervals; the only place that divides a step counter.

Must not know what is due, the caller, or how steps are counted.
"""

from recis.numerals import positive_int

__all__ = ["Cadence", "check_interval", "check_optional_interval"]


def check_interval(where: str, value: object) -> int:
    """Return `value` as a plain int if it is a positive integer, else raise `ArgumentError`."""
    return positive_int(where, value)


def check_optional_interval(where: str, value: object) -> int | None:
    """Return `value` as a plain int if it is a positive integer, or None, else raise `ArgumentError`."""
    return None if value is None else check_interval(where, value)


class Cadence:
    """Due at every multiple of `every` steps, once per multiple.

    Steps may be skipped: a skipped multiple is due at the first step after it. A step seen twice is due once, step 0 is
    never due, and a counter that moves back (a restored checkpoint) restarts from there.

    Args:
        every: distance in steps, a positive int.
        where: name of the argument, for the error.

    Raises:
        ArgumentError: (a `ValueError`) `every` is not a positive int.
    """

    def __init__(self, every: int, *, where: str = "every") -> None:
        self._where = where
        self._every = check_interval(where, every)
        self._last: int | None = None

    @property
    def every(self) -> int:
        """Interval in steps; a new value is checked as in the constructor and applies from the next step."""
        return self._every

    @every.setter
    def every(self, value: int) -> None:
        self._every = check_interval(self._where, value)

    def due(self, step: int) -> bool:
        """Return whether a multiple lies in the steps since the last call; call it once per step."""
        last, self._last = self._last, step
        if last is None or step < last:
            last = max(step - 1, 0)
        return step // self._every > last // self._every
