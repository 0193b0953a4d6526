"""Store the metrics of one training: values set, values new to each reader, and newest values.

Owns the names and the choice of the current registry. Bad input is logged and counted, and never raises; no step waits
for a device. Must not know hooks, trainers or the bridge. Imports without torch.
"""

import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from recis.metrics.scalars import Value, detached, to_value

__all__ = [
    "MAX_NAMES",
    "MAX_NAME_CHARS",
    "LiveMetrics",
    "MetricsReader",
    "MetricsRegistry",
    "bind_registry",
    "claim_registry",
    "current_registry",
    "set_current_registry",
]

MAX_NAMES = 10_000
"""Most names in one registry; further ones are refused and counted."""
MAX_NAME_CHARS = 512
"""Longest name; the same bound as on the wire."""
_MAX_WARNINGS = 100

_logger = logging.getLogger(__name__)


class LiveMetrics(dict[str, Any]):
    """The newest value of every metric by name, in order of first assignment, as a writable dict.

    Assigning an item sets it as by `MetricsRegistry.set`. Removing a name, or clearing the dict, removes it from the
    log line; values already set are still reported. A pickle or a deep copy is a plain dict.
    """

    def __init__(self, registry: "MetricsRegistry") -> None:
        super().__init__()
        self._registry = registry

    def __setitem__(self, name: str, value: object) -> None:
        self._registry.set(name, value)

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Set several metrics; arguments as of `dict.update`."""
        for name, value in dict(*args, **kwargs).items():
            self._registry.set(name, value)

    def setdefault(self, name: str, default: object = None) -> Any:
        """Return the value of `name`, setting it to `default` if there is none."""
        if name not in self:
            self._registry.set(name, default)
        return self.get(name, default)

    def __ior__(self, other: Any) -> "LiveMetrics":  # type: ignore[override,misc]
        self.update(other)
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)

    def keep(self, name: str, value: object) -> None:
        """Store a value without notifying the registry; only for the registry."""
        super().__setitem__(name, value)


class MetricsRegistry:
    """Metrics by name; every method may be called from any thread.

    Attributes:
        live: the newest values as they were set: numbers, detached tensors, and anything else; see `LiveMetrics`.
        refused: how many values are not reported because their name or type was wrong, or because there were too many
            names. Each bad name is logged once as a warning, up to a hundred names.
        is_owned: whether it belongs to a training.
        is_unused: whether nothing has been set yet.
    """

    def __init__(self) -> None:
        self.live = LiveMetrics(self)
        self.refused = 0
        self.is_owned = False
        self.is_unused = True
        self._lock = threading.Lock()
        self._tick = 0
        # The reported values, as they were set. The dict is ordered by the time of the last assignment, so that a
        # reader finds new values at its end. Nothing is ever removed.
        self._entries: dict[str, tuple[int, Value, object]] = {}
        self._only_shown: set[str] = set()  # names of values that are not reported, kept even when `live` is cleared
        self._warned: set[str] = set()
        self._reader = MetricsReader(self)

    def set(self, name: str, value: object) -> None:
        """Set one metric. Never raises.

        A value that `to_value` accepts is reported. Any other value is only shown: it is kept in `live`, counted as
        refused, and named in one warning. A value with a bad name is refused.
        """
        if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME_CHARS or not name.isprintable():
            self._refuse(_shown(name), f"not recorded: expected a name of 1 to {MAX_NAME_CHARS} printable characters")
            return
        kept: Value | None
        given = value if type(value) is float else detached(value)
        try:
            kept = to_value(given, is_private=True)
        except TypeError as error:
            kept, why = None, str(error)
        with self._lock:
            self.is_unused = False
            if len(self.live) >= MAX_NAMES and name not in self.live:
                is_full = True
            elif kept is None:
                is_full = len(self._only_shown) >= MAX_NAMES and name not in self._only_shown
                if not is_full:
                    self.live.keep(name, given)
                    self._only_shown.add(name)
            else:
                known = self._entries.pop(name, None) is not None
                is_full = not known and len(self._entries) >= MAX_NAMES
                if not is_full:
                    self._tick += 1
                    self._entries[name] = (self._tick, kept, given)
                    self.live.keep(name, given)
        if is_full:
            self._refuse(
                "(further names)", f"not recorded: expected at most {MAX_NAMES} different names, got {name!r} as well"
            )
        elif kept is None:
            self._refuse(repr(name), f"shown in the log line, but not streamed: {why}")

    def foreign(self, metrics: Mapping[Any, Any]) -> Mapping[Any, Any]:
        """Return those of `metrics` that were not set here: other names, or other values than those that were set.

        This is `metrics` itself while nothing was set here.
        """
        if self.is_unused:
            return metrics
        entries, live = self._entries, self.live
        return {
            name: value
            for name, value in metrics.items()
            if ((known := entries.get(name)) is None or known[2] is not value)
            and live.get(name, live) is not value
            and not (name in self._only_shown and _is_no_number(value))
        }

    def take(self) -> dict[str, Value]:
        """Return what was set since the last `take` of this registry, oldest first; other readers use `reader`."""
        return self._reader.take()

    def reader(self) -> "MetricsReader":
        """Return a new independent reader; its first `take` returns everything set so far."""
        return MetricsReader(self)

    def snapshot(self) -> dict[str, Any]:
        """Return a copy of `live`, as a plain dict."""
        return dict(self.live)

    def since(self, tick: int) -> tuple[int, dict[str, Value]]:
        """Return the current tick and what was set after `tick`, oldest first; cost is proportional to the result."""
        if tick == self._tick:  # nothing new, as in most steps of a loop that passes its metrics directly
            return tick, {}
        with self._lock:
            fresh: list[tuple[str, Value]] = []
            for name in reversed(self._entries):
                when, value, _ = self._entries[name]
                if when <= tick:
                    break
                fresh.append((name, value))
            now = self._tick
        fresh.reverse()
        return now, dict(fresh)

    def _refuse(self, name: str, why: str) -> None:
        name = name[:200]
        with self._lock:
            self.refused += 1
            first = name not in self._warned and len(self._warned) < _MAX_WARNINGS
            if first:
                self._warned.add(name)
        if first:
            _logger.warning("Metric %s (logged once per name): %s", name, why)


def _is_no_number(value: object) -> bool:
    try:
        to_value(value, is_private=True)
    except TypeError:
        return True
    return False


def _shown(name: object) -> str:
    try:
        return repr(name)
    except Exception:  # noqa: BLE001 - boundary: a caller's object may raise anything
        return f"<{type(name).__name__}>"


class MetricsReader:
    """An independent reader of new values, for use by one thread."""

    __slots__ = ("_registry", "_tick")

    def __init__(self, registry: MetricsRegistry) -> None:
        self._registry = registry
        self._tick = 0

    def take(self) -> dict[str, Value]:
        """Return what was set since the last `take`, names to numbers or detached 0-dim tensors, oldest first."""
        self._tick, fresh = self._registry.since(self._tick)
        return fresh


# The registry that `add_metric` writes to. The context variable separates trainings in different threads. The newest
# one serves threads without the context of a training: loader threads, and the threads in which autograd runs its
# hooks.
_bound: ContextVar[MetricsRegistry | None] = ContextVar("recis_metrics_registry", default=None)
_newest = MetricsRegistry()


def current_registry() -> MetricsRegistry:
    """Return the registry of the training that runs in this context or, without one, of the last one created or run."""
    return _bound.get() or _newest


def claim_registry() -> MetricsRegistry:
    """Return a registry for a new training, and make it current: the current one with the values set so far if no
    training owns it yet, otherwise a new one.
    """
    registry = MetricsRegistry() if _newest.is_owned else _newest
    registry.is_owned = True
    set_current_registry(registry)
    return registry


def set_current_registry(registry: MetricsRegistry) -> None:
    """Make `registry` the current one outside of any running training."""
    global _newest  # noqa: PLW0603  the process-wide default is this module's business
    _newest = registry


@contextmanager
def bind_registry(registry: MetricsRegistry) -> Iterator[None]:
    """Return a context manager in which `registry` is the current one."""
    token = _bound.set(registry)
    try:
        yield
    finally:
        _bound.reset(token)
