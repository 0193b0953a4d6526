"""The registry, which is never cleared."""

from typing import Any

GLOBAL_METRICS: dict[str, Any] = {}


def get_global_metrics() -> dict[str, Any]:
    """Return the live dict."""
    return GLOBAL_METRICS


def add_metric(name: str, metric: Any) -> None:
    """Set a metric."""
    GLOBAL_METRICS[name] = metric
