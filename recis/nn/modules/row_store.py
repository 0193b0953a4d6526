"""The rows of a table as columns over slots: growth, the free list, and what a slot's columns hold at birth.

Owns the memory. Must not know ids' hashing, admission, filtering rules, gradients or optimizers.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from recis.nn.modules.id_index import NO_SLOT

__all__ = ["RowStore", "trained_dtype"]


def trained_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype in which rows of a dtype are trained: float32 for narrower ones, else their own."""
    return torch.promote_types(dtype, torch.float32)


@dataclass(slots=True)
class _Column:
    data: Tensor
    fill: float
    is_state: bool


class RowStore:
    """Columns of equal length, indexed by slot. Slot `NO_SLOT` is a row nobody owns, at its fill values for ever.

    Columns grow together by doubling, in whole blocks; memory of released slots is kept and the slots are given out
    again first. A slot that is given out has every column at its fill value, whatever its last owner left there.
    """

    def __init__(self, block_size: int, device: torch.device) -> None:
        self._block_size = block_size
        self._capacity = block_size
        self._columns: dict[str, _Column] = {}
        self._live = torch.zeros(block_size, dtype=torch.bool, device=device)
        self._free = torch.empty(0, dtype=torch.int64, device=device)
        self._next = NO_SLOT + 1  # the lowest slot that was never given out
        self._num_rows = 0

    def __len__(self) -> int:
        return self._num_rows

    @property
    def nbytes(self) -> int:
        """Bytes held on the device, free slots included."""
        return self._live.nbytes + self._free.nbytes + sum(column.data.nbytes for column in self._columns.values())

    def add_column(self, name: str, shape: tuple[int, ...], dtype: torch.dtype, fill: float) -> None:
        """Add a column of `[*shape]` a slot, or start one of this name afresh."""
        self._columns[name] = self._new_column(shape, dtype, fill, is_state=False)

    def add_state(self, name: str, like: str, fill: float) -> None:
        """Add a column of what training keeps for each value of another column, or start one of this name afresh.

        Its dtype is the `trained_dtype` of the other column's, also after a conversion of that one.
        """
        data = self._columns[like].data
        self._columns[name] = self._new_column(data.shape[1:], trained_dtype(data.dtype), fill, is_state=True)

    def _new_column(self, shape: tuple[int, ...], dtype: torch.dtype, fill: float, *, is_state: bool) -> _Column:
        data = torch.full((self._capacity, *shape), fill, dtype=dtype, device=self._live.device)
        return _Column(data, fill, is_state)

    def has(self, name: str) -> bool:
        """Whether there is a column of this name."""
        return name in self._columns

    def drop_column(self, name: str) -> Tensor:
        """Take out a column and return it."""
        return self._columns.pop(name).data

    def column(self, name: str) -> Tensor:
        """Return the column itself, `[capacity, *shape]`; it is another tensor after the store has grown or moved."""
        return self._columns[name].data

    def live(self) -> Tensor:
        """Return the slots in use, ascending; int64 `[len(self)]`."""
        return self._live[: self._next].nonzero().squeeze(1)

    def allocate(self, num: int) -> Tensor:
        """Give out slots, released ones first; int64 `[num]`."""
        num_reused = min(num, len(self._free))
        num_fresh = num - num_reused
        self._reserve(self._next + num_fresh)
        reused, self._free = self._free[:num_reused], self._free[num_reused:]
        fresh = torch.arange(self._next, self._next + num_fresh, device=self._live.device)
        self._next += num_fresh
        self._num_rows += num
        for column in self._columns.values():
            column.data.index_fill_(0, reused, column.fill)
        slots = torch.cat((reused, fresh))
        self._live.index_fill_(0, slots, True)
        return slots

    def release(self, slots: Tensor) -> None:
        """Take back slots, which must be distinct and in use; int64 `[N]`."""
        self._live.index_fill_(0, slots, False)
        self._free = torch.cat((self._free, slots))
        self._num_rows -= len(slots)

    def apply(self, name: str, change: Callable[[Tensor], Tensor]) -> None:
        """Put one column through a conversion, as `Module.to` asks for, and move all others to where that led."""
        main = self._columns[name]
        main.data = change(main.data)
        device = main.data.device
        for column in self._columns.values():
            # What training keeps for the rows follows their dtype; counters keep theirs.
            dtype = trained_dtype(main.data.dtype) if column.is_state else column.data.dtype
            column.data = column.data.to(device=device, dtype=dtype)
        self._live = self._live.to(device)
        self._free = self._free.to(device)

    def _reserve(self, num_slots: int) -> None:
        if num_slots <= self._capacity:
            return
        blocks = -(-max(num_slots, 2 * self._capacity) // self._block_size)
        added = blocks * self._block_size - self._capacity
        self._live = torch.cat((self._live, self._live.new_zeros(added)))
        for column in self._columns.values():
            tail = column.data.new_full((added, *column.data.shape[1:]), column.fill)
            column.data = torch.cat((column.data, tail))
        self._capacity += added
