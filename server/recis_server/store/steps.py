"""The range of steps, and how half-open ranges reach its last one."""

__all__ = ["FIRST_STEP", "LAST_STEP", "last_step"]

FIRST_STEP = -(2**63)
LAST_STEP = 2**63 - 1
"""As the end of a range it is included, because no step lies beyond it."""


def last_step(stop: int) -> int:
    """Return the last step of a range that ends before `stop`."""
    return stop if stop == LAST_STEP else stop - 1
