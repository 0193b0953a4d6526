"""Declare admission and filtering: the name of a registered rule and its parameters.

Owns the two declarations. Must not know the rules themselves (`modules.hashtable_hook_impl`) or torch.
"""

import json
from typing import Any

__all__ = ["AdmitHook", "FilterHook"]


class _RuleDeclaration:
    """The name under which a rule is registered, and the keyword arguments of its constructor."""

    def __init__(self, name: str, params: dict[str, Any] | None = None) -> None:
        self.name = name
        self.params = dict(params or {})

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {json.dumps(self.params, sort_keys=True, default=repr)})"

    def __str__(self) -> str:
        return json.dumps({"name": self.name, "params": self.params}, sort_keys=True, default=repr)


class AdmitHook(_RuleDeclaration):
    """Which new ids a table admits, for example `AdmitHook("ReadOnly")`.

    Passed to the table's constructor, it applies to every lookup; passed to a lookup, to that one only.
    """

    type = "admit"


class FilterHook(_RuleDeclaration):
    """Which ids a table evicts in a filter pass, for example `FilterHook("GlobalStepFilter", {"filter_step": 100})`."""

    type = "filter"
