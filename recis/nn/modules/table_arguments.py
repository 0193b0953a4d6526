"""What a table accepts from its users, and what it says to everything else.

Owns the checks and their messages. Must not know the table: it is handed names, shapes and devices.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from recis.errors import ArgumentError

__all__ = [
    "Initializer",
    "check_ids",
    "check_layout",
    "check_mask",
    "check_rows",
    "checked_initializer",
    "checked_shape",
]

Initializer = Callable[[Tensor], object]
"""Fills a tensor in place, as the functions of `torch.nn.init` do."""


def checked_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """Return the shape of a row as a tuple; `ValueError` unless it is positive ints."""
    sizes = tuple(shape) if isinstance(shape, Sequence) else ()
    if not sizes or any(type(size) is not int or size < 1 for size in sizes):
        raise ArgumentError("HashTable's embedding_shape", "positive ints, such as [16]", shape)
    return sizes


def checked_initializer(initializer: Initializer | float | None) -> Initializer:
    """Return what fills new rows; `ValueError` unless it is a function, a number, or None for the default."""
    if initializer is None:
        return partial(nn.init.normal_, std=0.01)
    if callable(initializer):
        return initializer
    if isinstance(initializer, int | float) and not isinstance(initializer, bool):
        return partial(nn.init.constant_, val=float(initializer))
    raise ArgumentError("HashTable's initializer", "a function that fills a tensor in place, or a number", initializer)


def check_layout(name: str, block_size: int, dtype: torch.dtype) -> None:
    """Refuse names, block sizes and dtypes that a table cannot have; `ValueError`."""
    if not (isinstance(name, str) and name):
        raise ArgumentError("HashTable's name", "a non-empty string", name)
    if type(block_size) is not int or block_size < 1:
        raise ArgumentError("HashTable's block_size", "a positive int (rows)", block_size)
    if not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise ArgumentError("HashTable's dtype", "a floating dtype", dtype)


def check_ids(table: str, ids: Tensor, device: torch.device) -> None:
    """Refuse ids that are not an int64 tensor (`TypeError`) on the table's device (`ValueError`)."""
    _check_tensor(f"ids of table {table!r}", ids, torch.int64, device)


def check_rows(table: str, ids: Tensor, rows: Tensor, column: Tensor) -> None:
    """Refuse ids and rows that cannot be inserted into a column `[capacity, *shape]`: `TypeError` or `ValueError`."""
    check_ids(table, ids, column.device)
    if ids.dim() != 1:
        raise ArgumentError(f"ids of table {table!r}", "shape [N]", tuple(ids.shape))
    where, shape = f"rows of table {table!r}", (len(ids), *column.shape[1:])
    _check_tensor(where, rows, column.dtype, column.device)
    if rows.shape != shape:
        raise ArgumentError(where, f"shape {shape}", tuple(rows.shape))


def check_mask(where: str, mask: Tensor, ids: Tensor) -> None:
    """Refuse a rule's answer that is not one bool an id: `TypeError` or `ValueError`."""
    _check_tensor(where, mask, torch.bool, ids.device)
    if mask.shape != ids.shape:
        raise ArgumentError(where, f"shape {tuple(ids.shape)}", tuple(mask.shape))


def _check_tensor(where: str, value: Tensor, dtype: torch.dtype, device: torch.device) -> None:
    if not isinstance(value, Tensor) or value.dtype != dtype:
        got = value.dtype if isinstance(value, Tensor) else type(value).__name__
        raise TypeError(f"{where}: expected a {dtype} tensor, got {got}")
    if value.device != device:
        raise ArgumentError(where, f"a tensor on {device}", str(value.device))
