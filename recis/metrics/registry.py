"""The metrics of one training: what was set, what is new for each reader, what the newest values are.

Owns the names and the choice of the current registry. Bad input is a warning and a counter here, never an exception,
and no value is turned into a number. Must not know hooks, trainers or the bridge. Imports without torch.
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from recis.metrics.scalars import Value, to_value

__all__ = [
    "MAX_NAMES",
    "MAX_NAME_CHARS",
    "MetricsReader",
    "MetricsRegistry",
    "bind_registry",
    "current_registry",
    "set_current_registry",
]

MAX_NAMES = 10_000
"""Names that one registry takes; later ones are refused and counted."""
MAX_NAME_CHARS = 512
"""Longest name; the same bound as on the wire."""
_MAX_WARNINGS = 100

_logger = logging.getLogger(__name__)


class MetricsRegistry:
    """Metrics by name; every method may be called from any thread.

    Attributes:
        refused: how many values were not taken because their name or type was wrong, or because there were too many
            names. Each bad name is logged once as a warning, up to a hundred names.
    """

    def __init__(self) -> None:
        self.refused = 0
        self._lock = threading.Lock()
        self._tick = 0
        # The order of this dict is the order of the last setting, so that a reader finds what is new at its end.
        self._entries: dict[str, tuple[int, Value]] = {}
        self._warned: set[str] = set()
        self._reader = MetricsReader(self)

    def set(self, name: str, value: object) -> None:
        """Set one metric; see `to_value` for what a value may be. Never raises: what cannot be taken is refused."""
        if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME_CHARS or not name.isprintable():
            self._refuse(_shown(name), f"expected a name of 1 to {MAX_NAME_CHARS} printable characters")
            return
        try:
            kept = to_value(value)
        except TypeError as error:
            self._refuse(repr(name), str(error))
            return
        with self._lock:
            known = self._entries.pop(name, None) is not None
            if known or len(self._entries) < MAX_NAMES:
                self._tick += 1
                self._entries[name] = (self._tick, kept)
                return
        self._refuse("(further names)", f"expected at most {MAX_NAMES} different names, got {name!r} as well")

    def take(self) -> dict[str, Value]:
        """Return what was set since the last `take` of this registry, oldest first; others take through a `reader`."""
        return self._reader.take()

    def reader(self) -> "MetricsReader":
        """Return a new independent reader; its first `take` has all that was ever set."""
        return MetricsReader(self)

    def snapshot(self) -> dict[str, Value]:
        """Return a copy of the newest value of every metric."""
        with self._lock:
            return {name: value for name, (_, value) in self._entries.items()}

    def since(self, tick: int) -> tuple[int, dict[str, Value]]:
        """Return the present tick and what was set after `tick`, oldest first; costs as much as there is new."""
        if tick == self._tick:  # nothing new, as at most steps of a loop that hands its metrics over directly
            return tick, {}
        with self._lock:
            fresh: list[tuple[str, Value]] = []
            for name in reversed(self._entries):
                when, value = self._entries[name]
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
            _logger.warning("Metric %s is not recorded (said once per name): %s", name, why)


def _shown(name: object) -> str:
    try:
        return repr(name)
    except Exception:  # noqa: BLE001 - border: a caller's object may raise anything
        return f"<{type(name).__name__}>"


class MetricsReader:
    """Somebody who takes what is new, without taking it away from others; for one thread."""

    __slots__ = ("_registry", "_tick")

    def __init__(self, registry: MetricsRegistry) -> None:
        self._registry = registry
        self._tick = 0

    def take(self) -> dict[str, Value]:
        """Return what was set since the last `take`, names to numbers or detached 0-dim tensors, oldest first."""
        self._tick, fresh = self._registry.since(self._tick)
        return fresh


# Which registry `add_metric` writes to. The context variable keeps trainings in different threads apart. The newest one
# serves threads that have no context of a training: loader threads, and the threads in which autograd runs its hooks.
_bound: ContextVar[MetricsRegistry | None] = ContextVar("recis_metrics_registry", default=None)
_newest = MetricsRegistry()


def current_registry() -> MetricsRegistry:
    """Return the registry of the training that runs in this context, else of the one made or run last."""
    return _bound.get() or _newest


def set_current_registry(registry: MetricsRegistry) -> None:
    """Make `registry` the one that is current outside of any running training."""
    global _newest  # noqa: PLW0603  the process-wide default is this module's business
    _newest = registry


@contextmanager
def bind_registry(registry: MetricsRegistry) -> Iterator[None]:
    """Make `registry` the current one of this context for a while."""
    token = _bound.set(registry)
    try:
        yield
    finally:
        _bound.reset(token)
