"""Declaration of a control: numbers of numpy and torch are converted to plain ones, everything else is checked.

Owns the conversion of arguments to a `Declare`; `recis.wire.controls` validates it. Must not know runs.
"""

import math
import time
from collections.abc import Iterable
from itertools import islice
from typing import Any

from recis.wire.codec import as_plain
from recis.wire.controls import MAX_CHOICES, check_declaration
from recis.wire.messages import Declare
from recis.wire.showing import shown, text_of
from recis.wire.text import MAX_NAME_CHARS

__all__ = ["check_callback", "make_declaration"]


def make_declaration(
    name: str,
    *,
    type: str,  # noqa: A002 - parameter name of `Run.control`
    value: Any,
    step: int | None,
    minimum: Any = None,
    maximum: Any = None,
    nullable: Any = False,
    unit: object = "",
    description: object = "",
    choices: Any = (),
    apply: Any = "together",
    confirm: object = "",
) -> Declare:
    """Return the declaration for the arguments of `Run.control`; `step` is the run's current step.

    Raises:
        ValueError: an argument is invalid.
    """
    kind, value = _plain(type), _plain(value)
    if isinstance(kind, str) and kind == "int" and isinstance(value, float) and value.is_integer():
        value = int(value)
    return check_declaration(
        Declare(
            control=_plain(name),
            type=kind,
            value=value,
            step=step,
            time_ns=time.time_ns(),
            minimum=_bound(minimum, without=-math.inf),
            maximum=_bound(maximum, without=math.inf),
            nullable=_plain(nullable),
            unit="" if unit is None else text_of(unit, MAX_NAME_CHARS),
            description="" if description is None else text_of(description),
            choices=_choices(choices),
            apply=_plain(apply),
            confirm="" if confirm is None else text_of(confirm),
        )
    )


def check_callback(on_change: object) -> None:
    """Raise `ValueError` for an object that cannot be called."""
    if callable(on_change):
        return
    raise ValueError(f"expected on_change as a function of the new value, got {shown(on_change)}")


def _choices(values: Any) -> Any:
    """Return choices as plain values in order; anything that is not a collection is left to the validation."""
    if values is None:
        return ()
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        return values
    return tuple(_plain(value) for value in islice(values, MAX_CHOICES + 1))


def _bound(value: Any, *, without: float) -> Any:
    """Return a bound as a plain number, or None if it is infinite."""
    bound = _plain(value)
    return None if isinstance(bound, float) and bound == without else bound


def _plain(value: Any) -> Any:
    """Convert as `as_plain`. May wait for a device: a control is declared once, outside of the steps.

    Raises:
        ValueError: the value raised when it was read.
    """
    try:
        return as_plain(value)
    except Exception as error:
        kind = type(value).__name__
        raise ValueError(f"expected a value that can be read, got a {kind}: {text_of(error, 200)}") from error
