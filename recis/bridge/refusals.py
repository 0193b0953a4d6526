"""Count bad input and internal errors of a run, and log the first of each kind.

Owns the counts and the record of logged warnings. Must not know what a run reports.
"""

import functools
import inspect
import logging
from collections.abc import Callable
from typing import Any, ParamSpec, Protocol, cast

from recis.bridge.report import as_step
from recis.wire.showing import shown

__all__ = ["Refusals", "guarded"]

P = ParamSpec("P")

MAX_SAID = 100
"""Most kinds of bad input that are logged; further ones are only counted."""
_logger = logging.getLogger(__name__)


class Refusals:
    """Counts refusals and failures of a run, and logs the first of each kind.

    Args:
        run: the run's identifier, for the log.

    Attributes:
        refused: values, and other arguments and calls, that were not accepted.
        failures: calls in which the monitor itself failed.
    """

    def __init__(self, run: str) -> None:
        self.refused = 0
        self.failures = 0
        self._run = run
        self._said: set[str] = set()

    def refuse(self, what: str, why: str, values: int = 1) -> None:
        """Count `values` as refused, and log the reason for the first of a kind."""
        self.refused += values
        self.warn(what, why)

    def warn(self, what: str, why: str) -> None:
        """Log the reason, for the first of a kind."""
        if what not in self._said and len(self._said) < MAX_SAID:
            self._said.add(what)
            _logger.warning("run %s, %.80s (logged once): %s", self._run, what, why)

    def fail(self, where: str) -> None:
        """Count the exception being handled; log the first one at each place, with its traceback."""
        self.failures += 1
        if where not in self._said:
            self._said.add(where)
            _logger.exception("the monitor failed in %s (logged once); training goes on", where)

    def step(self, what: str, step: Any, values: int = 1) -> int | None:
        """Return a step as an int; refuse anything else, with the `values` that belong to it, and return None."""
        number = as_step(step)
        if number is None:
            self.refuse(f"{what}'s step", f"expected an integer that fits 64 bits, got {shown(step)}", values)
        return number

    def seconds(self, what: str, value: Any, default: float) -> float:
        """Return a time in seconds; refuse anything else and return the default."""
        if isinstance(value, int | float) and 0 <= value < float("inf"):
            return value
        self.refuse(what, f"expected a number of seconds, got {shown(value)}")
        return default


class _Reporter(Protocol):
    """An object with guarded methods."""

    refusals: Refusals


def guarded(method: Callable[P, None]) -> Callable[P, None]:
    """Decorate a method at the border between monitor and training: an exception inside is logged, counted and not
    raised.
    """
    signature = inspect.signature(method)

    @functools.wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            method(*args, **kwargs)
        except Exception:  # noqa: BLE001 - border, see above
            reporter = cast("_Reporter", args[0])
            try:
                signature.bind(*args, **kwargs)
            except TypeError as error:  # the call itself was wrong
                reporter.refusals.refuse(method.__name__, str(error))
            else:
                reporter.refusals.fail(method.__name__)

    return call
