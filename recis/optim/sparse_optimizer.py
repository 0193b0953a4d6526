"""Base of optimizers of `HashTable` rows: the step over tables, and state saved by id.

Owns the iteration over tables and the state dict. Must not know an update rule, or how a table stores its rows.
"""

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from recis.errors import ArgumentError
from recis.nn.modules.hashtable import HashTable
from recis.numerals import as_real, positive_int

__all__ = ["SparseOptimizer", "checked_number"]


class SparseOptimizer(Optimizer):
    """Trains the rows of tables; each step updates only rows that have a gradient.

    It is a `torch.optim.Optimizer` with one group of options and no parameters, so learning-rate schedulers work. State
    is stored in the tables, one row per slot, and is initialised for each new row. A table has one optimizer: creating
    a second one resets the table's state. A copy of an optimizer has copies of its tables, as a copy of a torch
    optimizer has of its parameters; copied together with a model, it trains the tables of the copied model.

    Args:
        param_dict: tables by name, as `recis.nn.filter_out_sparse_param(model)` gives them.
        defaults: the options of the one group.
        state_fill: columns of state, with the initial value of each for a new row.

    Raises:
        TypeError: `param_dict` is not a mapping of names to tables.
        ValueError: it is empty, or has a table twice.
    """

    def __init__(
        self, param_dict: Mapping[str, HashTable], defaults: dict[str, Any], state_fill: dict[str, float]
    ) -> None:
        if not isinstance(param_dict, Mapping) or not all(isinstance(t, HashTable) for t in param_dict.values()):
            got = type(param_dict).__name__
            raise TypeError(f"param_dict: expected tables by name (filter_out_sparse_param(model)), got {got}")
        if not param_dict:
            raise ArgumentError("param_dict", "at least one table", {})
        if len(set(param_dict.values())) < len(param_dict):
            raise ArgumentError("param_dict", "each table once", sorted(param_dict))
        super().__init__([{"params": []}], defaults)
        self.tables = dict(param_dict)
        self._state_fill = state_fill
        self._num_steps = dict.fromkeys(self.tables, 0)
        self._accumulation = 1
        self._num_calls = 0  # of `step`, since the last update
        for table in self.tables.values():
            self._add_state(table)

    @abstractmethod
    def _update(self, rows: Tensor, grad: Tensor, state: dict[str, Tensor], num_step: int) -> None:
        """Change rows and their state in place; all are at least as wide as float32.

        Args:
            rows: `[M, *shape]`, the rows of the step.
            grad: `[M, *shape]`, their gradient.
            state: their values in each column of state, `[M, *shape]`.
            num_step: number of updates with a gradient of this table, including this one.
        """

    def set_grad_accum_steps(self, steps: int) -> None:
        """Update only at every `steps`-th call of `step`, with the mean of the gradients since the last update.

        In between, `zero_grad` keeps the gradients. A `Trainer` does its own accumulation and leaves this at 1.

        Raises:
            ValueError: `steps` is no positive int.
        """
        self._accumulation = positive_int("set_grad_accum_steps's steps", steps)
        self._num_calls = 0

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update the rows that were looked up since `zero_grad` and have a gradient; return the closure's loss."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._num_calls = (self._num_calls + 1) % self._accumulation
        if self._num_calls == 0:
            for name, table in self.tables.items():
                with table.lock:  # a lookup by another thread may make the table grow
                    self._update_table(name, table)
        return loss

    def _update_table(self, name: str, table: HashTable) -> None:
        pending = table.grad()
        if pending is None:
            return
        self._num_steps[name] += 1
        slots, grad = pending
        if not len(slots):
            return
        rows = table.read_rows(slots)
        grad = grad.to(rows.dtype)  # the table may have been converted between the backward and now
        if self._accumulation > 1:
            grad = grad / self._accumulation
        state = {column: table.state(column)[slots] for column in self._state_fill}
        self._update(rows, grad, state, self._num_steps[name])
        table.write_rows(slots, rows)
        for column, values in state.items():
            table.state(column).index_copy_(0, slots, values)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Discard the rows' gradients, unless `step` is still accumulating them.

        `set_to_none` exists for compatibility with torch and has no effect.
        """
        if self._num_calls == 0:
            for table in self.tables.values():
                table.clear_grad()

    def state_dict(self) -> dict[str, Any]:
        """Return options, and for each table the number of updates and the state of every row, by id."""
        state: dict[str, dict[str, Any]] = {}
        for name, table in self.tables.items():
            with table.lock:
                ids = table.ids().sort().values
                slots = table.slots(ids)
                columns = {column: table.state(column)[slots] for column in self._state_fill}
                state[name] = {"step": self._num_steps[name], "ids": ids, **columns}
        return {"state": state, "param_groups": [dict(group) for group in self.param_groups]}

    @torch.no_grad()
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load options and state; the model's own state must have been loaded before.

        Raises:
            ValueError: other tables than this optimizer's, state for ids that are not in their table, or state of
                another shape or optimizer; nothing is changed then.
        """
        state = state_dict["state"]
        if state.keys() != self.tables.keys():
            raise ArgumentError("optimizer state", f"tables {sorted(self.tables)}", sorted(state))
        found = {name: self._found(name, table, state[name]) for name, table in self.tables.items()}
        for name, table in self.tables.items():
            self._num_steps[name] = int(state[name]["step"])
            self._add_state(table)
            for column in self._state_fill:
                target = table.state(column)
                target.index_copy_(0, found[name], state[name][column].to(target))
        self._num_calls = 0
        for group, saved in zip(self.param_groups, state_dict["param_groups"], strict=True):
            group.update(saved)

    def _found(self, name: str, table: HashTable, saved: Mapping[str, Any]) -> Tensor:
        """Return the slots of a saved table's ids; `ValueError` if its state does not match. Waits for the device."""
        where = f"optimizer state of table {name!r}"
        if missing := sorted({"step", "ids", *self._state_fill} - saved.keys()):
            raise ArgumentError(where, f"the state of {type(self).__name__}, with {missing}", sorted(saved))
        ids = saved["ids"]
        is_vector = isinstance(ids, Tensor) and ids.dtype == torch.int64 and ids.dim() == 1
        if not is_vector or len(torch.unique(ids)) < len(ids):
            raise ArgumentError(where, "distinct int64 ids [rows]", _described(ids))
        for column in self._state_fill:
            value, shape = saved[column], (len(ids), *table.embedding_shape)
            if not isinstance(value, Tensor) or value.shape != shape or not value.is_floating_point():
                raise ArgumentError(f"{where}, {column}", f"a floating tensor of shape {shape}", _described(value))
        slots = table.slots(ids.to(table.device))
        if num_unknown := int((slots == 0).sum()):
            expected = "ids that are in the table (load the model's state first)"
            raise ArgumentError(where, expected, f"{num_unknown} unknown ids")
        return slots

    def _add_state(self, table: HashTable) -> None:
        for column, fill in self._state_fill.items():
            table.add_state(column, fill)

    def __getstate__(self) -> dict[str, Any]:
        # torch's own state has only the options, since its parameters are among them.
        own = ("tables", "_state_fill", "_num_steps", "_accumulation", "_num_calls")
        return {**super().__getstate__(), **{name: getattr(self, name) for name in own}}


def _described(value: object) -> str:
    return f"{value.dtype} {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__


def checked_number(owner: str, name: str, value: float, *, below: float = math.inf) -> float:
    """Return a number of at least 0 (and less than `below`), or raise `ValueError` naming it."""
    number = as_real(value)
    if number is None or not 0 <= number < below:
        allowed = "a finite number >= 0" if below == math.inf else f"a number >= 0 and < {below}"
        raise ArgumentError(f"{owner}'s {name}", allowed, value)
    return number
