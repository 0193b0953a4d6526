"""What values a control takes, decided the same way at the server and again in the training process.

Owns the checks and their messages; must not know who asks or what the value does.
"""

import sys
from typing import Any

from recis.wire.messages import Declare

__all__ = ["check_control_value"]

MAX_CAPTURE_STEPS = 100
_NAMES = {"int": "an integer", "float": "a finite number", "bool": "true or false", "str": "a text"}


def check_control_value(control: Declare, value: Any) -> Any:
    """The value as the control takes it: an integer for `float` becomes a float, the rest stays.

    Raises:
        ValueError: another type, outside the bounds, or None where that is not offered; says which.
    """
    expected = _expected(control)
    if value is None:
        if control.nullable:
            return None
        raise ValueError(f"{control.control}: expected {expected}, got null")
    if control.type == "profile":
        return _check_capture(control.control, value)
    fits = {
        "int": type(value) is int,
        "float": type(value) in (int, float) and abs(value) <= sys.float_info.max,
        "bool": type(value) is bool,
        "str": type(value) is str and len(value) <= 1024,
    }[control.type]
    if not fits:
        raise ValueError(f"{control.control}: expected {expected}, got {_shown(value)}")
    if control.type in ("int", "float"):
        if control.minimum is not None and value < control.minimum:
            raise ValueError(f"{control.control}: expected at least {control.minimum:g}, got {_shown(value)}")
        if control.maximum is not None and value > control.maximum:
            raise ValueError(f"{control.control}: expected at most {control.maximum:g}, got {_shown(value)}")
    return float(value) if control.type == "float" else value


def _check_capture(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict) or not set(value) <= {"active", "ranks"}:
        raise ValueError(f'{name}: expected an object like {{"active": 3, "ranks": [0]}}, got {_shown(value)}')
    active, ranks = value.get("active", 1), value.get("ranks")
    if type(active) is not int or not 1 <= active <= MAX_CAPTURE_STEPS:
        raise ValueError(f"{name}: expected active from 1 to {MAX_CAPTURE_STEPS} steps, got {_shown(active)}")
    if ranks is not None and not (
        isinstance(ranks, list) and ranks and all(type(rank) is int and rank >= 0 for rank in ranks)
    ):
        raise ValueError(f"{name}: expected ranks as a list of rank numbers, got {_shown(ranks)}")
    return {"active": active} if ranks is None else {"active": active, "ranks": ranks}


def _expected(control: Declare) -> str:
    text = "an object" if control.type == "profile" else _NAMES[control.type]
    if control.minimum is not None:
        text += f" of at least {control.minimum:g}"
    return f"{text} or null" if control.nullable else text


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"
