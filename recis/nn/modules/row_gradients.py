"""Gradients of looked-up rows: the differentiable lookup, and the pending sum until an optimizer reads it.

Owns the gradients from backward. Must not know slots of other tables, the rules of optimizers, or the structure of the
index.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from recis.nn.modules.id_index import NO_SLOT
from recis.nn.modules.row_store import trained_dtype

__all__ = ["RowGradients", "RowLookup"]

_COMPACT_ABOVE = 1 << 16  # number of pending rows at which they are summed by id, unless there are many different ids


class RowGradients:
    """The gradients since the last `clear`, by id; corresponds to `.grad` of a parameter.

    Kept by id and not by slot, so that a row which is evicted (and its slot reused) between backward and step loses its
    gradient instead of passing it on.
    """

    def __init__(self) -> None:
        self._parts: list[tuple[Tensor, Tensor]] = []
        self._num_waiting = 0
        self._compact_at = _COMPACT_ABOVE

    def add(self, ids: Tensor, grad: Tensor) -> None:
        """Add gradients, `[N]` ids (duplicates allowed) and `[N, *shape]`; narrow ones add up in float32."""
        self._parts.append((ids, grad.to(trained_dtype(grad.dtype))))
        self._num_waiting += len(ids)
        if self._num_waiting > self._compact_at:
            # They may never be read (a model trained without a sparse optimizer): memory stays proportional to the
            # number of different ids.
            self._compact()
            self._compact_at = max(_COMPACT_ABOVE, 2 * self._num_waiting)

    def summed(self) -> tuple[Tensor, Tensor] | None:
        """Return distinct ids, ascending, and the sum of their gradients; None if there was no backward pass."""
        if not self._parts:
            return None
        self._compact()
        return self._parts[0]

    def clear(self) -> None:
        """Discard all gradients."""
        self._parts.clear()
        self._num_waiting = 0
        self._compact_at = _COMPACT_ABOVE

    def to(self, like: Tensor) -> None:
        """Move to a tensor's device, and convert to the dtype in which it is trained."""
        dtype = trained_dtype(like.dtype)
        self._parts = [(ids.to(like.device), grad.to(like.device, dtype)) for ids, grad in self._parts]

    def _compact(self) -> None:
        ids = torch.cat([part[0] for part in self._parts])
        grad = torch.cat([part[1] for part in self._parts])
        distinct, position = torch.unique(ids, return_inverse=True)  # the host must know how many rows the sum has
        total = grad.new_zeros(len(distinct), *grad.shape[1:]).index_add_(0, position, grad)
        self._parts = [(distinct, total)]
        self._num_waiting = len(distinct)


class RowLookup(torch.autograd.Function):
    """Gathers rows; its backward passes on their gradient, independently of the slots of the rows at that time."""

    @staticmethod
    def forward(
        ctx: Any,
        _anchor: Tensor,
        take: Callable[[Tensor, Tensor], None],
        column: Tensor,
        slots: Tensor,
        ids: Tensor,
        all_known: bool,
        takes_mean: bool = False,
    ) -> Tensor:
        """Return the rows, `[N, *shape]`.

        Args:
            ctx: autograd's context.
            _anchor: any tensor that requires a gradient; it adds this node to the graph and gets no gradient.
            take: called by backward with ids `[N]` and their gradient `[N, *shape]`, on the thread of backward.
            column: `[capacity, *shape]`.
            slots: int64 `[N]`, where the rows are.
            ids: int64 `[N]`, whose rows they are.
            all_known: False when some slots may be `NO_SLOT`; those get no gradient.
            takes_mean: whether the gradient of an id that occurs several times is their mean instead of their sum.
        """
        # Saved with autograd's check: an id buffer that is overwritten before backward raises an error.
        ctx.save_for_backward(ids, None if all_known else slots)
        ctx.take = take
        ctx.takes_mean = takes_mean
        return column.index_select(0, slots)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[None, ...]:
        """Pass the gradient on."""
        ids, slots = ctx.saved_tensors
        grad = grad_outputs[0].detach()
        if slots is not None:
            known = slots != NO_SLOT
            ids, grad = ids[known], grad[known]  # the host must know how many: only lookups that may meet unknown ids
        if ctx.takes_mean:
            _, position, counts = torch.unique(ids, return_inverse=True, return_counts=True)
            grad = grad / counts[position].view(-1, *[1] * (grad.dim() - 1))
        ctx.take(ids, grad)
        return (None,) * 7
