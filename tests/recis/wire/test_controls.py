"""`recis.wire.controls`: which values a control takes, and what is said about the others."""

import math
from typing import Any

import pytest

from recis.wire.controls import check_control_value
from recis.wire.messages import Declare

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


@pytest.mark.parametrize(("kind", "good", "bad"), [("bool", False, 0), ("str", "adam", 3), ("str", "", "x" * 2000)])
def test_other_types(kind: Any, good: Any, bad: Any) -> None:
    control = Declare(control="c", type=kind)
    assert check_control_value(control, good) == good
    with pytest.raises(ValueError, match="c: expected"):
        check_control_value(control, bad)


def test_a_capture_names_steps_and_ranks() -> None:
    assert check_control_value(PROFILE, {}) == {"active": 1}
    assert check_control_value(PROFILE, {"active": 3, "ranks": [0, 2]}) == {"active": 3, "ranks": [0, 2]}


@pytest.mark.parametrize(
    "value", [3, {"active": 0}, {"active": 101}, {"active": True}, {"ranks": []}, {"ranks": [-1]}, {"path": "/etc"}]
)
def test_a_capture_refuses(value: Any) -> None:
    with pytest.raises(ValueError, match="profile: expected"):
        check_control_value(PROFILE, value)


def test_a_long_value_is_shown_in_part() -> None:
    with pytest.raises(ValueError, match="…") as caught:
        check_control_value(SCALE, "x" * 10_000)
    assert len(str(caught.value)) < 200
