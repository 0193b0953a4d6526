"""`HashTable`: an embedding table for an open set of ids. It joins index, rows, gradients and rules.

Owns the lookup, the table's step clock and the list of live tables. Must not know who trains the rows
(`recis.optim`), when a filter pass is due (`recis.hooks.filter_hook`), or other ranks: a table is local to its process.
"""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import wraps
from itertools import count
from typing import Any, Concatenate, ParamSpec, TypeVar
from weakref import WeakValueDictionary

import torch
from torch import Tensor, nn

from recis.nn.hashtable_hook import AdmitHook, FilterHook
from recis.nn.modules.hashtable_hook_impl import BaseAdmitHookImpl, HashtableHookFactory
from recis.nn.modules.id_index import NO_SLOT, IdIndex
from recis.nn.modules.row_gradients import RowGradients, RowLookup
from recis.nn.modules.row_store import RowStore
from recis.nn.modules.table_arguments import (
    Initializer,
    check_ids,
    check_layout,
    check_mask,
    check_rows,
    checked_initializer,
    checked_shape,
)

__all__ = ["FilterCounts", "HashTable", "filter_out_sparse_param", "live_tables"]

_STATE = ("ids", "embeddings", "last_seen", "clock")

P = ParamSpec("P")
R = TypeVar("R")


def _exclusive(method: "Callable[Concatenate[HashTable, P], R]") -> "Callable[Concatenate[HashTable, P], R]":
    """Run the method while its table's lock is held."""

    @wraps(method)
    def call(table: "HashTable", /, *args: P.args, **kwargs: P.kwargs) -> R:
        with table.lock:
            return method(table, *args, **kwargs)

    return call


@dataclass(frozen=True, slots=True)
class FilterCounts:
    """What one filter pass found and did in one table; `bytes` has index, rows, last-seen steps, optimizer state."""

    rows_before: int
    evicted: int
    rows_after: int
    admitted: int
    bytes: int


