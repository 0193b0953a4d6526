"""What optimizers of `HashTable` rows share: the step over tables, and state that is saved by id.

Owns the walk over tables and the state dict. Must not know an update rule, or where a table keeps its rows.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from recis.errors import ArgumentError
from recis.nn.modules.hashtable import HashTable

__all__ = ["SparseOptimizer", "checked_number"]


class SparseOptimizer(Optimizer):
    """Trains the rows of tables, and in each step only those that have a gradient.

    It is a `torch.optim.Optimizer` with one group of options and no parameters, so learning-rate schedulers work.
    State lies in the tables, one row a slot, and starts afresh for a new row. A table has one optimizer: building a
    second one starts the table's state afresh.

    Args:
        param_dict: tables by name, as `recis.nn.filter_out_sparse_param(model)` gives them.
        defaults: the options of the one group.
        state_fill: columns of state, and what each holds for a new row.

    Raises:
        TypeError: `param_dict` is not a mapping of names to tables.
        ValueError: it is empty.
    """

    def __init__(
        self, param_dict: Mapping[str, HashTable], defaults: dict[str, Any], state_fill: dict[str, float]
    ) -> None:
        if not isinstance(param_dict, Mapping) or not all(isinstance(t, HashTable) for t in param_dict.values()):
            got = type(param_dict).__name__
            raise TypeError(f"param_dict: expected tables by name (filter_out_sparse_param(model)), got {got}")
        if not param_dict:
            raise ArgumentError("param_dict", "at least one table", {})
        super().__init__([{"params": []}], defaults)
        self.tables = dict(param_dict)
        self._state_fill = state_fill
        self._num_steps = dict.fromkeys(self.tables, 0)
        for table in self.tables.values():
            self._add_state(table)

    @abstractmethod
    def _update(self, weight: Tensor, slots: Tensor, grad: Tensor, state: dict[str, Tensor], num_step: int) -> None:
        """Change rows and state in place.

        Args:
            weight: `[capacity, *shape]`, the rows of one table.
            slots: int64 `[M]`, distinct, where the rows of the step are.
            grad: `[M, *shape]`, their gradient.
            state: columns of state by name, `[capacity, *shape]` each.
            num_step: how many steps with a gradient this table has had, this one included.
        """

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update the rows that were looked up since `zero_grad` and reached by backward; returns the closure's loss."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for name, table in self.tables.items():
            with table.lock:  # a lookup by another thread may make the table grow
                self._step(name, table)
        return loss

    def _step(self, name: str, table: HashTable) -> None:
        pending = table.grad()
        if pending is None:
            return
        self._num_steps[name] += 1
        slots, grad = pending
        if len(slots):
            state = {column: table.state(column) for column in self._state_fill}
            self._update(table.weight(), slots, grad, state, self._num_steps[name])

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the rows' gradients; `set_to_none` is there for torch's interface and makes no difference."""
        for table in self.tables.values():
            table.clear_grad()

    def state_dict(self) -> dict[str, Any]:
        """Return options, and for each table the number of steps and the state of every row, by id."""
        state: dict[str, dict[str, Any]] = {}
        for name, table in self.tables.items():
            with table.lock:
                slots = table.slots()
                columns = {column: table.state(column)[slots] for column in self._state_fill}
                state[name] = {"step": self._num_steps[name], "ids": table.ids(), **columns}
        return {"state": state, "param_groups": [dict(group) for group in self.param_groups]}

    @torch.no_grad()
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over options and state; the model's own state must have been loaded before.

        Raises:
            ValueError: other tables than this optimizer's, or state for ids that are not in their table.
        """
        state = state_dict["state"]
        if state.keys() != self.tables.keys():
            raise ArgumentError("optimizer state", f"tables {sorted(self.tables)}", sorted(state))
        found = {name: table.slots(state[name]["ids"].to(table.device)) for name, table in self.tables.items()}
        for name, slots in found.items():
            # All tables are looked at before one is changed. Reading the count waits for the device.
            if num_unknown := int((slots == 0).sum()):
                expected = "ids that are in the table (load the model's state first)"
                raise ArgumentError(f"optimizer state of table {name!r}", expected, f"{num_unknown} unknown ids")
        for name, table in self.tables.items():
            self._num_steps[name] = int(state[name]["step"])
            self._add_state(table)
            for column in self._state_fill:
                target = table.state(column)
                target.index_copy_(0, found[name], state[name][column].to(target))
        for group, saved in zip(self.param_groups, state_dict["param_groups"], strict=True):
            group.update(saved)

    def _add_state(self, table: HashTable) -> None:
        for column, fill in self._state_fill.items():
            table.add_state(column, fill)


def checked_number(owner: str, name: str, value: float, *, below: float | None = None) -> float:
    """Return a number of at least 0 (and less than `below`), or raise `ValueError` naming it."""
    ok = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < (below or float("inf"))
    if not ok:
        allowed = "a finite number >= 0" if below is None else f"a number >= 0 and < {below}"
        raise ArgumentError(f"{owner}'s {name}", allowed, value)
    return value
