"""Formatting of metrics in a log line: `<name=value>` for each, with short numbers and short texts.

Owns the format. Never waits for a device: a line's numbers may still be copied while it is waiting to be printed.
"""

import reprlib
from collections.abc import Mapping
from typing import Any

from recis.metrics.scalars import PendingScalars, Value, to_value

__all__ = ["LineValues", "format_metrics"]

MAX_CHARS = 80
"""Longest text of a value that is no number."""
MAX_ELEMENTS = 8
"""Most elements of a tensor or array in host memory that are written out."""


class LineValues:
    """The metrics of one line, captured now and read later.

    Args:
        metrics: names and values of any type.
    """

    def __init__(self, metrics: Mapping[str, Any]) -> None:
        self._texts: dict[str, Any] = dict.fromkeys(metrics)
        self._numbers: list[str] = []
        values: list[Value] = []
        for name, metric in metrics.items():
            number = _number(metric)
            if number is None:
                self._texts[name] = _text(metric)
            else:
                self._numbers.append(name)
                values.append(number)
        self._scalars = PendingScalars.start(values)

    def ready(self) -> bool:
        """Whether `read` returns without waiting for a device."""
        return self._scalars.ready()

    def read(self) -> dict[str, Any]:
        """Return names with numbers, `?` for those lost with their device, or short texts; waits for the device."""
        numbers = self._scalars.numbers()
        return self._texts | {
            name: "?" if number is None else number for name, number in zip(self._numbers, numbers, strict=True)
        }


def format_metrics(metrics: Mapping[str, Any]) -> str:
    """Return ` <name=value>` for each metric; waits for values on a device."""
    return "".join(f" <{name}={_short(value)}>" for name, value in LineValues(metrics).read().items())


def _short(value: Any) -> str:
    return format(value, ".6g") if isinstance(value, int | float) else str(value)


def _number(metric: Any) -> "Value | None":
    """Return a value accepted by `PendingScalars`, also from a one-element tensor or array; None for others."""
    try:
        if getattr(metric, "shape", ()) != () and metric.numel() == 1:
            metric = metric.detach().reshape(())
        return to_value(metric)
    except Exception:  # noqa: BLE001 - boundary: a user's object may raise anything; it is shown as text
        return None


def _text(metric: Any) -> str:
    """Return a short text on one line; never waits for a device."""
    try:
        if isinstance(metric, str):
            text = metric
        elif hasattr(metric, "shape"):
            is_small = getattr(metric, "is_cpu", True) and _size(metric) <= MAX_ELEMENTS
            text = str(metric.tolist()) if is_small else f"{type(metric).__name__} of shape {tuple(metric.shape)}"
        else:
            text = reprlib.repr(metric)
    except Exception:  # noqa: BLE001 - boundary, as above
        text = type(metric).__name__
    text = "".join(char if char.isprintable() else " " for char in text)
    return text if len(text) <= MAX_CHARS else text[: MAX_CHARS - 3] + "..."


def _size(metric: Any) -> int:
    size = 1
    for length in metric.shape:
        size *= int(length)
    return size
