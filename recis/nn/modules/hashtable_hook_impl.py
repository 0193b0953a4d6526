"""Rules of admission and filtering: base classes for your own rules, the two built-in ones, and the registry of names.

Owns the registry of names, and the two shapes of a rule: this library's, and that of RecIS. Must not know how a table
keeps its rows.
"""

import inspect
from collections import defaultdict
from collections.abc import Callable, Mapping, MutableMapping
from enum import Enum
from functools import cache
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from recis.errors import ArgumentError
from recis.nn.hashtable_hook import AdmitHook, FilterHook
from recis.nn.modules.table_view import TableView
from recis.numerals import positive_int

__all__ = [
    "BaseAdmitHookImpl",
    "BaseFilterHookImpl",
    "FilterShape",
    "GlobalStepFilterHookImpl",
    "HashtableHookFactory",
    "ReadOnlyHookImpl",
    "filter_shape",
    "overrides",
]


class BaseFilterHookImpl(nn.Module):
    """Base class of filter rules; each table has an instance, created with the parameters of its `FilterHook`.

    A rule defines `filter` in one of two forms:

    - `filter(self, ids, last_seen, step)` returns a bool mask of the rows to evict. The rule is created as
      `Rule(**params)`.
    - `filter(self, ids, index)` returns `(ids, index)` of the rows to evict, as in RecIS. The rule is created as
      `Rule(ht, **params)`, where `ht` is a `TableView`. The slots in `index` are those passed to `update`.

    Buffers of a rule are part of the table's state dict.

    Args:
        ht: a view of the table.
        name: the rule's name.
        kwargs: further parameters, which the base class does not use.
    """

    def __init__(self, ht: TableView | None = None, name: str | None = None, **kwargs: Any) -> None:
        super().__init__()
        self._ht = ht
        self._name = name

    def complete(self, ht: TableView | None) -> None:
        """Do what the constructor of a subclass may have omitted: call that of its base class, or pass the table on."""
        if "_modules" not in vars(self):
            nn.Module.__init__(self)  # keeps the attributes that are there
        if vars(self).get("_ht") is None:
            self._ht = ht
        vars(self).setdefault("_name", None)

    def filter(self, *args: Any) -> Any:
        """Return the rows to evict; called once per filter pass, in one of the two forms described for the class.

        Args:
            args: `ids`, int64 `[rows]`, every id in the table; then either `last_seen`, int64 `[rows]`, the training
                step in which each id was last looked up or inserted, and `step`, the step that has just ended; or
                `index`, int64 `[rows]`, the slot of each id.

        Returns:
            bool `[rows]` on the same device, True for the rows to evict; or their `(ids, index)`.
        """
        raise NotImplementedError(f"{type(self).__name__} must define filter(self, ids, last_seen, step)")

    def update(self, index: Tensor) -> None:
        """Called after a training lookup; `index` has the slots of the ids found, each once."""

    def update_step(self, step_size: int = 1) -> None:
        """Called after a training step."""

    def do_filter(self) -> None:
        """Run one filter pass over the table."""
        table = self._ht
        if table is None:
            raise RuntimeError(f"{type(self).__name__} belongs to no table")
        if filter_shape(type(self)) is FilterShape.MASK:
            table.run_filter()
            return
        ids, index = table.ids_map()
        gone_ids, gone_index = self.filter(ids, index)
        table.delete(gone_ids, gone_index, self._name)
        self.after_filter(ids, gone_ids)

    def after_filter(self, ids: Tensor, delete_ids: Tensor) -> None:
        """Called after a pass; `ids` has all ids from before it."""

    def forward(self, index: Tensor) -> None:
        """See `update`."""
        self.update(index)


class BaseAdmitHookImpl:
    """Base class of admission rules; each table has an instance, created with the parameters of its `AdmitHook`."""

    never_admits: ClassVar[bool] = False
    """True lets a lookup skip the search for new ids, and with it the wait for the device."""

    def __init__(self, **kwargs: Any) -> None:
        """Accept any parameter, as in RecIS."""

    def admit(self, ids: Tensor, counts: Tensor) -> Tensor:
        """Return which unknown ids to admit; called once per training lookup that has any.

        Args:
            ids: int64 `[new]`, distinct, ascending.
            counts: int64 `[new]`, how often each occurs in this lookup.

        Returns:
            bool `[new]` on the same device, True for the ids to admit. The others read as zeros.
        """
        raise NotImplementedError(f"{type(self).__name__} must define admit(self, ids, counts)")


