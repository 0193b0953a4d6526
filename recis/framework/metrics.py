"""Module-level access to the metrics: two functions over the current registry, and its content under RecIS's name.

Must not know how a registry handles a value, or its readers.
"""

from collections.abc import Iterator, MutableMapping
from typing import Any

from recis.metrics.registry import LiveMetrics, current_registry

__all__ = ["GLOBAL_METRICS", "add_metric", "get_global_metrics"]


def add_metric(name: str, metric: object) -> None:
    """Set a metric of the running training or, if none is running, of the one created or run last.

    A number is streamed at the step where it is set and not repeated afterwards. Never raises and never waits for a
    device.

    Args:
        name: 1 to 512 printable characters; a `/` creates a section on the page.
        metric: a real number, a 0-dim tensor or a 0-dim array; anything else is shown in the log line but not streamed,
        logged once as a warning and counted.
    """
    current_registry().set(name, metric)


def get_global_metrics() -> LiveMetrics:
    """Return the newest value of every metric as a live dict: assigning an item sets the metric, clearing clears all.

    Tensors in it are detached; 0-dim ones are copies.
    """
    return current_registry().live


class _GlobalMetrics(MutableMapping[str, Any]):
    """A live view of `get_global_metrics()`: code that imported it sees the metrics of the current training."""

    def __getitem__(self, name: str) -> Any:
        return get_global_metrics()[name]

    def __setitem__(self, name: str, metric: object) -> None:
        get_global_metrics()[name] = metric

    def __delitem__(self, name: str) -> None:
        del get_global_metrics()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(get_global_metrics())

    def __len__(self) -> int:
        return len(get_global_metrics())

    def __repr__(self) -> str:
        return repr(get_global_metrics())


GLOBAL_METRICS = _GlobalMetrics()
"""The live metrics under the name that they have in RecIS."""
