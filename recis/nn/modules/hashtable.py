"""`HashTable`: an embedding table for an open set of ids, composed of index, rows, gradients and rules.

Owns the lookup, the table's step clock and the list of live tables. Must not know what trains the rows
(`recis.optim`), when a filter pass is due (`recis.hooks.filter_hook`), or other ranks: a table is local to its process.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor, nn

from recis.nn.hashtable_hook import AdmitHook, FilterHook
from recis.nn.initializers import Initializer
from recis.nn.modules.exact_rows import ExactRows
from recis.nn.modules.id_index import NO_SLOT, IdIndex
from recis.nn.modules.row_gradients import RowGradients, RowLookup
from recis.nn.modules.row_store import RowStore
from recis.nn.modules.table_arguments import (
    Fill,
    Slice,
    check_ids,
    check_mask,
    check_options,
    check_rows,
    checked_children,
    checked_initializer,
    checked_shape,
    checked_slice,
    gen_slice,
)
from recis.nn.modules.table_lock import TableLock, exclusive
from recis.nn.modules.table_names import distinct_names, warn_of_shared_names
from recis.nn.modules.table_rules import FilterCounts, TableRules
from recis.nn.modules.table_state import TableState, read_state, write_state
from recis.numerals import positive_int
from recis.ragged.tensor import RaggedTensor

__all__ = [
    "FilterCounts",
    "HashTable",
    "Slice",
    "filter_out_sparse_param",
    "gen_slice",
    "live_tables",
    "num_tables_made",
]


@dataclass(slots=True)
class _Clock:
    """The training step in progress; 0 until a first step number is known.

    It is a separate object because setting an attribute of a module costs more than the rest of a tick.
    """

    now: int = 0


class HashTable(nn.Module):
    """Rows of an embedding, one for each id that occurred in training, found by a hash index.

    Any int64 is an id. Rows are neither parameters nor buffers: dense optimizers, `DistributedDataParallel` and
    `clip_grad_norm_` do not see them; `recis.optim` trains them, `state_dict` and `to` include them.

    Args:
        embedding_shape: shape of a row, `[d]`.
        block_size: the table grows in multiples of this many rows.
        dtype: dtype of the rows: float16, bfloat16, float32 or float64. Narrow ones are trained in float32.
        device: where the table lives; torch's default device when None.
        coalesced: whether the table combines several tables, whose ids the caller keeps distinct.
        children: the names of these tables; `[name]` when None.
        slice: the share of all ids that RecIS would assign to this process. Here, a table accepts every id.
        initializer: fills new rows: an object from `recis.nn.initializers`, a function that fills a tensor `[new,
            *embedding_shape]` in place, or a number. Zeros when None.
        name: name of the table in statistics, log lines and optimizers.
        grad_reduce_by: how gradients of an id that occurs several times in a lookup are combined: "worker" adds them,
            "id" takes their mean.
        filter_hook: which rows a filter pass evicts; none when None.
        admit_hook: which new ids get a row; all when None.

    Attributes:
        lock: held by each method, so that several threads may use one table. Hold it for several calls that must not be
            interleaved with others, but not for `backward`, which on a GPU runs on another thread.

    Raises:
        ValueError: an invalid argument; the message has its name and value.
        TypeError: a rule that cannot be created with the parameters of its declaration.
    """

    def __init__(
        self,
        embedding_shape: Sequence[int],
        block_size: int = 1024,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
        coalesced: bool = False,
        children: Sequence[str] | None = None,
        slice: Slice | None = None,  # noqa: A002  RecIS calls it so
        initializer: Initializer | Fill | float | None = None,
        name: str = "hashtable",
        grad_reduce_by: str = "worker",
        filter_hook: FilterHook | None = None,
        admit_hook: AdmitHook | None = None,
    ) -> None:
        super().__init__()
        check_options(name, dtype, grad_reduce_by)
        self.name = name
        self.lock = TableLock()
        self.embedding_shape = checked_shape(embedding_shape)
        self.children_hashtable = checked_children(name, coalesced, children)
        self.coalesce = coalesced
        self.grad_reduce_by = grad_reduce_by
        self.slice = checked_slice(name, slice)
        self._block_size = positive_int("HashTable's block_size", block_size, "rows")
        self._initializer = checked_initializer(initializer, self._block_size, self.embedding_shape)
        self._dtype = dtype
        self._gradients = RowGradients()
        self._admitted = 0  # since the last filter pass
        self._clock = _Clock()
        self._allocate(torch.empty(0, device=device).device)
        self._rules = TableRules(self, filter_hook, admit_hook)
        self._sees_steps = self._rules.sees_steps
        _list(self)

    def _allocate(self, device: torch.device) -> None:
        self._index = IdIndex(device)
        self._rows = RowStore(self._block_size, device)
        self._rows.add_column("id", (), torch.int64, 0)
        self._rows.add_column("last_seen", (), torch.int64, 0)
        self._rows.add_column("embedding", self.embedding_shape, self._dtype, 0.0)
        self._exact = ExactRows(self._rows, "embedding")

    # -- lookup ------------------------------------------------------------------------------------------------------

    @exclusive
    def forward(self, ids: Tensor, admit_hook: AdmitHook | None = None) -> Tensor:
        """Return the rows of ids; int64 `[...]` to `[..., *embedding_shape]`.

        In training, unknown ids get a row if the admission rule admits them, every id counts as seen in this step, and
        the rows are differentiable. In `eval()` mode and under `torch.inference_mode()` the table is not changed. Ids
        without a row read as zeros and get no gradient.

        Args:
            ids: ids, duplicates allowed, on the table's device; dense, or jagged (then the rows are jagged as well).
            admit_hook: the admission rule for this lookup, instead of that of the table.

        Raises:
            TypeError: ids that are not a dense or jagged int64 tensor.
            ValueError: ids on another device.
        """
        if isinstance(ids, Tensor) and ids.layout == torch.jagged:
            ragged = RaggedTensor.from_jagged(ids)
            return torch.nested.nested_tensor_from_jagged(self(ragged.values(), admit_hook), ragged.offsets()[0])
        check_ids(self.name, ids, self.device)
        flat = ids.reshape(-1)
        slots = self._index.find(flat)
        column = self._rows.column("embedding")
        if not self.training or torch.is_inference_mode_enabled():
            rows = column.index_select(0, slots)
        else:
            rule = self._rules.admission(admit_hook)
            if rule is None or not getattr(rule, "never_admits", False):
                slots = self._admit_unknown(flat, slots, rule)
                column = self._rows.column("embedding")  # admission may have grown it
            self._rows.column("last_seen").index_fill_(0, slots, self._clock.now)
            self._rules.see(slots)
            anchor = torch.empty(0, device=column.device, requires_grad=torch.is_grad_enabled())
            takes_mean = self.grad_reduce_by == "id"
            rows = RowLookup.apply(anchor, self._add_gradient, column, slots, flat, rule is None, takes_mean)  # type: ignore[no-untyped-call]
        return rows.view(*ids.shape, *self.embedding_shape)

    @exclusive
    def _add_gradient(self, ids: Tensor, grad: Tensor) -> None:
        self._gradients.add(ids, grad)

    def _admit_unknown(self, ids: Tensor, slots: Tensor, rule: Any) -> Tensor:
        # The host must know how many ids are new: this is the only wait for the device in a training lookup.
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
        self._rows.column("last_seen").index_fill_(0, slots, self._clock.now)
        self._rows.column("embedding").index_copy_(0, slots, fresh)
        self._index.insert(ids, slots)
        self._admitted += len(ids)
        return slots

    # -- content -----------------------------------------------------------------------------------------------------

    @exclusive
    def __len__(self) -> int:
        return len(self._rows)

    @property
    def device(self) -> torch.device:
        """Where the table lives."""
        return self._rows.column("id").device

    @property
    @exclusive
    def nbytes(self) -> int:
        """Bytes held on the device: index, rows, last-seen steps and optimizer state, free slots included."""
        return self._index.nbytes + self._rows.nbytes

    @exclusive
    def ids(self) -> Tensor:
        """Return all ids in the table, int64 `[len(self)]`, in the order of `embeddings()`."""
        return self._rows.column("id")[self._rows.live()]

    @exclusive
    def ids_map(self) -> tuple[Tensor, Tensor]:
        """Return `(ids, index)`, int64 `[len(self)]` each, with `embeddings()[index]` the rows of these ids."""
        ids = self.ids()
        return ids, torch.arange(len(ids), device=ids.device)

    @exclusive
    def last_seen(self) -> Tensor:
        """Return the training step in which each id was last looked up, or inserted; in the order of `ids()`."""
        return self._rows.column("last_seen")[self._rows.live()]

    @exclusive
    def embeddings(self) -> Tensor:
        """Return a copy of all rows, `[len(self), *embedding_shape]`, in the order of `ids()`."""
        return self._rows.column("embedding")[self._rows.live()]

    @torch.no_grad()
    @exclusive
    def insert(self, ids: Tensor, rows: Tensor) -> None:
        """Set the rows of ids, adding those that are new, whatever the admission rule and mode.

        Args:
            ids: int64 `[N]`; if an id occurs twice, its last row counts.
            rows: `[N, *embedding_shape]` in the table's dtype.

        Raises:
            TypeError: ids that are not int64, rows of another dtype.
            ValueError: a shape that does not match, or another device.
        """
        check_rows(self.name, ids, rows, self.weight())
        distinct, position = torch.unique(ids, return_inverse=True)
        order = torch.arange(len(ids), device=ids.device)
        last = torch.zeros_like(distinct).scatter_reduce_(0, position, order, "amax")
        slots = self._admit_unknown(distinct, self._index.find(distinct), None)
        self._exact.put(slots, rows[last])
        self._rows.column("last_seen").index_fill_(0, slots, self._clock.now)

    @exclusive
    def clear(self) -> None:
        """Drop all rows, their optimizer state and pending gradients; the memory stays allocated."""
        slots = self._rows.live()
        self._index.remove(self._rows.column("id")[slots])
        self._rows.release(slots)
        self._gradients.clear()

    # -- filtering ---------------------------------------------------------------------------------------------------

    @property
    def last_step(self) -> int:
        """The last training step that ended, -1 before a first step number is known."""
        return self._clock.now - 1

    @exclusive
    def tick(self, step: int) -> None:
        """Note that training step `step` has ended; lookups from now on belong to the next step.

        Consecutive steps cost nothing. When the numbering starts or goes back (a restored run), the last-seen steps are
        shifted too, so that no row's age changes. When numbers were skipped, the rows seen since the last call count as
        seen in this step.
        """
        clock = self._clock
        if step == clock.now and step:
            clock.now += 1
        elif step == clock.now - 1:
            return
        else:
            self._move_clock(int(step))
        if self._sees_steps:
            self._rules.tick()

    def _move_clock(self, step: int) -> None:
        now, last_seen = self._clock.now, self._rows.column("last_seen")
        self._clock.now = step + 1
        if not len(self._rows):
            return
        if now == 0 or step < now:
            last_seen += step - now
        else:
            last_seen.masked_fill_(last_seen == now, step)

    @torch.no_grad()
    @exclusive
    def run_filter(self, step: int) -> FilterCounts:
        """Evict the rows that the filter rule selects, in one pass over the table; without a rule, do nothing.

        Raises:
            TypeError: the rule's result does not have the type that its form requires.
            ValueError: the rule's result does not match the ids that it was given.
        """
        rows_before, admitted = len(self), self._admitted
        if rows_before:
            self._rules.run_filter(step)
        self._admitted = 0
        return FilterCounts(
            rows_before=rows_before,
            evicted=rows_before - len(self),
            rows_after=len(self),
            admitted=admitted,
            bytes=self.nbytes,
        )

    @exclusive
    def evict(self, ids: Tensor, slots: Tensor) -> None:
        """Drop ids, which are distinct and in the table, given with their slots; int64 `[N]` each."""
        self._index.remove(ids)
        self._rows.release(slots)

    # -- training (for optimizers) -----------------------------------------------------------------------------------

    @exclusive
    def grad(self) -> tuple[Tensor, Tensor] | None:
        """Return `(slots, grad)`: the rows with a gradient, each once, and its sum over all lookups since `clear_grad`.

        Slots are int64 `[M]` into `weight()` and stay valid until the next admission or filter pass; grad is
        `[M, *embedding_shape]`. Ids that have left the table are left out. None if there was no backward pass.
        """
        pending = self._gradients.summed()
        if pending is None:
            return None
        slots = self._index.find(pending[0])
        known = slots != NO_SLOT
        return slots[known], pending[1][known]

    @exclusive
    def clear_grad(self) -> None:
        """Discard the gradients since the last call."""
        self._gradients.clear()

    @exclusive
    def add_state(self, name: str, fill: float) -> None:
        """Add a column of optimizer state, shaped like the rows, `fill` for every new row; resets an existing one."""
        self._rows.add_state(f"state.{name}", "embedding", fill)

    @exclusive
    def state(self, name: str) -> Tensor:
        """Return a column of optimizer state by slot, `[capacity, *embedding_shape]`, to be changed in place."""
        return self._rows.column(f"state.{name}")

    @exclusive
    def weight(self) -> Tensor:
        """Return the rows by slot, `[capacity, *embedding_shape]`, to be changed in place under `no_grad`."""
        return self._rows.column("embedding")

    @exclusive
    def read_rows(self, slots: Tensor) -> Tensor:
        """Return rows for an optimizer, `[M, *embedding_shape]`: narrow dtypes in float32, without rounding."""
        return self._exact.read(slots)

    @exclusive
    def write_rows(self, slots: Tensor, rows: Tensor) -> None:
        """Set rows in the form that `read_rows` returns; rounding errors of narrow dtypes are stored and accumulate."""
        self._exact.write(slots, rows)

    @exclusive
    def slots(self, ids: Tensor | None = None) -> Tensor:
        """Return the slots of ids, 0 for unknown ones; with None, those of all rows in the order of `ids()`."""
        return self._rows.live() if ids is None else self._index.find(ids)

    # -- nn.Module ---------------------------------------------------------------------------------------------------

    @exclusive
    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "HashTable":
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._rows.apply("embedding", fn)
        self._exact.converted()
        self._index.to(self.device)
        self._gradients.to(self.weight())
        self._dtype = self.weight().dtype
        return self

    @exclusive
    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        slots = self._rows.live()
        # In the order of the ids, so that equal content gives equal entries, whatever the slots of the rows.
        slots = slots[self._rows.column("id")[slots].argsort()]
        generator = self._initializer.generator if isinstance(self._initializer, Initializer) else None
        state = TableState(
            ids=self._rows.column("id")[slots],
            embeddings=self._rows.column("embedding")[slots],
            last_seen=self._rows.column("last_seen")[slots],
            clock=self._clock.now,
            admitted=self._admitted,
            residual=self._exact.residual(slots),
            generator=None if generator is None else generator.get_state(),
        )
        write_state(destination, prefix, state)

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
        children = {name for name, _ in self.named_children()}
        state, missing, unexpected, errors = read_state(state_dict, prefix, self.embedding_shape, children)
        missing_keys.extend(missing)
        unexpected_keys.extend(unexpected if strict else ())
        error_msgs.extend(errors)
        if state is not None:
            self._restore(state)

    @torch.no_grad()
    @exclusive
    def _restore(self, state: TableState) -> None:
        self.clear()
        ids = state.ids.to(self.device)
        slots = self._rows.allocate(len(ids))
        columns = {"id": ids, "last_seen": state.last_seen, "embedding": state.embeddings}
        for name, values in columns.items():
            column = self._rows.column(name)
            column.index_copy_(0, slots, values.to(column))
        if state.residual is not None:
            self._exact.set_residual(slots, state.residual)
        self._index.insert(ids, slots)
        self._clock.now, self._admitted = state.clock, state.admitted
        if state.generator is not None and isinstance(self._initializer, Initializer) and self._initializer.generator:
            self._initializer.generator.set_state(state.generator.cpu())

    @exclusive
    def __getstate__(self) -> dict[str, Any]:
        return dict(self.__dict__)

    def __setstate__(self, state: dict[str, Any]) -> None:
        # A copy is a separate table; `__init__` does not run for it.
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._rules.attach(self)
        _list(self)

    def __repr__(self) -> str:
        shape = list(self.embedding_shape)
        content = f"rows={len(self)}, embedding_shape={shape}, dtype={self._dtype}, device={self.device}"
        return f"HashTable({self.name!r}, {content})"


_live_tables: WeakValueDictionary[int, HashTable] = WeakValueDictionary()
_serial = count(1)
_num_made = 0


def _list(table: HashTable) -> None:
    global _num_made  # noqa: PLW0603  the list of live tables is this module's business
    _live_tables[number := next(_serial)] = table  # atomic: threads may create tables at the same time
    _num_made = number


def live_tables() -> dict[int, HashTable]:
    """Return all tables of this process that are still in use, oldest first, by a number that is never reused."""
    return dict(sorted(_live_tables.items()))


def num_tables_made() -> int:
    """Return how many tables this process has created; while it stays the same, `live_tables` has nothing new."""
    return _num_made


def filter_out_sparse_param(model: nn.Module) -> dict[str, HashTable]:
    """Return the tables of a model, each once, for an optimizer from `recis.optim`.

    The key of a table is its name, or its path in the model if several have that name (with one warning). The model's
    parameters are not affected: `model.parameters()` never includes rows of tables.
    """
    found = [(path, module) for path, module in model.named_modules() if isinstance(module, HashTable)]
    tables = [table for _, table in found]
    warn_of_shared_names(tables)
    names = [table.name for table in tables]
    keys = [path if path and names.count(table.name) > 1 else table.name for path, table in found]
    return dict(zip(distinct_names(keys), tables, strict=True))