class GlobalStepFilterHookImpl(BaseFilterHookImpl):
    """Evicts ids not seen in the last `filter_step` steps; registered as "GlobalStepFilter".

    Args:
        ht: a view of the table.
        name: the rule's name.
        filter_step: a pass after step s evicts ids last seen in step `s - filter_step` or earlier; a positive int.
    """

    def __init__(self, ht: TableView | None = None, name: str = "step_filter", filter_step: int = 100) -> None:
        super().__init__(ht, name)
        self.filter_step = positive_int("GlobalStepFilter's filter_step", filter_step, "steps")

    def filter(self, ids: Tensor, last_seen: Tensor, step: int) -> Tensor:
        """See the class."""
        return last_seen <= step - self.filter_step


class ReadOnlyHookImpl(BaseAdmitHookImpl):
    """Admits no id; registered as "ReadOnly"."""

    never_admits = True

    def admit(self, ids: Tensor, counts: Tensor) -> Tensor:
        """See the class."""
        return torch.zeros_like(ids, dtype=torch.bool)


# -- shapes ------------------------------------------------------------------------------------------------------------


class FilterShape(Enum):
    """How a filter rule is called."""

    MASK = "filter(self, ids, last_seen, step) -> mask"
    """This library's."""

    PAIR = "filter(self, ids, index) -> (ids, index)"
    """That of RecIS."""


def filter_shape(rule: object) -> FilterShape:
    """Return how a filter rule is called; determined once per class.

    Raises:
        TypeError: it is not a class, or its `filter` has neither form.
    """
    if not isinstance(rule, type):
        raise TypeError(f"expected a class, usually a subclass of BaseFilterHookImpl, got {rule!r}")
    return _filter_shape(rule)


@cache
def _filter_shape(rule: type) -> FilterShape:
    method = getattr(rule, "filter", None)
    if method is BaseFilterHookImpl.filter:
        # A rule written for RecIS may do the whole pass itself.
        method = None
        if overrides(rule, "do_filter", BaseFilterHookImpl):
            return FilterShape.PAIR
    names = _required_names(method)
    if names is not None and (len(names) == 3 or names[1:] == ["last_seen"]):
        return FilterShape.MASK
    if names is not None and len(names) == 2:
        return FilterShape.PAIR
    raise TypeError(
        "expected a class, usually a subclass of BaseFilterHookImpl, with "
        f"`{FilterShape.MASK.value}` or `{FilterShape.PAIR.value}`, got {_describe(rule, 'filter', method)}"
    )


def _check_admission(rule: object) -> None:
    """Reject anything but an admission rule. RecIS's own rule has no method of its own and is read-only."""
    method = getattr(rule, "admit", None) if isinstance(rule, type) else None
    names = None if method is BaseAdmitHookImpl.admit else _required_names(method)
    if names is None or len(names) != 2:
        raise TypeError(
            "expected a class, usually a subclass of BaseAdmitHookImpl, with `admit(self, ids, counts) -> mask`, "
            f"or a subclass of ReadOnlyHookImpl, got {_describe(rule, 'admit', method)}"
        )


def overrides(rule: type, method: str, base: type) -> bool:
    """Whether a class has a method other than that of `base`."""
    own = getattr(rule, method, None)
    return callable(own) and own is not getattr(base, method, None)


def _required_names(method: object) -> list[str] | None:
    """Return the names of the required positional parameters besides self; None if a call by position is impossible."""
    if not inspect.isfunction(method):
        return None
    names = []
    for parameter in list(inspect.signature(method).parameters.values())[1:]:
        if parameter.default is not parameter.empty or parameter.kind is parameter.VAR_KEYWORD:
            continue
        if parameter.kind not in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            return None
        names.append(parameter.name)
    return names


def _describe(rule: object, name: str, method: object) -> str:
    if not isinstance(rule, type):
        return repr(rule)
    if not inspect.isfunction(method):
        return f"{rule!r} without one"
    return f"{rule!r} with `{name}{inspect.signature(method)}`"


# -- names -------------------------------------------------------------------------------------------------------------


