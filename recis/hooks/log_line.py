"""What a log line says of the metrics: `<name=value>` for each, numbers short, anything else as a short text.

Owns the format. Waits for no device: a line's numbers may be on their way while it waits to be printed.
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
    """The metrics of one line, taken now and read later.

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
        """Return names and numbers, `?` for those that a device did not give, or short texts; waits for the device."""
        numbers = self._scalars.numbers()
        return self._texts | {
            name: "?" if number is None else number for name, number in zip(self._numbers, numbers, strict=True)
        }


def format_metrics(metrics: Mapping[str, Any]) -> str:
    """Return ` <name=value>` for each metric; what is on a device is waited for."""
    return "".join(f" <{name}={_short(value)}>" for name, value in LineValues(metrics).read().items())


def _short(value: Any) -> str:
    return format(value, ".6g") if isinstance(value, int | float) else str(value)


def _number(metric: Any) -> "Value | None":
    """Return what `PendingScalars` takes, of a tensor or array with a single element too; None for anything else."""
    try:
        if getattr(metric, "shape", ()) != () and metric.numel() == 1:
            metric = metric.detach().reshape(())
        return to_value(metric)
    except Exception:  # noqa: BLE001 - border: a user's object may raise anything; it has a text
        return None


def _text(metric: Any) -> str:
    """Return a short text in one line; never waits for a device."""
    try:
        if isinstance(metric, str):
            text = metric
        elif hasattr(metric, "shape"):
            is_small = getattr(metric, "is_cpu", True) and _size(metric) <= MAX_ELEMENTS
            text = str(metric.tolist()) if is_small else f"{type(metric).__name__} of shape {tuple(metric.shape)}"
        else:
            text = reprlib.repr(metric)
    except Exception:  # noqa: BLE001 - border, as above
        text = type(metric).__name__
    text = "".join(char if char.isprintable() else " " for char in text)
    return text if len(text) <= MAX_CHARS else text[: MAX_CHARS - 3] + "..."


def _size(metric: Any) -> int:
    size = 1
    for length in metric.shape:
        size *= int(length)
    return size
