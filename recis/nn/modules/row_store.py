"""Store the rows of a table as columns over slots: growth, the free list, and the initial values of a slot.

Owns the memory. Must not know the hashing of ids, admission, filter rules, gradients or optimizers.
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
    """Columns of equal length, indexed by slot. Slot `NO_SLOT` belongs to no id and always has the fill values.

    Columns grow together by doubling, in whole blocks. The memory of released slots is kept, and they are reused first.
    A newly allocated slot has the fill value in every column, whatever its last owner stored there.
    """

    def __init__(self, block_size: int, device: torch.device) -> None:
        self._block_size = block_size
        self._capacity = block_size
        self._columns: dict[str, _Column] = {}
        self._live = torch.zeros(block_size, dtype=torch.bool, device=device)
        self._free = torch.empty(0, dtype=torch.int64, device=device)
        self._next = NO_SLOT + 1  # the lowest slot that was never allocated
        self._num_rows = 0

    def __len__(self) -> int:
        return self._num_rows

    @property
    def nbytes(self) -> int:
        """Bytes held on the device, free slots included."""
        return self._live.nbytes + self._free.nbytes + sum(column.data.nbytes for column in self._columns.values())

    def add_column(self, name: str, shape: tuple[int, ...], dtype: torch.dtype, fill: float) -> None:
        """Add a column of `[*shape]` per slot, or reset the one of this name."""
        self._columns[name] = self._new_column(shape, dtype, fill, is_state=False)

    def add_state(self, name: str, like: str, fill: float) -> None:
        """Add a column of training state for each value of another column, or reset the one of this name.

        Its dtype is the `trained_dtype` of the other column's dtype, also after a conversion of that column.
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
        """Remove a column and return it."""
        return self._columns.pop(name).data

    def column(self, name: str) -> Tensor:
        """Return the column itself, `[capacity, *shape]`; it is another tensor after the store has grown or moved."""
        return self._columns[name].data

    def live(self) -> Tensor:
        """Return the slots in use, ascending; int64 `[len(self)]`."""
        return self._live[: self._next].nonzero().squeeze(1)

    def allocate(self, num: int) -> Tensor:
        """Allocate slots, released ones first; int64 `[num]`."""
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
        """Release slots, which must be distinct and in use; int64 `[N]`."""
        self._live.index_fill_(0, slots, False)
        self._free = torch.cat((self._free, slots))
        self._num_rows -= len(slots)

    def apply(self, name: str, change: Callable[[Tensor], Tensor]) -> None:
        """Apply the conversion of a `Module.to` call to one column, and move all others to the resulting device."""
        main = self._columns[name]
        main.data = change(main.data)
        device = main.data.device
        for column in self._columns.values():
            # Training state follows the dtype of the rows; counters keep theirs.
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
