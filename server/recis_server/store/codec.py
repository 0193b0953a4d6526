"""Columns of points and values of any type, as the database keeps them.

Owns the order of truth for a step and what a JSON column holds; must not know SQL, runs or sockets.
"""

import json
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["dump", "load", "newest_rows", "shorten"]


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
    """Any value as JSON text; NaN and infinities stay (`load` reads them), what JSON cannot say becomes its text."""
    return json.dumps(_speakable(value), separators=(",", ":"))


def load(text: str) -> Any:
    """The value of a JSON column."""
    return json.loads(text)


def shorten(text: str, limit: int) -> str:
    """At most `limit` characters, with an ellipsis where some were cut."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _speakable(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _speakable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_speakable(item) for item in value]
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)
