"""The means of an evaluation: summed on the values' device, read once at the end.

Must not know models, datasets or hooks.
"""

import math
from collections.abc import Mapping, Sequence

from recis.metrics.scalars import PendingScalars, Value

__all__ = ["WeightedMeans", "merge_means"]


class WeightedMeans:
    """Running means by name, each batch weighted by its number of samples; device values are summed on their device."""

    def __init__(self) -> None:
        self._sums: dict[str, Value] = {}
        self._weights: dict[str, float] = {}

    def add(self, values: Mapping[str, Value], weight: float) -> None:
        """Add one batch's values."""
        for name, value in values.items():
            part = value * weight
            self._sums[name] = self._sums[name] + part if name in self._sums else part
            self._weights[name] = self._weights.get(name, 0.0) + weight

    def totals(self) -> dict[str, tuple[float, float]]:
        """Return the sum (NaN if its device failed) and the weight for each name; waits for the device."""
        sums = PendingScalars.start(list(self._sums.values())).numbers()
        return {
            name: (math.nan if total is None else total, self._weights[name])
            for name, total in zip(self._sums, sums, strict=True)
        }


def merge_means(parts: Sequence[Mapping[str, tuple[float, float]]]) -> dict[str, float]:
    """Return the mean of each name over the totals of all ranks."""
    names = dict.fromkeys(name for part in parts for name in part)
    found = {name: [part[name] for part in parts if name in part] for name in names}
    return {
        name: sum(total for total, _ in totals) / sum(weight for _, weight in totals) for name, totals in found.items()
    }
