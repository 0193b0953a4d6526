"""`RaggedTensor`: rows of different lengths as one flat tensor and the offset of each row.

Owns the layout and its conversions. Must not know ids, tables or models.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from recis.errors import ArgumentError

if TYPE_CHECKING:
    import numpy as np

__all__ = ["RaggedTensor"]


class RaggedTensor:
    """Rows of different lengths, possibly nested.

    With `offsets=[o]`, row i has `values[o[i]:o[i + 1]]`. With several, `offsets[0]` divides the rows defined by
    `offsets[1]` in the same way, and so on; the last one divides the values.

    Args:
        values: the concatenated values of all rows, `[N]` or `[N, *rest]`.
        offsets: one integer tensor per level, `[rows + 1]`, ascending from 0; a single level may be given as the tensor
            itself.
        weight: a number for each value, `[N]`.
        dense_shape: sizes of the levels, -1 for those that follow from the offsets; computed when None.

    Raises:
        TypeError: values, offsets or weight are not tensors of the expected kind.
        ValueError: offsets that do not match the values or each other.
    """

    def __init__(
        self,
        values: Tensor,
        offsets: Sequence[Tensor] | Tensor,
        weight: Tensor | None = None,
        dense_shape: Sequence[int] | None = None,
    ) -> None:
        self._values = values
        self._offsets = [offsets] if isinstance(offsets, Tensor) else list(offsets)
        self._weight = weight
        self._dense_shape = tuple(dense_shape or (-1,) * (len(self._offsets) + 1))
        _check_kinds(values, self._offsets, weight)
        if dense_shape is None:
            # A given shape is trusted, since checking the offsets would wait for the device.
            _check_offsets(values, self._offsets)
            self._dense_shape = self.real_shape()

    def values(self) -> Tensor:
        """Return the concatenated values of all rows."""
        return self._values

    def offsets(self) -> list[Tensor]:
        """Return for each level where each row begins, and where the last one ends."""
        return self._offsets

    def weight(self) -> Tensor | None:
        """Return a number for each value, or None."""
        return self._weight

    def set_values(self, values: Tensor) -> None:
        """Replace the values with the same number of new ones."""
        _check_kinds(values, self._offsets, None)
        if len(values) != len(self._values):
            raise ArgumentError("RaggedTensor.set_values", f"{len(self._values)} values", len(values))
        self._values = values

    def set_weight(self, weight: Tensor | None) -> None:
        """Set a number for each value."""
        _check_kinds(self._values, self._offsets, weight)
        self._weight = weight

    # -- shape -------------------------------------------------------------------------------------------------------

    @property
    def dim(self) -> int:
        """Number of levels, including that of the rows."""
        return len(self._dense_shape)

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of rows, then the longest length of each level."""
        return self.real_shape()

    def size(self) -> tuple[int, ...]:
        """Return `shape`."""
        return self.real_shape()

    @property
    def max_length(self) -> int:
        """The longest length of the last level."""
        return self.get_shape(-1)

    def real_shape(self, start: int = 0, end: int | None = None) -> tuple[int, ...]:
        """Return the part of `shape` from level `start` to before `end`."""
        return tuple(self.get_shape(level) for level in range(self.dim)[start:end])

    def get_shape(self, dim: int) -> int:
        """Return the size of a level; wait for the device if it must be computed."""
        level = range(self.dim)[dim]
        if self._dense_shape[level] != -1:
            return self._dense_shape[level]
        if level == 0:
            return len(self._offsets[0]) - 1
        offsets = self._offsets[level - 1]
        return int(offsets.diff().max()) if len(offsets) > 1 else 0

    def set_dim_by_rank(self, dim: int, rank: int) -> None:
        """Set the size of level `rank` to `dim`; -1 derives it from the offsets."""
        sizes = list(self._dense_shape)
        sizes[rank] = int(dim)
        self._dense_shape = tuple(sizes)

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the values."""
        return self._values.dtype

    @property
    def device(self) -> torch.device:
        """Device of the values."""
        return self._values.device

    # -- other places ------------------------------------------------------------------------------------------------

    def to(self, *args: Any, **kwargs: Any) -> "RaggedTensor":
        """Return the tensor on another device or in another dtype; arguments as for `torch.Tensor.to`."""
        values = self._values.to(*args, **kwargs)
        non_blocking = bool(kwargs.get("non_blocking", False))
        return self._with(values, lambda part: part.to(values.device, non_blocking=non_blocking))

    def cuda(self, device: torch.device | int | None = None) -> "RaggedTensor":
        """Return the tensor on a CUDA device."""
        return self._with(self._values.cuda(device), lambda part: part.cuda(device))

    def cpu(self) -> "RaggedTensor":
        """Return the tensor in host memory."""
        return self._with(self._values.cpu(), lambda part: part.cpu())

    def pin_memory(self) -> "RaggedTensor":
        """Return a copy in pinned memory, from which copies to a GPU need not wait."""
        return self._with(self._values.pin_memory(), lambda part: part.pin_memory())

    def clone(self) -> "RaggedTensor":
        """Return another ragged tensor over the same values, offsets and weight."""
        return self._with(self._values, lambda part: part)

    def _with(self, values: Tensor, change: Any) -> "RaggedTensor":
        weight = None if self._weight is None else change(self._weight)
        return RaggedTensor(values, [change(each) for each in self._offsets], weight, self._dense_shape)

    # -- other forms -------------------------------------------------------------------------------------------------

    def to_dense(self, default_value: float = 0.0) -> Tensor:
        """Return a dense tensor, with shorter rows padded with `default_value`."""
        dense = self._values
        for offsets in reversed(self._offsets):
            lengths = offsets.diff()
            width = int(lengths.max()) if len(lengths) else 0
            padded = dense.new_full((len(lengths), width, *dense.shape[1:]), default_value)
            filled = torch.arange(width, device=dense.device) < lengths[:, None]
            padded[filled] = dense  # both are ordered by row
            dense = padded
        return dense

    def to_sparse(self) -> Tensor:
        """Return a sparse COO tensor with exactly these values."""
        place = torch.arange(len(self._values), device=self.device)
        places = []
        for offsets in reversed(self._offsets):
            row = torch.searchsorted(offsets.to(torch.int64), place, right=True) - 1
            places.append(place - offsets[row])
            place = row
        indices = torch.stack([place, *reversed(places)])
        shape = (*self.shape, *self._values.shape[1:])
        return torch.sparse_coo_tensor(indices, self._values, shape, is_coalesced=True, check_invariants=False)

    @staticmethod
    def from_dense(dense: Tensor) -> "RaggedTensor":
        """Return the rows of a tensor `[rows, width]` without trailing zeros."""
        if not isinstance(dense, Tensor) or dense.dim() != 2:
            got = tuple(dense.shape) if isinstance(dense, Tensor) else type(dense).__name__
            raise ArgumentError("RaggedTensor.from_dense", "a tensor [rows, width]", got)
        place = torch.arange(1, dense.shape[1] + 1, device=dense.device)
        lengths = (place * (dense != 0)).amax(dim=1) if dense.shape[1] else place.new_zeros(len(dense))
        values = dense[place <= lengths[:, None]]
        offsets = torch.cat((lengths.new_zeros(1), lengths.cumsum(0)))
        return RaggedTensor(values, offsets, dense_shape=dense.shape)

    @staticmethod
    def from_jagged(nested: Tensor) -> "RaggedTensor":
        """Return the rows of a nested tensor of layout `torch.jagged`, without the gaps of a narrowed one."""
        if not isinstance(nested, Tensor) or nested.layout != torch.jagged:
            got = nested.layout if isinstance(nested, Tensor) else type(nested).__name__
            raise ArgumentError("RaggedTensor.from_jagged", "a nested tensor of layout torch.jagged", str(got))
        values, offsets, lengths = nested.values(), nested.offsets(), nested.lengths()  # type: ignore[attr-defined]
        if lengths is not None:
            place = torch.arange(int(offsets[-1]), device=values.device)
            row = torch.searchsorted(offsets, place, right=True) - 1
            values = values[place[place - offsets[row] < lengths[row]]]
            offsets = torch.cat((offsets[:1], lengths.cumsum(0)))
        return RaggedTensor(values, offsets, dense_shape=(len(offsets) - 1, -1))

    @staticmethod
    def from_numpy(values: "np.ndarray", offsets: "Sequence[np.ndarray] | np.ndarray") -> "RaggedTensor":
        """Return a ragged tensor that shares the memory of numpy arrays."""
        levels = [offsets] if hasattr(offsets, "dtype") else offsets
        return RaggedTensor(torch.from_numpy(values), [torch.from_numpy(each) for each in levels])

    def __len__(self) -> int:
        return self.get_shape(0)

    def __repr__(self) -> str:
        return (
            f"RaggedTensor(values={self._values}, offsets={self._offsets}, weight={self._weight}, "
            f"dense_shape={self._dense_shape})"
        )


def _check_kinds(values: Tensor, offsets: list[Tensor], weight: Tensor | None) -> None:
    if not isinstance(values, Tensor) or not values.dim():
        raise TypeError(f"RaggedTensor's values: expected a tensor [N, ...], got {_kind(values)}")
    for level in offsets:
        if not isinstance(level, Tensor) or level.dim() != 1 or level.dtype not in (torch.int32, torch.int64):
            raise TypeError(f"RaggedTensor's offsets: expected int32 or int64 tensors [rows + 1], got {_kind(level)}")
    if not offsets:
        raise ArgumentError("RaggedTensor's offsets", "at least one tensor", [])
    if weight is not None and (not isinstance(weight, Tensor) or weight.shape[:1] != values.shape[:1]):
        raise ArgumentError("RaggedTensor's weight", f"a tensor of {len(values)} numbers", _kind(weight))


def _check_offsets(values: Tensor, offsets: list[Tensor]) -> None:
    counts = [*(len(inner) - 1 for inner in offsets[1:]), len(values)]
    for place, (level, count) in enumerate(zip(offsets, counts, strict=True)):
        ascending = len(level) > 0 and bool((level.diff() >= 0).all())
        ends = [int(level[0]), int(level[-1])] if ascending else []
        if ends != [0, count]:
            expected = f"ascending numbers from 0 to {count} (the number of what they divide)"
            got = ends if ascending else level.tolist()[:16]
            raise ArgumentError(f"RaggedTensor's offsets[{place}]", expected, got)


def _kind(value: object) -> str:
    return f"{value.dtype} {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
