"""Every how many steps something is due, as one checked value; the only place that divides a step counter.

Must not know what is due, who asks, or how steps are counted.
"""

from recis.errors import ArgumentError

__all__ = ["Cadence", "check_interval"]


def check_interval(where: str, value: object, *, nullable: bool = False) -> int | None:
    """Return `value` if it is a positive int, or None where that is allowed; else raise `ArgumentError`."""
    if value is None and nullable:
        return None
    # bool is an int to Python, but True is no distance in steps.
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    raise ArgumentError(where, "a positive int or None" if nullable else "a positive int", value)


class Cadence:
    """Due at every multiple of `every` steps, once per multiple; with `every` None, never.

    Steps may jump: a multiple that was jumped over is due at the first step behind it. A step seen twice is due once,
    step 0 never, and a counter that moves back (a restored checkpoint) starts afresh from there.

    Args:
        every: distance in steps, a positive int; None only with `nullable`.
        where: name of the argument, for the error.
        nullable: whether None is allowed.
    """

    def __init__(self, every: int | None, *, where: str = "every", nullable: bool = False) -> None:
        self._where = where
        self._nullable = nullable
        self._every = check_interval(where, every, nullable=nullable)
        self._last: int | None = None

    @property
    def every(self) -> int | None:
        """Distance in steps; a new value is checked as in the constructor and counts from the next step on."""
        return self._every

    @every.setter
    def every(self, value: int | None) -> None:
        self._every = check_interval(self._where, value, nullable=self._nullable)

    def due(self, step: int) -> bool:
        """Whether a multiple lies in the steps since the last call; to be asked once for every step."""
        last, self._last = self._last, step
        if last is None or step < last:
            last = max(step - 1, 0)
        every = self._every
        return every is not None and step // every > last // every