class HashTable(nn.Module):
    """Rows of an embedding, one for each id that training has met, found by a hash index.

    Any int64 is an id. Rows are neither parameters nor buffers: dense optimizers, `DistributedDataParallel` and
    `clip_grad_norm_` do not see them; `recis.optim` trains them, `state_dict` and `to` include them.

    Args:
        embedding_shape: shape of a row, `[d]`.
        block_size: the table grows in multiples of this many rows.
        dtype: floating dtype of the rows.
        device: where the table lives; torch's default device when None.
        name: how the table is called in statistics and log lines.
        initializer: a function that fills a tensor `[new, *embedding_shape]` in place, as those of `torch.nn.init`
            do, or a number for all values. When None: normal with mean 0 and standard deviation 0.01.
        filter_hook: which rows a filter pass evicts; none when None.
        admit_hook: which new ids get a row; all when None.

    Attributes:
        lock: held by each method, so that several threads may use one table. It is reentrant: hold it around calls that
            belong together, as an optimizer does for a step, but not around `backward`, whose part on a GPU runs on
            another thread.

    Raises:
        ValueError: an argument outside what it allows; the message has its name and value.
    """

    def __init__(
        self,
        embedding_shape: Sequence[int],
        block_size: int = 1024,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
        name: str = "hashtable",
        initializer: Initializer | float | None = None,
        filter_hook: FilterHook | None = None,
        admit_hook: AdmitHook | None = None,
    ) -> None:
        super().__init__()
        check_layout(name, block_size, dtype)
        self.name = name
        self.lock = threading.RLock()
        self.embedding_shape = checked_shape(embedding_shape)
        self._initializer = checked_initializer(initializer)
        factory = HashtableHookFactory()
        self._filter = None if filter_hook is None else factory.create_filter_hook(filter_hook)
        self._admit = None if admit_hook is None else factory.create_admit_hook(admit_hook)
        self._lookup_admits: dict[str, BaseAdmitHookImpl] = {}  # rules given to single lookups, by their declaration
        self._gradients = RowGradients()
        self._admitted = 0  # since the last filter pass
        self._clock = 0  # the training step in progress; 0 until a first step number is known
        self._block_size = block_size
        self._dtype = dtype
        self._allocate(torch.empty(0, device=device).device)
        _live_tables[next(_serial)] = self

    def _allocate(self, device: torch.device) -> None:
        self._index = IdIndex(device)
        self._rows = RowStore(self._block_size, device)
        self._rows.add_column("id", (), torch.int64, 0)
        self._rows.add_column("last_seen", (), torch.int64, 0)
        self._rows.add_column("embedding", self.embedding_shape, self._dtype, 0.0)

    # -- lookup ------------------------------------------------------------------------------------------------------

    @_exclusive
    def forward(self, ids: Tensor, admit_hook: AdmitHook | None = None) -> Tensor:
        """Return the rows of ids; int64 `[...]` to `[..., *embedding_shape]`.

        In training, unknown ids get a row if the admission rule lets them, every id counts as seen in this step, and
        the rows are differentiable. In `eval()` mode and under `torch.inference_mode()` the table stays as it is.
        Ids without a row read as zeros and get no gradient.

        Args:
            ids: ids, duplicates allowed, on the table's device.
            admit_hook: the admission rule for this lookup, instead of the table's own.

        Raises:
            TypeError: ids that are not an int64 tensor.
            ValueError: ids on another device.
        """
        check_ids(self.name, ids, self.device)
        flat = ids.reshape(-1)
        slots = self._index.find(flat)
        column = self._rows.column("embedding")
        if not self.training or torch.is_inference_mode_enabled():
            rows = column.index_select(0, slots)
        else:
            rule = self._admit if admit_hook is None else self._lookup_admit(admit_hook)
            if rule is None or not rule.never_admits:
                slots = self._admit_unknown(flat, slots, rule)
                column = self._rows.column("embedding")  # admission may have made it grow
            self._rows.column("last_seen").index_fill_(0, slots, self._clock)
            anchor = torch.empty(0, device=column.device, requires_grad=torch.is_grad_enabled())
            rows = RowLookup.apply(anchor, self._add_gradient, column, slots, flat, rule is None)  # type: ignore[no-untyped-call]
        return rows.view(*ids.shape, *self.embedding_shape)

    @_exclusive
    def _add_gradient(self, ids: Tensor, grad: Tensor) -> None:
        self._gradients.add(ids, grad)

    def _lookup_admit(self, admit_hook: AdmitHook) -> BaseAdmitHookImpl:
        key = repr(admit_hook)
        if key not in self._lookup_admits:
            self._lookup_admits[key] = HashtableHookFactory().create_admit_hook(admit_hook)
        return self._lookup_admits[key]

    def _admit_unknown(self, ids: Tensor, slots: Tensor, rule: BaseAdmitHookImpl | None) -> Tensor:
        # The host must know how many ids are new: this is the one wait for the device of a training lookup.
        missing = (slots == NO_SLOT).nonzero().squeeze(1)
        if not len(missing):
            return slots
        unknown, position, counts = torch.unique(ids[missing], return_inverse=True, return_counts=True)
        if rule is None:
            new_slots = self._add(unknown)
        else:
            mask = rule.admit(unknown, counts)
            check_mask(f"{type(rule).__name__}.admit of table {self.name!r}", mask, unknown)
            new_slots = torch.full_like(unknown, NO_SLOT).masked_scatter_(mask, self._add(unknown[mask]))
        return slots.index_copy_(0, missing, new_slots[position])

    def _add(self, ids: Tensor) -> Tensor:
        """Give each id a row; ids must be distinct and unknown. Returns their slots."""
        fresh = self._rows.column("embedding").new_zeros(len(ids), *self.embedding_shape)
        if len(ids):
            self._initializer(fresh)
        slots = self._rows.allocate(len(ids))
        self._rows.column("id").index_copy_(0, slots, ids)
        self._rows.column("last_seen").index_fill_(0, slots, self._clock)
        self._rows.column("embedding").index_copy_(0, slots, fresh)
        self._index.insert(ids, slots)
        self._admitted += len(ids)
        return slots

    # -- content -----------------------------------------------------------------------------------------------------

    @_exclusive
    def __len__(self) -> int:
        return len(self._rows)

    @property
    def device(self) -> torch.device:
        """Where the table lives."""
        return self._rows.column("id").device

    @property
    @_exclusive
    def nbytes(self) -> int:
        """Bytes held on the device: index, rows, last-seen steps and optimizer state, free slots included."""
        return self._index.nbytes + self._rows.nbytes

    @_exclusive
    def ids(self) -> Tensor:
        """Return all ids in the table, int64 `[len(self)]`, in the order of `embeddings()`."""
        return self._rows.column("id")[self._rows.live()]

    @_exclusive
    def ids_map(self) -> tuple[Tensor, Tensor]:
        """Return `(ids, index)`, int64 `[len(self)]` each, with `embeddings()[index]` the rows of these ids."""
        ids = self.ids()
        return ids, torch.arange(len(ids), device=ids.device)

    @_exclusive
    def embeddings(self) -> Tensor:
        """Return a copy of all rows, `[len(self), *embedding_shape]`, in the order of `ids()`."""
        return self._rows.column("embedding")[self._rows.live()]

    @torch.no_grad()
    @_exclusive
    def insert(self, ids: Tensor, rows: Tensor) -> None:
        """Set the rows of ids, adding those that are new, whatever the admission rule and mode.

        Args:
            ids: int64 `[N]`; of an id that occurs twice the last row counts.
            rows: `[N, *embedding_shape]` in the table's dtype.

        Raises:
            TypeError: ids that are not int64, rows of another dtype.
            ValueError: a shape that does not fit, another device.
        """
        check_rows(self.name, ids, rows, self.weight())
        distinct, position = torch.unique(ids, return_inverse=True)
        order = torch.arange(len(ids), device=ids.device)
        last = torch.zeros_like(distinct).scatter_reduce_(0, position, order, "amax")
        slots = self._admit_unknown(distinct, self._index.find(distinct), None)
        self._rows.column("embedding").index_copy_(0, slots, rows[last])
        self._rows.column("last_seen").index_fill_(0, slots, self._clock)

    @_exclusive
    def clear(self) -> None:
        """Drop all rows, their optimizer state and pending gradients; the memory stays."""
        slots = self._rows.live()
        self._index.remove(self._rows.column("id")[slots])
        self._rows.release(slots)
        self._gradients.clear()

    # -- filtering ---------------------------------------------------------------------------------------------------

    @_exclusive
    def tick(self, step: int) -> None:
        """Tell the table that training step number `step` is over; what it looks up from now on belongs to the next.

        Steps usually come one by one and cost nothing. Where the numbering starts, or goes back (a restored run), the
        last-seen steps are moved along, so that no row's age changes. Where numbers were left out, the rows seen since
        the last call count as seen in this step.
        """
        if step == self._clock - 1:
            return
        last_seen = self._rows.column("last_seen")
        if self._clock == 0 or step < self._clock:
            last_seen += step - self._clock
        elif step > self._clock:
            last_seen.masked_fill_(last_seen == self._clock, step)
        self._clock = step + 1

    @_exclusive
    def run_filter(self, step: int) -> FilterCounts:
        """Evict what the filter rule says; one pass over the table, and none at all without a rule.

        Raises:
            TypeError: the rule did not return a bool tensor.
            ValueError: the rule's mask has another shape or device than the ids.
        """
        rows_before, admitted = len(self), self._admitted
        if self._filter is not None and rows_before:
            slots = self._rows.live()
            ids = self._rows.column("id")[slots]
            mask = self._filter.filter(ids, self._rows.column("last_seen")[slots], step)
            check_mask(f"{type(self._filter).__name__}.filter of table {self.name!r}", mask, ids)
            self._index.remove(ids[mask])
            self._rows.release(slots[mask])
        self._admitted = 0
        return FilterCounts(
            rows_before=rows_before,
            evicted=rows_before - len(self),
            rows_after=len(self),
            admitted=admitted,
            bytes=self.nbytes,
        )

    # -- training (for optimizers) -----------------------------------------------------------------------------------

    @_exclusive
    def grad(self) -> tuple[Tensor, Tensor] | None:
        """Return `(slots, grad)`: the rows with a gradient, each once, and its sum over all lookups since `clear_grad`.

        Slots are int64 `[M]` into `column(...)` and stay valid until the next admission or filter pass; grad is
        `[M, *embedding_shape]`. Ids that have left the table are left out. None when there was no backward.
        """
        pending = self._gradients.summed()
        if pending is None:
            return None
        slots = self._index.find(pending[0])
        known = slots != NO_SLOT
        return slots[known], pending[1][known]

    @_exclusive
    def clear_grad(self) -> None:
        """Forget the gradients since the last call."""
        self._gradients.clear()

    @_exclusive
    def add_state(self, name: str, fill: float) -> None:
        """Add a column of optimizer state, shaped like the rows, `fill` for every new row; resets an existing one."""
        embedding = self._rows.column("embedding")
        self._rows.add_column(f"state.{name}", self.embedding_shape, embedding.dtype, fill)

    @_exclusive
    def state(self, name: str) -> Tensor:
        """Return a column of optimizer state by slot, `[capacity, *embedding_shape]`, to be changed in place."""
        return self._rows.column(f"state.{name}")

    @_exclusive
    def weight(self) -> Tensor:
        """Return the rows by slot, `[capacity, *embedding_shape]`, to be changed in place under `no_grad`."""
        return self._rows.column("embedding")

    @_exclusive
    def slots(self, ids: Tensor | None = None) -> Tensor:
        """Return the slots of ids, 0 for unknown ones; of all rows in the order of `ids()` when None."""
        return self._rows.live() if ids is None else self._index.find(ids)

    # -- nn.Module ---------------------------------------------------------------------------------------------------

    @_exclusive
    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "HashTable":
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._rows.apply("embedding", fn)
        self._index.to(self.device)
        self._gradients.to(self.weight())
        self._dtype = self.weight().dtype
        return self

    @_exclusive
    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        slots = self._rows.live()
        destination[f"{prefix}ids"] = self._rows.column("id")[slots]
        destination[f"{prefix}embeddings"] = self._rows.column("embedding")[slots]
        destination[f"{prefix}last_seen"] = self._rows.column("last_seen")[slots]
        destination[f"{prefix}clock"] = torch.tensor(self._clock, device="cpu")

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        missing = [f"{prefix}{key}" for key in _STATE if f"{prefix}{key}" not in state_dict]
        if strict:
            own = {key for key in state_dict if key.startswith(prefix)}
            unexpected_keys.extend(sorted(own - {f"{prefix}{key}" for key in _STATE}))
        if missing:
            missing_keys.extend(missing)
            return
        ids, embeddings, last_seen, clock = (state_dict[f"{prefix}{key}"] for key in _STATE)
        if embeddings.shape != (len(ids), *self.embedding_shape):
            wanted = f"expected {(len(ids), *self.embedding_shape)}, got {tuple(embeddings.shape)}"
            error_msgs.append(f"{prefix}embeddings: {wanted}")
            return
        self._restore(ids, embeddings, last_seen, int(clock))

    @torch.no_grad()
    @_exclusive
    def _restore(self, ids: Tensor, embeddings: Tensor, last_seen: Tensor, clock: int) -> None:
        self.clear()
        slots = self._rows.allocate(len(ids))
        ids = ids.to(self.device)
        for name, values in (("id", ids), ("last_seen", last_seen), ("embedding", embeddings)):
            column = self._rows.column(name)
            column.index_copy_(0, slots, values.to(column))
        self._index.insert(ids, slots)
        self._clock = clock
        self._admitted = 0

    @_exclusive
    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # A copy is a table of its own; `__init__` does not run for it.
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self.lock = threading.RLock()
        _live_tables[next(_serial)] = self

    def extra_repr(self) -> str:
        """Show name, rows, shape, dtype and device."""
        shape = list(self.embedding_shape)
        return f"{self.name!r}, rows={len(self)}, embedding_shape={shape}, dtype={self._dtype}, device={self.device}"


_live_tables: WeakValueDictionary[int, HashTable] = WeakValueDictionary()
_serial: Iterator[int] = count()


def _renew_locks() -> None:
    """In a forked child: a lock that another thread of the parent held would never be released."""
    for table in _live_tables.values():
        table.lock = threading.RLock()


os.register_at_fork(after_in_child=_renew_locks)


def live_tables() -> dict[int, HashTable]:
    """Return all tables of this process that are still in use, oldest first, by a number that is never used twice."""
    return dict(sorted(_live_tables.items()))


def filter_out_sparse_param(model: nn.Module) -> dict[str, HashTable]:
    """Return the tables of a model by their path in it, for `SparseAdamW` or `SparseAdagrad`; each table once.

    The model's own parameters are untouched: `model.parameters()` never has rows of tables in it.
    """
    return {path or module.name: module for path, module in model.named_modules() if isinstance(module, HashTable)}
