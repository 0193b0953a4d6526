"""What a hook lets users change while it works: a value by its name, or something that can be asked for.

Owns the words of a declaration; what is valid is checked where it is declared (`Run.control`). Must not know runs.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["Control"]


@dataclass(frozen=True, kw_only=True)
class Control:
    """One control, as `Hook.controls` returns them; see `Run.control` for the words.

    Attributes:
        name: 1 to 128 letters, digits, `.`, `_` or `-`, or `table/TABLE/NAME`; other characters are replaced.
        type: what the values are; an `action` has none.
        on_change: gets each new value between two steps; refuses it by raising. That of an action gets None.
        read: returns the value now; a change made in code is seen by it. None for an action.
        minimum: lowest value.
        maximum: highest value.
        nullable: whether None is a value.
        choices: the values of an `enum`.
        unit: shown behind the value.
        description: one sentence.
        apply: whether all ranks change at one step, or each at its next one.
        confirm: what users are asked before a command is sent.
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