class HashtableHookFactory:
    """The registry of rules of this process, by name; shared by all instances."""

    _filters: ClassVar[dict[str, type]] = {"GlobalStepFilter": GlobalStepFilterHookImpl}
    _admits: ClassVar[dict[str, type]] = {"ReadOnly": ReadOnlyHookImpl}
    # The rules of live tables, by name and table. A rule references its table weakly, so that both can be freed.
    _filters_in_use: ClassVar[defaultdict[str, MutableMapping[Any, Any]]] = defaultdict(WeakKeyDictionary)
    _admits_in_use: ClassVar[defaultdict[str, MutableMapping[Any, Any]]] = defaultdict(WeakKeyDictionary)

    def regist_filter(self, name: str, filter_hook_impl: type) -> None:
        """Register a filter rule, in one of the two forms of `BaseFilterHookImpl`.

        Raises:
            ValueError: another class has this name already.
            TypeError: not a class, or one whose `filter` has neither form.
        """
        _register("filter", self._filters, name, filter_hook_impl, filter_shape)

    def regist_admit(self, name: str, admit_hook_impl: type) -> None:
        """Register an admission rule: a class with `admit(ids, counts)`, or a subclass of `ReadOnlyHookImpl`.

        Raises:
            ValueError: another class has this name already.
            TypeError: anything else.
        """
        _register("admission", self._admits, name, admit_hook_impl, _check_admission)

    def get_filters(self) -> Mapping[str, Mapping[Any, Any]]:
        """Return the filter rules of all live tables: `{name: {table: rule}}`, a live view."""
        return self._filters_in_use

    def get_admits(self) -> Mapping[str, Mapping[Any, Any]]:
        """Return the admission rules of all live tables; see `get_filters`."""
        return self._admits_in_use

    def create_filter_hook(self, hook: FilterHook, view: TableView | None = None) -> Any:
        """Build the rule that a table was told; `ValueError` listing the known names when there is none."""
        rule = _lookup(self._filters, hook, FilterHook)
        first = next(iter(inspect.signature(rule).parameters), None)
        takes_table = filter_shape(rule) is FilterShape.PAIR or first == "ht"
        built = _build(rule, hook, (view,) if takes_table else ())
        if isinstance(built, BaseFilterHookImpl):
            built.complete(view)
        return built

    def create_admit_hook(self, hook: AdmitHook) -> Any:
        """Build the rule that a table was told; `ValueError` listing the known names when there is none."""
        return _build(_lookup(self._admits, hook, AdmitHook), hook, ())

    def note_filter(self, name: str, table: object, rule: object) -> None:
        """List a rule in `get_filters`."""
        self._filters_in_use[name][table] = rule

    def note_admit(self, name: str, table: object, rule: object) -> None:
        """List a rule in `get_admits`."""
        self._admits_in_use[name][table] = rule


def _register(kind: str, known: dict[str, type], name: str, rule: type, check: Callable[[type], object]) -> None:
    if not (isinstance(name, str) and name):
        raise ArgumentError(f"name of the {kind} rule", "a non-empty string", name)
    try:
        check(rule)
    except TypeError as error:
        raise TypeError(f"{kind} rule {name!r}: {error}") from None
    if known.setdefault(name, rule) is not rule:
        raise ArgumentError("rule name", f"one that is not in use (known: {sorted(known)})", name)


def _lookup(known: dict[str, type], hook: AdmitHook | FilterHook, declaration: type) -> type:
    if not isinstance(hook, declaration):
        where = "filter_hook" if declaration is FilterHook else "admit_hook"
        raise TypeError(f"{where} of a table: expected {declaration.__name__}(name, params) or None, got {hook!r}")
    if hook.name not in known:
        raise ArgumentError(f"{declaration.__name__} name", f"one of {sorted(known)}", hook.name)
    return known[hook.name]


def _build(rule: type, hook: AdmitHook | FilterHook, arguments: tuple[Any, ...]) -> Any:
    signature = inspect.signature(rule)
    try:
        signature.bind(*arguments, **hook.params)
    except TypeError as error:
        taken = ", ".join(map(str, list(signature.parameters.values())[len(arguments) :])) or "no parameter"
        raise TypeError(f"{hook!r}: {rule.__name__} expected {taken}; {error}") from None
    return rule(*arguments, **hook.params)
