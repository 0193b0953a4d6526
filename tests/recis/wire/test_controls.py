"""`recis.wire.controls`: which values a control accepts, and the errors for the others."""

import math
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recis.wire.codec import decode_client, encode
from recis.wire.controls import (
    check_control_value,
    check_declaration,
    control_name,
    is_control_name,
    keeps_value,
    settings_of,
)
from recis.wire.messages import Declare, Frame

INTERVAL = Declare(control="filter_interval", type="int", minimum=1, nullable=True)
SCALE = Declare(control="lr_scale", type="float", minimum=0.0, maximum=10.0)
PROFILE = Declare(control="profile", type="profile")


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "x", [1], math.nan])
def test_filter_interval_refuses_with_what_was_expected_and_what_came(value: Any) -> None:
    with pytest.raises(
        ValueError, match=r"filter_interval: expected .*(integer of at least 1|at least 1).*, got"
    ) as caught:
        check_control_value(INTERVAL, value)
    assert repr(value) in str(caught.value)


def test_an_integer_has_64_bits() -> None:
    with pytest.raises(ValueError, match="filter_interval: expected an integer that fits 64 bits"):
        check_control_value(INTERVAL, 1 << 63)
    with pytest.raises(ValueError, match="…"):
        check_control_value(INTERVAL, 10**100)


@pytest.mark.parametrize("value", [1, 200, 1 << 40, None])
def test_filter_interval_takes_positive_integers_and_off(value: Any) -> None:
    assert check_control_value(INTERVAL, value) == value


@pytest.mark.parametrize("value", [-0.1, 10.5, math.inf, math.nan, None, "1", True, 10**400])
def test_a_bounded_number_refuses(value: Any) -> None:
    with pytest.raises(ValueError, match="lr_scale: expected"):
        check_control_value(SCALE, value)


def test_an_integer_is_a_number() -> None:
    value = check_control_value(SCALE, 2)
    assert value == 2.0
    assert type(value) is float


@pytest.mark.parametrize(
    ("kind", "good", "bad"), [("bool", False, 0), ("str", "adam", 3), ("str", "", "x" * 2000), ("str", "\0", "\ud800")]
)
def test_other_types(kind: Any, good: Any, bad: Any) -> None:
    control = Declare(control="c", type=kind)
    assert check_control_value(control, good) == good
    with pytest.raises(ValueError, match="c: expected"):
        check_control_value(control, bad)


def test_a_capture_names_steps_and_ranks() -> None:
    assert check_control_value(PROFILE, {}) == {"active": 1}
    assert check_control_value(PROFILE, {"active": 3, "ranks": [0, 2]}) == {"active": 3, "ranks": [0, 2]}


ODD_RANKS = [[], [-1], [1 << 64], [True], "0"]
ODD_STEPS = [0, 101, True, 10**5000]


@pytest.mark.parametrize(
    "value",
    [3, {"path": "/etc"}, *({"ranks": ranks} for ranks in ODD_RANKS), *({"active": steps} for steps in ODD_STEPS)],
)
def test_a_capture_refuses(value: Any) -> None:
    with pytest.raises(ValueError, match="profile: expected"):
        check_control_value(PROFILE, value)


def test_a_long_value_is_shown_in_part() -> None:
    with pytest.raises(ValueError, match="…") as caught:
        check_control_value(SCALE, "x" * 10_000)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    "declare",
    [
        Declare(control="a.b-c_1", type="float", value=1, minimum=1, maximum=1),
        Declare(control="c", type="int", nullable=True, minimum=1),
        Declare(control="c", type="bool", value=False),
        Declare(control="c", type="str", value=""),
        Declare(control="c", type="profile"),
    ],
)
def test_a_right_declaration_stays_as_it_is(declare: Declare) -> None:
    assert check_declaration(declare) == declare


