"""The rules of one table, and how each is called: admission in a lookup, filtering in a pass.

Owns the instances of the rules. Must not know a rule's decision, or how a table keeps its rows.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from recis.nn.hashtable_hook import AdmitHook, FilterHook
from recis.nn.modules.hashtable_hook_impl import (
    BaseFilterHookImpl,
    FilterShape,
    HashtableHookFactory,
    filter_shape,
    overrides,
)
from recis.nn.modules.id_index import NO_SLOT
from recis.nn.modules.table_arguments import check_mask
from recis.nn.modules.table_view import TableView

if TYPE_CHECKING:
    from recis.nn.modules.hashtable import HashTable

__all__ = ["MAX_LOOKUP_RULES", "FilterCounts", "TableRules"]

MAX_LOOKUP_RULES = 64
"""Most admission rules of single lookups that a table caches; an older one is created again when it is used again."""


@dataclass(frozen=True, slots=True)
class FilterCounts:
    """The result of one filter pass over one table; `bytes` counts index, rows, last-seen steps and optimizer state."""

    rows_before: int
    evicted: int
    rows_after: int
    admitted: int
    bytes: int


class TableRules(nn.Module):
    """The filter rule of a table and its admission rules; a module, so that a rule's buffers are saved with the table.

    Args:
        table: the table of the rules; referenced weakly.
        filter_hook: which rows a filter pass evicts; none when None.
        admit_hook: which new ids get a row; all when None.

    Raises:
        ValueError: a rule that is not registered.
        TypeError: parameters that the rule does not accept.
    """

    def __init__(self, table: "HashTable", filter_hook: FilterHook | None, admit_hook: AdmitHook | None) -> None:
        super().__init__()
        factory = HashtableHookFactory()
        self._view = TableView(table)
        self._filter_hook, self._admit_hook = filter_hook, admit_hook
        self.filter: Any = None if filter_hook is None else factory.create_filter_hook(filter_hook, self._view)
        self.admit: Any = None if admit_hook is None else factory.create_admit_hook(admit_hook)
        self._lookup_admits: dict[str, Any] = {}  # rules given to single lookups, by their declaration
        kind = type(self.filter)
        self._sees_lookups = self.filter is not None and overrides(kind, "update", BaseFilterHookImpl)
        self._sees_calls = self.filter is not None and overrides(kind, "forward", BaseFilterHookImpl)
        self.sees_steps = self.filter is not None and overrides(kind, "update_step", BaseFilterHookImpl)
        self._list(table)

    def attach(self, table: "HashTable") -> None:
        """Attach the rules to a table, after it was copied together with them."""
        self._view.attach(table)
        self._list(table)

    def _list(self, table: "HashTable") -> None:
        factory = HashtableHookFactory()
        if self._filter_hook is not None:
            factory.note_filter(self._filter_hook.name, table, self.filter)
        if self._admit_hook is not None:
            factory.note_admit(self._admit_hook.name, table, self.admit)

    def admission(self, admit_hook: AdmitHook | None) -> Any:
        """Return the rule for a lookup with this `admit_hook`, or that of the table; None admits everything."""
        if admit_hook is None:
            return self.admit
        key = repr(admit_hook)
        if key not in self._lookup_admits:
            factory = HashtableHookFactory()
            if len(self._lookup_admits) == MAX_LOOKUP_RULES:
                del self._lookup_admits[next(iter(self._lookup_admits))]
            self._lookup_admits[key] = factory.create_admit_hook(admit_hook)
            factory.note_admit(admit_hook.name, self._view.table, self._lookup_admits[key])
        return self._lookup_admits[key]

    def see(self, slots: Tensor) -> None:
        """Notify the filter rule of a training lookup, if it overrides `update` or `forward`.

        Slots are int64 `[N]`, duplicates allowed."""
        if self._sees_lookups or self._sees_calls:
            distinct = slots.unique()  # type: ignore[no-untyped-call]
            distinct = distinct[distinct != NO_SLOT]
            (self.filter if self._sees_calls else self.filter.update)(distinct)

    def tick(self) -> None:
        """Notify the filter rule, which has `sees_steps`, that a training step has ended."""
        self.filter.update_step()

    def run_filter(self, step: int) -> None:
        """Let the filter rule evict rows.

        Raises:
            TypeError: the rule's result does not have the type that its form requires.
            ValueError: the rule's result does not match the ids that it was given.
        """
        if self.filter is None:
            return
        if filter_shape(type(self.filter)) is FilterShape.PAIR:
            if callable(getattr(self.filter, "do_filter", None)):
                self.filter.do_filter()
            else:
                self._view.delete(*self.filter.filter(*self._view.ids_map()))
            return
        table = self._view.table
        ids, slots = self._view.ids_map()
        mask = self.filter.filter(ids, table.last_seen(), step)
        check_mask(f"{type(self.filter).__name__}.filter of table {table.name!r}", mask, ids)
        gone = ids[mask]
        table.evict(gone, slots[mask])
        if isinstance(self.filter, BaseFilterHookImpl):
            self.filter.after_filter(ids, gone)
