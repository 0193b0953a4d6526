"""Columns of points and values of any type, as the database keeps them.

Owns the order of truth for a step and what a JSON column holds; must not know SQL, runs or sockets.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from recis.wire.messages import MAX_TEXT_CHARS
from recis.wire.text import as_text

__all__ = ["LAST_STEP", "NO_ROWS", "Rows", "dump", "last_step", "load", "load_or", "newest_rows"]

MAX_DEPTH = 64
"""How deep a value may be nested."""
LAST_STEP = 2**63 - 1
"""The last step that there is; as the end of a range it is in it, for nothing lies beyond."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Points of one series in one attempt in order of step, each step once; arrays of equal length n.

    `steps` int64, `times` int64 ns, `values` float64.
    """

    steps: npt.NDArray[np.int64]
    times: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.steps)

    def between(self, low: int, high: int) -> "Rows":
        """Those of `low <= step < high`; `LAST_STEP` as `high` is open."""
        first, stop = np.searchsorted(self.steps, (low, high))
        if high >= LAST_STEP:
            stop = len(self.steps)
        return Rows(self.steps[first:stop], self.times[first:stop], self.values[first:stop])

    @staticmethod
    def join(parts: Sequence["Rows"]) -> "Rows":
        """All of them; where two have the same step, the later part counts."""
        filled = [part for part in parts if len(part)] or [NO_ROWS]
        steps, times, values = filled[0].steps, filled[0].times, filled[0].values
        if len(filled) > 1:
            steps = np.concatenate([part.steps for part in filled])
            times = np.concatenate([part.times for part in filled])
            values = np.concatenate([part.values for part in filled])
        # Most runs never go back: then rows are in order of step as they are.
        if not bool((steps[1:] > steps[:-1]).all()):
            rows = newest_rows(steps)
            steps, times, values = steps[rows], times[rows], values[rows]
        return Rows(steps, times, values)


NO_ROWS = Rows(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float64))


def last_step(high: int) -> int:
    """The last step of a range that ends before `high`."""
    return high if high == LAST_STEP else high - 1


def newest_rows(steps: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Which rows count, in order of step, when later rows replace earlier ones of the same step.

    Args:
        steps: `[n]` int64 in order of arrival.

    Returns:
        `[m]` int64 row numbers, m <= n, such that `steps[rows]` rises strictly.
    """
    order = np.argsort(steps, kind="stable")
    ordered = steps[order]
    last_of_step = np.ones(len(ordered), dtype=bool)
    last_of_step[:-1] = ordered[1:] != ordered[:-1]
    return order[last_of_step].astype(np.int64, copy=False)


def dump(value: Any) -> str:
    """Any value as JSON text; NaN and infinities stay (`load` reads them), what JSON cannot say becomes its text.

    What lies deeper than `MAX_DEPTH` is left out.
    """
    return json.dumps(_speakable(value, MAX_DEPTH), separators=(",", ":"))


def load(text: str) -> Any:
    """The value of a JSON column."""
    return json.loads(text)


def load_or(text: str, instead: Any) -> Any:
    """The value of a JSON column, or something else where it is damaged: one row must not take a list along."""
    try:
        return load(text)
    except (ValueError, RecursionError):
        return instead


def _speakable(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return as_text(value)
    if isinstance(value, dict | list | tuple):
        if depth == 0:
            return "…"
        if isinstance(value, dict):
            return {as_text(str(key)): _speakable(item, depth - 1) for key, item in value.items()}
        return [_speakable(item, depth - 1) for item in value]
    return value if value is None or isinstance(value, int | float) else as_text(str(value), MAX_TEXT_CHARS)