FREE = {"minimum": None, "maximum": None}
RIGHT: dict[str, Any] = {"control": "c", "type": "float", "value": 1.0, "minimum": 0.0, "maximum": 10.0}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"control": ""}, "name: expected 1 to 128 letters"),
        ({"control": "a/b"}, "name: expected 1 to 128 letters"),
        ({"control": "c\n"}, "name: expected 1 to 128 letters"),
        ({"control": 7}, "name: expected 1 to 128 letters"),
        ({"type": "list"}, "c: expected a type of int, float, bool, str, enum, action, profile, got 'list'"),
        ({"type": "enum", **FREE}, "c: expected 1 to 256 choices, got 0"),
        ({"type": "enum", **FREE, "choices": ("a", "a")}, "c: expected each choice once"),
        ({"type": "enum", **FREE, "choices": (None,)}, "c: expected choices that are texts"),
        ({"choices": (1,)}, "c: expected no choices of a float"),
        ({"apply": "now"}, "c: expected apply as 'together' or 'each'"),
        ({"type": ["int"]}, "c: expected a type of"),
        ({"minimum": 11}, "c: expected minimum <= maximum, got 11 and 10"),
        ({"minimum": "0"}, "c: expected minimum as a finite number, got '0'"),
        ({"maximum": math.nan}, "c: expected maximum as a finite number, got nan"),
        ({"maximum": True}, "c: expected maximum as a finite number, got True"),
        ({"maximum": 10**400}, "c: expected maximum as a finite number"),
        ({"nullable": 1}, "c: expected nullable as true or false, got 1"),
        ({"type": "bool", "value": True}, "c: expected no minimum of a bool, got 0.0"),
        ({"value": 11}, "c: expected at most 10, got 11"),
        ({"value": None}, "c: expected a finite number of at least 0, got null"),
        ({"type": "profile", "value": 3, "minimum": None, "maximum": None}, "c: expected an object like"),
    ],
)
def test_a_wrong_declaration_is_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(said)}"):
        check_declaration(Declare(**{**RIGHT, **wrong}))


FIELDS = st.fixed_dictionaries(
    {},
    optional={
        name: st.one_of(
            st.none(),
            st.booleans(),
            st.integers(),
            st.floats(),
            st.text(st.characters(), max_size=3),
            st.sampled_from(["int", "float", "bool", "str", "profile", "c", {}, {"active": 1}, [1], b"x"]),
        )
        for name in ("control", "type", "value", "minimum", "maximum", "nullable")
    },
)


@given(FIELDS)
def test_what_is_not_refused_can_be_sent_and_read(fields: dict[str, Any]) -> None:
    try:
        declare = check_declaration(Declare(**{**RIGHT, **fields}))
    except ValueError:
        return
    frame = Frame(n=1, records=(declare,))
    assert decode_client(encode(frame)) == frame
    assert check_declaration(declare) == declare


def test_an_enum_takes_its_choices_with_their_types() -> None:
    control = Declare(control="mode", type="enum", value="a", choices=("a", 1, True, 0.5), nullable=True)
    for value in ("a", 1, True, 0.5, None):
        assert check_control_value(control, value) is value
    others: tuple[Any, ...] = ("b", 1.0, False, 0, [1])
    for other in others:
        with pytest.raises(ValueError, match=r"mode: expected one of 'a', 1, True, 0\.5"):
            check_control_value(control, other)


def test_an_action_takes_nothing() -> None:
    control = Declare(control="stop", type="action")
    assert check_control_value(control, None) is None
    assert check_control_value(control, True) is None
    values: tuple[Any, ...] = (False, 1, "now", {})
    for value in values:
        with pytest.raises(ValueError, match="stop: expected null or true"):
            check_control_value(control, value)
    assert not keeps_value("action")
    assert keeps_value("int")


@given(st.text(max_size=300))
def test_any_name_can_be_mended_to_that_of_a_control(text: str) -> None:
    name = control_name(text)
    assert is_control_name(name)
    assert control_name(name) == name
    if is_control_name(text):
        assert name == text


def test_different_names_stay_different() -> None:
    names = [
        "table/user id/filter_step",
        "table/user_id/filter_step",
        "table/user-id/filter_step",
        "table/\u00fc/filter_step",
    ]
    assert len({control_name(name) for name in names}) == len(names)


def test_the_settings_of_a_command() -> None:
    assert settings_of("a", 1) == {"a": 1}
    assert settings_of("", {"a": 1, "b": None}) == {"a": 1, "b": None}
    assert settings_of("", 3) == {}
