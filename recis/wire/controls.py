"""Check declarations and values of controls, in the training process and in the server alike.

Owns the checks and their messages; must not know the callers, or what a value does.
"""

import hashlib
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from recis.wire.codec import as_plain
from recis.wire.messages import INT64, Declare
from recis.wire.showing import shown

__all__ = [
    "MAX_CHOICES",
    "MAX_SETTINGS",
    "check_control_value",
    "check_declaration",
    "control_name",
    "is_control_name",
    "keeps_value",
    "settings_of",
]

MAX_NAME = 128
MAX_PART = 64
"""Longest part that is kept of an invalid name."""
MAX_CHOICES = 256
MAX_SETTINGS = 64
"""Controls that one command may set."""
MAX_CAPTURE_STEPS = 100
MAX_RANKS = 1 << 20
MAX_STR_CHARS = 1024
_is_name = re.compile(r"(table/[A-Za-z0-9._-]+/)?[A-Za-z0-9][A-Za-z0-9._-]*").fullmatch
_table_part = re.compile(r"table/(.+)/([A-Za-z0-9][A-Za-z0-9._-]*)", re.DOTALL).fullmatch


def is_control_name(text: object) -> bool:
    """Return whether `text` may name a control."""
    return isinstance(text, str) and len(text) <= MAX_NAME and _is_name(text) is not None


def control_name(text: str) -> str:
    """Return `text` if it may name a control, otherwise a valid name derived from it, with a digest of the text."""
    if is_control_name(text):
        return text
    of_table = _table_part(text)
    if of_table is not None and len(of_table[2]) <= MAX_PART:
        return f"table/{_mended(of_table[1], '')}/{of_table[2]}"
    return _mended(text, "c")


def _mended(text: str, first: str) -> str:
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", text)[:MAX_PART]
    plain = plain if plain[:1].isalnum() else f"{first}{plain}"
    return f"{plain}-{hashlib.sha256(text.encode(errors='surrogatepass')).hexdigest()[:8]}"


def settings_of(control: str, value: Any) -> Mapping[str, Any]:
    """Return the controls that a command sets, each with its value; a command without a control sets several."""
    if control:
        return {control: value}
    return value if isinstance(value, dict) else {}


def keeps_value(kind: str) -> bool:
    """Return whether controls of this type have a persistent value; the others are actions."""
    return kind not in _KINDS or _KINDS[kind].keeps


def check_declaration(declare: Declare) -> Declare:
    """Return the declaration with its value in the type of the control.

    Args:
        declare: fields of any type; nothing about them has been checked.

    Raises:
        ValueError: an invalid name, type, bound or value; the message states what was expected.
    """
    if not is_control_name(declare.control):
        raise ValueError(
            f"name: expected 1 to {MAX_NAME} letters, digits, '.', '_', '-' (the first a letter or digit),"
            f" or table/TABLE/NAME, got {shown(declare.control)}"
        )
    if not isinstance(declare.type, str) or declare.type not in _KINDS:
        raise ValueError(f"{declare.control}: expected a type of {', '.join(_KINDS)}, got {shown(declare.type)}")
    kind = _KINDS[declare.type]
    minimum = _check_bound(declare, kind, "minimum", declare.minimum)
    maximum = _check_bound(declare, kind, "maximum", declare.maximum)
    if minimum is not None and maximum is not None and minimum > maximum:
        raise ValueError(f"{declare.control}: expected minimum <= maximum, got {minimum:g} and {maximum:g}")
    if type(declare.nullable) is not bool:
        raise ValueError(f"{declare.control}: expected nullable as true or false, got {shown(declare.nullable)}")
    if declare.apply not in ("together", "each"):
        raise ValueError(f"{declare.control}: expected apply as 'together' or 'each', got {shown(declare.apply)}")
    choices = _check_choices(declare)
    declare = msgspec.structs.replace(declare, minimum=minimum, maximum=maximum, choices=choices)
    if not kind.keeps and declare.value is None:
        return declare
    return msgspec.structs.replace(declare, value=check_control_value(declare, declare.value))


def check_control_value(control: Declare, value: Any) -> Any:
    """Return the value in the type of the control: an integer for `float` becomes a float, others are unchanged.

    Raises:
        ValueError: another type, a value outside the bounds, or None for a control that is not nullable; the message
            says which.
    """
    kind = _KINDS[control.type]
    if value is None and control.nullable:
        return None
    try:
        taken = _choose(control, value) if control.type == "enum" else kind.take(value)
    except _UnfitError as unfit:
        expected = str(unfit) or _expected(control, kind)
        got = "null" if value is None else shown(value)
        raise ValueError(f"{control.control}: expected {expected}, got {got}") from None
    if taken is None:
        return None
    if kind.has_bounds and control.minimum is not None and taken < control.minimum:
        raise ValueError(f"{control.control}: expected at least {control.minimum:g}, got {shown(value)}")
    if kind.has_bounds and control.maximum is not None and taken > control.maximum:
        raise ValueError(f"{control.control}: expected at most {control.maximum:g}, got {shown(value)}")
    return taken


