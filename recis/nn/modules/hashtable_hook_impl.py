"""The rules of admission and filtering: base classes for your own, the two built-in ones, and their names.

Owns the registry of names. Must not know tables: a rule sees ids, counts and steps, and answers with a mask.
"""

from typing import ClassVar, TypeVar

import torch
from torch import Tensor

from recis.errors import ArgumentError
from recis.nn.hashtable_hook import AdmitHook, FilterHook

__all__ = [
    "BaseAdmitHookImpl",
    "BaseFilterHookImpl",
    "GlobalStepFilterHookImpl",
    "HashtableHookFactory",
    "ReadOnlyHookImpl",
]

_Rule = TypeVar("_Rule")


class BaseFilterHookImpl:
    """Base class of filter rules; a table has its own instance, built with the parameters of its `FilterHook`."""

    def filter(self, ids: Tensor, last_seen: Tensor, step: int) -> Tensor:
        """Say which rows go; called once a filter pass.

        Args:
            ids: int64 `[rows]`, every id in the table.
            last_seen: int64 `[rows]`, the training step in which each id was last looked up, or inserted.
            step: the training step that has just ended.

        Returns:
            bool `[rows]` on the same device, True for the rows to evict.
        """
        raise NotImplementedError(f"{type(self).__name__} must define filter(self, ids, last_seen, step)")


class BaseAdmitHookImpl:
    """Base class of admission rules; a table has its own instance, built with the parameters of its `AdmitHook`."""

    never_admits: ClassVar[bool] = False
    """True lets a lookup skip the search for new ids, and with it the wait for the device."""

    def admit(self, ids: Tensor, counts: Tensor) -> Tensor:
        """Say which unknown ids get a row; called once a training lookup that has any.

        Args:
            ids: int64 `[new]`, distinct, ascending.
            counts: int64 `[new]`, how often each occurs in this lookup.

        Returns:
            bool `[new]` on the same device, True for the ids to take in. The others read as zeros.
        """
        raise NotImplementedError(f"{type(self).__name__} must define admit(self, ids, counts)")


class GlobalStepFilterHookImpl(BaseFilterHookImpl):
    """Evicts an id when `current step - last seen step > filter_step`; registered as "GlobalStepFilter".

    Args:
        filter_step: steps without a lookup that an id survives; a positive int.
    """

    def __init__(self, filter_step: int = 100) -> None:
        if type(filter_step) is not int or filter_step < 1:
            raise ArgumentError("GlobalStepFilter's filter_step", "a positive int (steps)", filter_step)
        self.filter_step = filter_step

    def filter(self, ids: Tensor, last_seen: Tensor, step: int) -> Tensor:
        """See the class."""
        return last_seen < step - self.filter_step


class ReadOnlyHookImpl(BaseAdmitHookImpl):
    """Takes in nothing; registered as "ReadOnly"."""

    never_admits = True

    def admit(self, ids: Tensor, counts: Tensor) -> Tensor:
        """See the class."""
        return torch.zeros_like(ids, dtype=torch.bool)


class HashtableHookFactory:
    """The names under which rules are known in this process; all instances share them."""

    _filters: ClassVar[dict[str, type[BaseFilterHookImpl]]] = {"GlobalStepFilter": GlobalStepFilterHookImpl}
    _admits: ClassVar[dict[str, type[BaseAdmitHookImpl]]] = {"ReadOnly": ReadOnlyHookImpl}

    def regist_filter(self, name: str, filter_hook_impl: type[BaseFilterHookImpl]) -> None:
        """Make a filter rule known.

        Raises:
            ValueError: another class has this name already.
            TypeError: not a subclass of `BaseFilterHookImpl`.
        """
        _register(self._filters, name, filter_hook_impl, BaseFilterHookImpl)

    def regist_admit(self, name: str, admit_hook_impl: type[BaseAdmitHookImpl]) -> None:
        """Make an admission rule known.

        Raises:
            ValueError: another class has this name already.
            TypeError: not a subclass of `BaseAdmitHookImpl`.
        """
        _register(self._admits, name, admit_hook_impl, BaseAdmitHookImpl)

    def create_filter_hook(self, hook: FilterHook) -> BaseFilterHookImpl:
        """Build the rule that a table was told; `ValueError` listing the known names when there is none."""
        return _build(self._filters, hook, FilterHook)

    def create_admit_hook(self, hook: AdmitHook) -> BaseAdmitHookImpl:
        """Build the rule that a table was told; `ValueError` listing the known names when there is none."""
        return _build(self._admits, hook, AdmitHook)


def _register(known: dict[str, type[_Rule]], name: str, rule: type[_Rule], base: type[_Rule]) -> None:
    if not (isinstance(rule, type) and issubclass(rule, base)):
        raise TypeError(f"rule {name!r}: expected a subclass of {base.__name__}, got {rule!r}")
    if known.setdefault(name, rule) is not rule:
        raise ArgumentError("rule name", f"one that is not taken (known: {sorted(known)})", name)


def _build(known: dict[str, type[_Rule]], hook: AdmitHook | FilterHook, declaration: type) -> _Rule:
    if not isinstance(hook, declaration):
        raise TypeError(f"expected {declaration.__name__}, got {hook!r}")
    if hook.name not in known:
        raise ArgumentError(f"{declaration.__name__} name", f"one of {sorted(known)}", hook.name)
    return known[hook.name](**hook.params)
