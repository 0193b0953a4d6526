"""Controls of a hook: named values that users may change at run time, and actions that they may request.

Owns the fields of a declaration; `Run.control` validates them. Must not know runs.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["Control"]


@dataclass(frozen=True, kw_only=True)
class Control:
    """One control, as returned by `Hook.controls`; see `Run.control` for the fields.

    Attributes:
        name: 1 to 128 letters, digits, `.`, `_` or `-`, or `table/TABLE/NAME`; other characters are replaced.
        type: type of the values; an `action` has none.
        on_change: called with each new value between two steps; rejects it by raising. For an action it gets None.
        read: returns the current value, so that changes made in code are noticed. None for an action.
        minimum: lowest value.
        maximum: highest value.
        nullable: whether None is a valid value.
        choices: the values of an `enum`.
        unit: shown after the value.
        description: one sentence.
        apply: whether all ranks change at the same step, or each at its next step.
        confirm: question that users must confirm before a command is sent.
    """

    name: str
    type: Literal["int", "float", "bool", "str", "enum", "action", "profile"]
    on_change: Callable[[Any], object]
    read: Callable[[], Any] | None = None
    minimum: float | None = None
    maximum: float | None = None
    nullable: bool = False
    choices: Iterable[Any] = ()
    unit: str = ""
    description: str = ""
    apply: Literal["together", "each"] = "together"
    confirm: str = ""
