"""Read one `log` call: which values are kept under which names, and which are refused.

Owns the names of nested dicts, and keeps a bad value from affecting others: exceptions of the caller's objects are
caught here. Must not know the outbox, or how a refusal is logged.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeGuard

import numpy as np

from recis.metrics.scalars import to_value
from recis.wire.messages import INT64
from recis.wire.names import as_key, spell
from recis.wire.showing import text_of

__all__ = ["KnownNames", "Report", "are_numbers", "as_step", "count_values", "is_dict", "read_known", "read_report"]

MAX_DEPTH = 16
"""Most levels of nested dicts; values below them are refused."""
_TWICE = "expected each name once in a call, with the names of nested dicts joined by /; the first value is kept"
MAX_VALUES = 1 << 16
"""Most values and dicts in one call; the rest is refused and counts as one value."""


MAX_KNOWN_REPORTS = 4096
MAX_KNOWN_NAMES = 1 << 20
"""Most names in all known reports together."""
_NUMBERS: frozenset[type] = frozenset({float, int, bool, *(np.dtype(code).type for code in "?bhilqBHILQefd")})


class KnownNames:
    """The names of earlier reports, bounded in number: a report with the same names need not have each name checked
    again.
    """

    def __init__(self) -> None:
        self._reports: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._num_names = 0

    def __len__(self) -> int:
        """Return how many names there are in all known reports together."""
        return self._num_names

    def of(self, metrics: Mapping[Any, Any]) -> tuple[str, ...] | None:
        """Return the names of a dict if they are known, in its order; None for anything else."""
        return self._reports.get(tuple(metrics)) if type(metrics) is dict else None

    def add(self, names: tuple[str, ...]) -> None:
        """Remember the names of a report, as long as there are not too many."""
        num_names = self._num_names + len(names)
        if names not in self._reports and len(self._reports) < MAX_KNOWN_REPORTS and num_names <= MAX_KNOWN_NAMES:
            self._reports[names] = names
            self._num_names = num_names


def are_numbers(values: Iterable[Any]) -> bool:
    """Return whether all values are numbers in host memory that every conversion turns into the same float64.

    These are the built-in types of Python and numpy: a subclass may define another conversion.
    """
    return _NUMBERS.issuperset(map(type, values))


@dataclass(slots=True)
class Report:
    """The values of one call.

    Attributes:
        plain: numbers by name.
        device: 0-dim tensors on a device by name.
        refused: name and reason of each value that is not kept.
        mended: each name that could not be kept as given, with the given name.
        names: the names of the call's dict, where all of them were kept as given and none has a dict as its value:
            `read_known` can then read the next call with these names. Otherwise None.
    """

    plain: dict[str, float] = field(default_factory=dict)
    device: dict[str, Any] = field(default_factory=dict)
    refused: list[tuple[str, str]] = field(default_factory=list)
    mended: list[tuple[str, str]] = field(default_factory=list)
    names: tuple[str, ...] | None = None


_Leaf = tuple[str, Any, str | None, bool]
"""Name, value, why the value cannot be kept (None while it may be), and whether the name was text."""


class _Level(NamedTuple):
    """A dict that is being traversed; `prefix` is its name, None for the outermost."""

    prefix: str | None
    metrics: Mapping[Any, Any]
    items: Iterator[tuple[Any, Any, str | None]]


def read_known(names: tuple[str, ...], metrics: Mapping[Any, Any]) -> Report | None:
    """Read a dict of known names, faster than `read_report`; return None if `read_report` is needed."""
    report = Report(names=names)
    plain, device = report.plain, report.device
    try:
        for name, value in zip(names, metrics.values(), strict=True):
            kept = to_value(value)
            if type(kept) is float or type(kept) is int:
                plain[name] = kept
            else:
                device[name] = kept
    except (TypeError, ValueError, RuntimeError):  # not a number; or another thread has changed the dict
        return None
    return report


def read_report(metrics: Mapping[Any, Any]) -> Report:
    """Read a call's dict, refusing individually the values that are not numbers or that raise."""
    report = Report()
    plain, device = report.plain, report.device
    for given, value, problem, is_text in _leaves(metrics):
        name = as_key(given)
        if name is not given or not is_text:
            report.mended.append((name, given))
        try:
            if problem is not None:
                raise TypeError(problem)
            if name in plain or name in device:
                raise TypeError(_TWICE)
            kept = value if type(value) is float else to_value(value)
        except TypeError as error:
            report.refused.append((name, str(error)))
            continue
        if isinstance(kept, int | float):
            plain[name] = kept
        else:
            device[name] = kept
    if type(metrics) is dict and not report.mended and len(plain) + len(device) == len(metrics):
        names = tuple(spell(key)[0] for key in metrics)
        if all(name in plain or name in device for name in names):  # else one was nested
            report.names = names
    return report


