"""The module-level face of the metrics: two functions over the current registry.

Must not know what a registry does with a value, or who reads it.
"""

from recis.metrics.registry import current_registry
from recis.metrics.scalars import Value

__all__ = ["add_metric", "get_global_metrics"]


def add_metric(name: str, metric: object) -> None:
    """Set a metric of the training that runs, or of the one that was made or run last.

    It streams at the step where it is set and is not repeated afterwards. Never raises and never waits for a device.

    Args:
        name: 1 to 512 printable characters; a `/` makes a section on the page.
        metric: a real number, a 0-dim tensor or a 0-dim array; anything else is one warning and a count.
    """
    current_registry().set(name, metric)


def get_global_metrics() -> dict[str, Value]:
    """Return a copy of the newest value of every metric: plain numbers, or detached 0-dim tensors on their device."""
    return current_registry().snapshot()
