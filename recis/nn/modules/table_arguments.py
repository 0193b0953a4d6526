"""Validation of a table's arguments, and its error messages.

Owns the checks and their messages. Must not know the table: it receives names, shapes and devices.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from recis.errors import ArgumentError
from recis.nn.initializers import ConstantInitializer, Initializer
from recis.numerals import as_int, as_real, positive_int
from recis.ragged.tensor import RaggedTensor

__all__ = [
    "Fill",
    "Slice",
    "check_ids",
    "check_mask",
    "check_options",
    "check_pair",
    "check_rows",
    "checked_children",
    "checked_initializer",
    "checked_shape",
    "checked_slice",
    "gen_slice",
]

Fill = Callable[[Tensor], object]
"""Fills a tensor `[new, *embedding_shape]` in place, as the functions of `torch.nn.init` do."""

_logger = logging.getLogger(__name__)
ROW_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@dataclass(frozen=True, slots=True)
class Slice:
    """A share of the `slice_size` parts into which RecIS divides all ids: those from `slice_begin` to `slice_end`."""

    slice_begin: int
    slice_end: int
    slice_size: int


def gen_slice(shard_index: int = 0, shard_num: int = 1, slice_size: int = 65536) -> Slice:
    """Return the share of one of `shard_num` processes; shares differ by at most one part, and the first ones are
    larger.

    Raises:
        ValueError: `shard_index` is not in `range(shard_num)`, or a number is no positive int.
    """
    num = positive_int("gen_slice's shard_num", shard_num)
    size = positive_int("gen_slice's slice_size", slice_size)
    index = as_int(shard_index)
    if index is None or not 0 <= index < num:
        raise ArgumentError("gen_slice's shard_index", f"an int from 0 to {num - 1}", shard_index)
    share, larger = divmod(size, num)
    begin = index * share + min(index, larger)
    return Slice(begin, begin + share + (index < larger), size)


_WHOLE = gen_slice()


def checked_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """Return the shape of a row as a tuple; `ValueError` unless it is positive ints."""
    sizes = [as_int(size) for size in shape] if isinstance(shape, Sequence) else []
    if not sizes or any(size is None or size < 1 for size in sizes):
        raise ArgumentError("HashTable's embedding_shape", "positive ints, such as [16]", shape)
    return tuple(size for size in sizes if size is not None)


def checked_slice(table: str, share: Slice | None) -> Slice:
    """Return the share of all ids; warn about a share that is not the whole, which is kept but not enforced."""
    if share is not None and (share.slice_begin, share.slice_end) != (0, share.slice_size):
        _logger.warning(
            "table %r: slice %d to %d of %d is kept but not enforced; give each process its own share of the ids",
            *(table, share.slice_begin, share.slice_end, share.slice_size),
        )
    return share or _WHOLE


def checked_initializer(initializer: object, block_size: int, shape: tuple[int, ...]) -> Fill:
    """Return the initializer of new rows; `ValueError` unless it is an `Initializer`, a function, a number, or None for
    zeros.

    A table has its own `Initializer` with its own shape, so that several tables can be created from one.
    """
    if initializer is None:
        initializer = ConstantInitializer()
    if isinstance(initializer, Initializer):
        return initializer.of_shape([block_size, *shape])
    if callable(initializer) and not isinstance(initializer, type):
        return initializer
    if (value := as_real(initializer)) is not None:
        return partial(nn.init.constant_, val=value)
    expected = "an object from recis.nn.initializers, a function that fills a tensor in place, or a number"
    raise ArgumentError("HashTable's initializer", expected, initializer)


def check_options(name: str, dtype: torch.dtype, grad_reduce_by: str) -> None:
    """Raise `ValueError` for unsupported names, dtypes and gradient reductions."""
    if not (isinstance(name, str) and name):
        raise ArgumentError("HashTable's name", "a non-empty string", name)
    if dtype not in ROW_DTYPES:
        expected = f"one of {', '.join(map(str, ROW_DTYPES))} (rows of integers cannot be trained here)"
        raise ArgumentError("HashTable's dtype", expected, dtype)
    if grad_reduce_by not in ("id", "worker"):
        raise ArgumentError("HashTable's grad_reduce_by", "'worker' (sum) or 'id' (mean)", grad_reduce_by)


def checked_children(name: str, coalesced: bool, children: Sequence[str] | None) -> list[str]:
    """Return the names of the tables in a coalesced one; `ValueError` if they are inconsistent."""
    names = [name] if children is None else list(children)
    if not isinstance(coalesced, bool):
        raise ArgumentError("HashTable's coalesced", "a bool", coalesced)
    if isinstance(children, str) or not names or not all(isinstance(each, str) and each for each in names):
        raise ArgumentError("HashTable's children", "a list of non-empty strings", children)
    if len(set(names)) < len(names):
        raise ArgumentError("HashTable's children", "distinct names", children)
    if len(names) > 1 and not coalesced:
        raise ArgumentError("HashTable's children", "one name, or coalesced=True", children)
    return names


def check_ids(table: str, ids: Any, device: torch.device) -> None:
    """Refuse ids that are not an int64 tensor (`TypeError`) on the table's device (`ValueError`)."""
    where = f"ids of table {table!r}"
    if isinstance(ids, Tensor) and ids.is_nested:
        raise TypeError(f"{where}: expected a dense or jagged tensor, got a nested one without layout=torch.jagged")
    if isinstance(ids, Tensor) and ids.layout != torch.strided:
        hint = "DynamicEmbedding and EmbeddingEngine accept a RaggedTensor of its values"
        raise TypeError(f"{where}: expected a dense or jagged tensor, got layout {ids.layout} ({hint})")
    if isinstance(ids, RaggedTensor):
        raise TypeError(f"{where}: expected a tensor, got a RaggedTensor (give values(), or use DynamicEmbedding)")
    _check_tensor(where, ids, torch.int64, device)


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
    """Raise `TypeError` or `ValueError` for a rule's result that is not one bool per id."""
    _check_tensor(where, mask, torch.bool, ids.device)
    if mask.shape != ids.shape:
        raise ArgumentError(where, f"shape {tuple(ids.shape)}", tuple(mask.shape))


def check_pair(where: str, ids: Tensor, index: Tensor, found: Tensor) -> None:
    """Raise `TypeError` or `ValueError` for a rule's result that is not distinct ids with their slots.

    Args:
        where: the rule, for the message.
        ids: the ids that the rule evicts.
        index: their slots according to the rule.
        found: their actual slots, 0 for unknown ids.
    """
    _check_tensor(where, index, torch.int64, ids.device)
    if index.shape != ids.shape:
        raise ArgumentError(where, f"an index of shape {tuple(ids.shape)}", tuple(index.shape))
    if not torch.equal(index, found):
        raise ArgumentError(where, "ids of the table with their slots", f"{int((index != found).sum())} others")
    if num_twice := len(index) - len(torch.unique(index)):
        raise ArgumentError(where, "distinct ids", f"{num_twice} of {len(index)} again")


def _check_tensor(where: str, value: Tensor, dtype: torch.dtype, device: torch.device) -> None:
    if not isinstance(value, Tensor) or value.dtype != dtype:
        got = value.dtype if isinstance(value, Tensor) else type(value).__name__
        raise TypeError(f"{where}: expected a {dtype} tensor, got {got}")
    if value.device != device:
        raise ArgumentError(where, f"a tensor on {device}", str(value.device))
