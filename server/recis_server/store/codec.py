"""Columns of points: one order of truth per step, and the blobs that a frame becomes in the database.

Knows numpy and bytes only; must not know SQL, runs or sockets.
"""

import json

import numpy as np
import numpy.typing as npt

__all__ = ["decode_ids", "encode_ids", "newest_rows", "numbers"]

Ints = npt.NDArray[np.int64]


def newest_rows(steps: Ints) -> Ints:
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


def encode_ids(ids: list[int]) -> str:
    """A key set as text: equal sets in equal order give equal text."""
    return json.dumps(ids, separators=(",", ":"))


def decode_ids(text: str) -> list[int]:
    """The series numbers of a key set."""
    ids: list[int] = json.loads(text)
    return ids


def numbers(blob: bytes, dtype: str) -> npt.NDArray[np.int64]:
    """A view on a little-endian int64 column."""
    return np.frombuffer(blob, dtype)
