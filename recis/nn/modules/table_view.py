"""The interface of a table for filter rules written for RecIS: ids with their slots, and deletion.

Owns the weak link from a rule to its table. Must not know what a rule decides, or how a table keeps its rows.
"""

from typing import TYPE_CHECKING
from weakref import ref

import torch
from torch import Tensor

from recis.nn.modules.table_arguments import check_ids, check_pair

if TYPE_CHECKING:
    from recis.nn.modules.hashtable import HashTable

__all__ = ["TableView"]


class TableView:
    """A table as seen by its filter rule. It does not keep the table alive, and is not a submodule of the rule.

    A copied or unpickled view belongs to no table until the copied table attaches it.
    """

    def __init__(self, table: "HashTable | None" = None) -> None:
        self._table = None if table is None else ref(table)

    def attach(self, table: "HashTable") -> None:
        """Attach the view to a table, unless it is attached: a shallow copy shares the rule of the original."""
        if self._table is None:
            self._table = ref(table)

    @property
    def table(self) -> "HashTable":
        """The table.

        Raises:
            ReferenceError: the table no longer exists.
        """
        table = None if self._table is None else self._table()
        if table is None:
            raise ReferenceError("the hash table of this filter rule is gone")
        return table

    @property
    def _hashtable_impl(self) -> "TableView":
        """The attribute that rules for RecIS read in their constructor; here it is the view itself."""
        return self

    @property
    def name(self) -> str:
        """The table's name."""
        return self.table.name

    @property
    def device(self) -> torch.device:
        """Where the table lives."""
        return self.table.device

    def ids(self) -> Tensor:
        """Return all ids in the table, int64 `[rows]`."""
        return self.table.ids()

    def ids_map(self) -> tuple[Tensor, Tensor]:
        """Return all ids and their slots, int64 `[rows]` each; an id keeps its slot as long as it has a row."""
        table = self.table
        slots = table.slots()
        return table.ids(), slots

    def delete(self, ids: Tensor, index: Tensor, name: str | None = None) -> None:
        """Evict ids.

        Args:
            ids: int64 `[N]`, distinct and in the table.
            index: int64 `[N]`, their slots.
            name: name of the rule, for the error.

        Raises:
            TypeError: they are not int64 tensors.
            ValueError: they are otherwise invalid; nothing is evicted then.
        """
        table = self.table
        check_ids(table.name, ids, table.device)
        check_pair(f"{name or 'filter'} of table {table.name!r}", ids, index, table.slots(ids))
        table.evict(ids, index)

    def run_filter(self) -> None:
        """Run a filter pass over the table with its own rule now."""
        self.table.run_filter(self.table.last_step)

    def __len__(self) -> int:
        return len(self.table)

    def __reduce__(self) -> tuple[type["TableView"], tuple[()]]:
        return TableView, ()
