"""Which metrics of a dict that is handed over at every step, and never cleared, were set since the step before.

Owns that decision; must not know steps or runs. A metric counts as set when its object is another one than before, or
when its value has changed in place. Nothing waits for a device, and no tensor or graph is kept alive.
"""

import weakref
from collections.abc import Mapping
from typing import Any

from recis.metrics.scalars import to_value

__all__ = ["FreshMetrics"]

_IMMUTABLE: frozenset[type] = frozenset({float, int, bool, str, bytes, type(None)})


class FreshMetrics:
    """Remembers the metrics of the last call. Values that are no numbers are passed on, for the run to refuse."""

    def __init__(self) -> None:
        self._last: dict[Any, tuple[Any, Any]] = {}  # object, or a weak reference to it; and its number in host memory

    def take(self, metrics: Mapping[Any, Any]) -> dict[Any, Any]:
        """Return what was set since the last call, as plain numbers where that does not wait for a device.

        A tensor on a device that is the same object as before is returned too: whether it has changed is not known.
        A plain number that was set again to the same object cannot be told from one that was not set.
        """
        fresh: dict[Any, Any] = {}
        now: dict[Any, tuple[Any, Any]] = {}
        for name, metric in dict(metrics).items():
            held, number = self._last.get(name, (None, None))
            if type(metric) in _IMMUTABLE:
                is_same = held is metric and name in self._last
                now[name] = (metric, None)
                if not is_same:
                    fresh[name] = metric
                continue
            is_same = type(held) is weakref.ref and held() is metric
            value = _value(metric)
            is_number = isinstance(value, int | float)
            if not is_same or (is_number and not _equal(value, number)) or (value is not metric and not is_number):
                fresh[name] = value
            now[name] = (_reference(metric), value if is_number else None)
        self._last = now
        return fresh


def _value(metric: Any) -> Any:
    """Return a number, a private copy of a tensor on a device, or the metric itself where it is neither."""
    try:
        return to_value(metric)
    except TypeError:
        return metric


def _equal(one: Any, other: Any) -> bool:
    return bool(one == other or (one != one and other != other))  # NaN is equal to NaN here


def _reference(metric: Any) -> Any:
    try:
        return weakref.ref(metric)
    except TypeError:  # numpy's scalars: never the same object as before
        return None