def count_values(metrics: object) -> int:
    """Return the number of values in a call, to be counted as lost; at least 1, for the call itself."""
    return max(1, sum(1 for _ in _leaves(metrics))) if is_dict(metrics) else 1


def as_step(step: Any) -> int | None:
    """Return a step as an int: of int-like objects and 0-dim tensors in host memory; None for anything else."""
    if type(step) is int:
        return step if step in INT64 else None
    try:
        if not abs(float(step)) <= -INT64.start:  # Decimal("1e999999") takes minutes to become an int
            return None
        number = int(step)
        return number if not isinstance(step, bool) and bool(number == step) and number in INT64 else None
    except Exception:  # noqa: BLE001 - boundary: a caller's object may raise anything
        return None


def _leaves(metrics: Mapping[Any, Any]) -> Iterator[_Leaf]:
    """Yield all values in order. Uses no recursion, so that values at any depth are found and counted."""
    levels = [_Level(None, metrics, _items(metrics))]
    inside = {id(metrics)}
    num_seen = 0
    while levels:
        level = levels[-1]
        item = next(level.items, None)
        if item is None:
            inside.discard(id(level.metrics))
            levels.pop()
            continue
        key, value, why = item
        num_seen += 1
        if num_seen > MAX_VALUES:
            yield "(further values)", None, f"expected at most {MAX_VALUES} in a call", True
            return
        text, is_text = (key, True) if type(key) is str else spell(key)
        too_deep = len(levels) > MAX_DEPTH
        name = text if level.prefix is None else level.prefix if too_deep else f"{level.prefix}/{text}"
        if why is None and type(value) is not float and is_dict(value):
            if id(value) not in inside:
                inside.add(id(value))
                levels.append(_Level(name, value, _items(value)))
                continue
            why = "expected numbers in nested dicts, got a dict that contains itself"
        if too_deep:
            why = f"expected dicts that are nested at most {MAX_DEPTH} deep"
        yield name, value, why, is_text


def _items(metrics: Mapping[Any, Any]) -> Iterator[tuple[Any, Any, str | None]]:
    """Yield each key with its value, or with the reason why it has none; an iteration that fails counts as one such
    value.
    """
    try:
        if type(metrics) is dict:
            for key, value in metrics.items():
                yield key, value, None
            return
        for key in metrics:
            try:
                value, why = metrics[key], None
            except Exception as error:  # noqa: BLE001 - boundary: a caller's object may raise anything
                value, why = None, _raised(error)
            yield key, value, why
    except Exception as error:  # noqa: BLE001 - as above
        yield "(further values)", None, _raised(error)


def is_dict(value: object) -> TypeGuard[Mapping[Any, Any]]:
    """Return whether a value is a mapping; False if reading its class raises."""
    try:
        return isinstance(value, Mapping)
    except Exception:  # noqa: BLE001 - boundary: a caller's object may raise anything
        return False


def _raised(error: Exception) -> str:
    return f"expected a dict that can be read, got one that raised {type(error).__name__}: {text_of(error, 200)}"
