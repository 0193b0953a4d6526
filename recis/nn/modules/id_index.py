"""Map ids to slots: a two-choice bucketed hash index stored in one torch tensor.

Owns the cells and their hashing. Must not know what is stored in a slot, how ids are admitted, or any step number.
"""

from itertools import count

import torch
from torch import Tensor

__all__ = ["NO_SLOT", "IdIndex"]

NO_SLOT = 0
"""The slot of ids that are not in the index. It is never assigned to an id, so no id value has to be reserved."""

_CELLS = 8  # cells of a bucket: its eight keys are one cache line
_MEAN_CELLS = 4  # mean number of used cells per bucket at which the index doubles; at 5, one in ten builds fails
_CHUNK = 1 << 18  # ids handled at once, which bounds temporary memory to about 150 MB

# Finalizer of SplitMix64 in the variant "Mix13" (David Stafford; see Steele, Lea, Flood: "Fast splittable pseudorandom
# number generators", OOPSLA 2014). It is a bijection on 64 bits, so different ids never share the whole hash.
_GOLDEN = 0x9E3779B97F4A7C15
_MIX_1 = 0xBF58476D1CE4E5B9 - (1 << 64)
_MIX_2 = 0x94D049BB133111EB - (1 << 64)


class IdIndex:
    """Maps distinct int64 ids (any value) to slots `>= 1`, on the device on which it was built.

    An id may lie in one of two buckets of eight cells, chosen by two halves of its hash. A lookup reads exactly these
    sixteen cells, whatever the size of the index and whatever the ids: no probe loop, no tombstones, no wait for the
    device. An insertion takes the emptier bucket ("The power of two choices", Mitzenmacher 2001); when both are full,
    which adversarial ids can cause, the index is rebuilt with another hash.
    """

    def __init__(self, device: torch.device) -> None:
        self._cells = torch.zeros(16, 2, _CELLS, dtype=torch.int64, device=device)  # [bucket, key or slot, cell]
        self._seed = 0
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def nbytes(self) -> int:
        """Bytes held on the device."""
        return self._cells.nbytes

    def find(self, ids: Tensor) -> Tensor:
        """Return the slot of each id, `NO_SLOT` for those not in the index; int64 `[N]` to int64 `[N]`."""
        if ids.numel() <= _CHUNK:
            return self._find(ids)
        return torch.cat([self._find(part) for part in torch.split(ids, _CHUNK)])

    def insert(self, ids: Tensor, slots: Tensor) -> None:
        """Add ids, which must be distinct and absent, with their slots; both int64 `[N]`."""
        self._count += ids.numel()
        num_buckets = len(self._cells)
        while self._count > num_buckets * _MEAN_CELLS:
            num_buckets *= 2
        if num_buckets > len(self._cells):
            self._rebuild(num_buckets, ids, slots)
        elif not self._place(ids, slots):
            waiting = self.find(ids) == NO_SLOT  # some have been placed
            self._rebuild(num_buckets, ids[waiting], slots[waiting])

    def remove(self, ids: Tensor) -> None:
        """Remove ids, which must be distinct and present; int64 `[N]`."""
        for part in torch.split(ids, _CHUNK):
            choice = self._buckets(part)
            lane, side, cell = self._hits(part, choice).nonzero(as_tuple=True)
            self._cells[choice[lane, side], 1, cell] = NO_SLOT
        self._count -= ids.numel()

    def to(self, device: torch.device) -> None:
        """Move the index to a device."""
        self._cells = self._cells.to(device)

    def _buckets(self, ids: Tensor) -> Tensor:
        """Return the two buckets of each id; `[N]` to `[N, 2]`. Integer overflow is intended."""
        mixed = ids + _signed(self._seed * _GOLDEN)
        mixed = (mixed ^ _shift_right(mixed, 30)) * _MIX_1
        mixed = (mixed ^ _shift_right(mixed, 27)) * _MIX_2
        mixed = mixed ^ _shift_right(mixed, 31)
        return torch.stack((mixed, mixed >> 32), dim=1) & (len(self._cells) - 1)

    def _hits(self, ids: Tensor, choice: Tensor) -> Tensor:
        """Return which of its sixteen cells hold each id; bool `[N, 2, 8]`."""
        cells = self._cells.index_select(0, choice.flatten()).view(-1, 2, 2, _CELLS)
        return (cells[:, :, 0] == ids[:, None, None]) & (cells[:, :, 1] != NO_SLOT)

    def _find(self, ids: Tensor) -> Tensor:
        cells = self._cells.index_select(0, self._buckets(ids).flatten()).view(-1, 2, 2, _CELLS)
        # A removed id's key may still be in its cell, but with no slot: both sides of `where` say NO_SLOT then.
        return torch.where(cells[:, :, 0] == ids[:, None, None], cells[:, :, 1], NO_SLOT).amax(dim=(1, 2))

    def _place(self, ids: Tensor, slots: Tensor) -> bool:
        """Put ids into free cells; return False if some found none (the others stay placed)."""
        # Two choices balance the buckets only if later ids see the cells that earlier ones took, so not all are placed
        # at once.
        num = min(_CHUNK, len(self._cells) // 2)
        parts = zip(torch.split(ids, num), torch.split(slots, num), strict=True)
        return all(self._place_part(*part) for part in parts)

    def _place_part(self, ids: Tensor, slots: Tensor) -> bool:
        # An id remains after a round only if the round has filled the id's bucket, so three rounds are enough: one for
        # the emptier bucket, one for the other, and one that finds both full.
        while num_left := ids.numel():
            choice = self._buckets(ids)
            free = self._cells[:, 1].index_select(0, choice.flatten()).view(-1, 2, _CELLS) == NO_SLOT
            room = free.sum(dim=2)
            side = (room[:, 1] > room[:, 0]).long()
            lane = torch.arange(num_left, device=ids.device)
            bucket = choice[lane, side]
            free = free[lane, side]
            # The k-th id of this round for a bucket takes its k-th free cell.
            mine = free & (free.cumsum(dim=1) == _rank_among_equals(bucket)[:, None] + 1)
            placed = mine.any(dim=1)
            cell = mine.to(torch.uint8).argmax(dim=1)
            self._cells[bucket[placed], 0, cell[placed]] = ids[placed]
            self._cells[bucket[placed], 1, cell[placed]] = slots[placed]
            ids, slots = ids[~placed], slots[~placed]  # the host must know how many are left
            if ids.numel() == num_left:
                return False
        return True

    def _rebuild(self, num_buckets: int, ids: Tensor, slots: Tensor) -> None:
        """Rebuild the index from its content and the given ids, none of which it contains."""
        used = self._cells[:, 1] != NO_SLOT
        ids = torch.cat((self._cells[:, 0][used], ids))
        slots = torch.cat((self._cells[:, 1][used], slots))
        for attempt in count(1):
            # If there is enough room, the ids collide under this seed and need another.
            self._seed += num_buckets == len(self._cells)
            self._cells = self._cells.new_zeros(num_buckets, 2, _CELLS)
            if self._place(ids, slots):
                return
            num_buckets *= 2 if attempt % 3 == 0 else 1


def _signed(value: int) -> int:
    """Return the low 64 bits of a number as a signed integer."""
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >> 63 else value


def _shift_right(value: Tensor, bits: int) -> Tensor:
    """Shift int64 right without extending the sign (a logical shift)."""
    return (value >> bits) & ((1 << (64 - bits)) - 1)


def _rank_among_equals(values: Tensor) -> Tensor:
    """Return for each value how many equal ones come before it; int64 `[N]`."""
    order = values.argsort(stable=True)
    ordered = values[order]
    rank = torch.arange(len(values), device=values.device) - torch.searchsorted(ordered, ordered)
    return torch.empty_like(rank).scatter_(0, order, rank)