class _UnfitError(Exception):
    """A value of another type. The text, if any, states more precisely than the type what was expected."""


def _choose(control: Declare, value: Any) -> Any:
    for choice in control.choices:
        if choice == value and type(choice) is type(value):
            return choice
    raise _UnfitError("one of " + ", ".join(shown(choice) for choice in control.choices[:20]))


def _take_enum(value: Any) -> Any:
    take = {bool: _take_bool, int: _take_int, float: _take_float}.get(type(value), _take_str)
    return take(value)


def _take_action(value: Any) -> None:
    if value is not None and value is not True:
        raise _UnfitError


def _take_int(value: Any) -> int:
    if type(value) is not int:
        raise _UnfitError
    if value not in INT64:
        raise _UnfitError("an integer that fits 64 bits")
    return value


def _take_float(value: Any) -> float:
    if type(value) in (int, float):
        try:
            number = float(value)
        except OverflowError:
            raise _UnfitError from None
        if math.isfinite(number):
            return number
    raise _UnfitError


def _take_bool(value: Any) -> bool:
    if type(value) is bool:
        return value
    raise _UnfitError


def _take_str(value: Any) -> str:
    if type(value) is not str or len(value) > MAX_STR_CHARS:
        raise _UnfitError
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _UnfitError("a text of Unicode characters, without lone surrogates") from None
    return value


def _take_capture(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict) or not set(value) <= {"active", "ranks"}:
        raise _UnfitError('an object like {"active": 3, "ranks": [0]}')
    active, ranks = value.get("active", 1), value.get("ranks")
    if type(active) is not int or not 1 <= active <= MAX_CAPTURE_STEPS:
        raise _UnfitError(f"active from 1 to {MAX_CAPTURE_STEPS} steps")
    if ranks is None:
        return {"active": active}
    if not isinstance(ranks, list) or not 1 <= len(ranks) <= MAX_RANKS:
        raise _UnfitError("ranks as a list of rank numbers")
    if not all(type(rank) is int and 0 <= rank < MAX_RANKS for rank in ranks):
        raise _UnfitError("ranks as a list of rank numbers")
    return {"active": active, "ranks": ranks}


class _Kind(NamedTuple):
    """A type of control: its expectation, how a value is checked, and whether it has bounds and keeps a value."""

    expected: str
    take: Callable[[Any], Any]
    has_bounds: bool = False
    keeps: bool = True


_KINDS = {
    "int": _Kind("an integer", _take_int, has_bounds=True),
    "float": _Kind("a finite number", _take_float, has_bounds=True),
    "bool": _Kind("true or false", _take_bool),
    "str": _Kind(f"a text of at most {MAX_STR_CHARS} characters", _take_str),
    "enum": _Kind("one of the choices", _take_enum),
    "action": _Kind("null or true", _take_action, keeps=False),
    "profile": _Kind("an object", _take_capture, keeps=False),
}


def _check_choices(declare: Declare) -> tuple[Any, ...]:
    """Return the choices of an `enum` as plain values; other types have none."""
    where = f"{declare.control}: expected"
    if not isinstance(declare.choices, tuple | list):
        raise ValueError(f"{where} choices as a list, got {shown(declare.choices)}")  # noqa: TRY004 - as the others
    if declare.type != "enum":
        if declare.choices:
            raise ValueError(f"{where} no choices of a {declare.type}, got {shown(declare.choices)}")
        return ()
    if not 1 <= len(declare.choices) <= MAX_CHOICES:
        raise ValueError(f"{where} 1 to {MAX_CHOICES} choices, got {len(declare.choices)}")
    taken: list[Any] = []
    for choice in declare.choices:
        try:
            plain = _take_enum(as_plain(choice))
        except _UnfitError:
            raise ValueError(f"{where} choices that are texts, numbers or booleans, got {shown(choice)}") from None
        if any(plain == other and type(plain) is type(other) for other in taken):
            raise ValueError(f"{where} each choice once, got {shown(plain)} again")
        taken.append(plain)
    return tuple(taken)


def _check_bound(declare: Declare, kind: _Kind, where: str, bound: Any) -> float | None:
    if bound is None:
        return None
    if not kind.has_bounds:
        raise ValueError(f"{declare.control}: expected no {where} of a {declare.type}, got {shown(bound)}")
    try:
        return _take_float(bound)
    except _UnfitError:
        raise ValueError(f"{declare.control}: expected {where} as a finite number, got {shown(bound)}") from None


def _expected(control: Declare, kind: _Kind) -> str:
    text = kind.expected
    if control.minimum is not None:
        text += f" of at least {control.minimum:g}"
    return f"{text} or null" if control.nullable else text
