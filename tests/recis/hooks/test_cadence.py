from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recis.hooks.cadence import Cadence, check_interval, check_optional_interval


def due_steps(cadence: Cadence, steps: list[int]) -> list[int]:
    return [step for step in steps if cadence.due(step)]


def test_due_at_every_multiple_and_never_at_step_0() -> None:
    assert due_steps(Cadence(3), list(range(10))) == [3, 6, 9]


def test_every_step_is_due_with_a_distance_of_one() -> None:
    assert due_steps(Cadence(1), [1, 2, 3]) == [1, 2, 3]


def test_a_repeated_step_is_due_once() -> None:
    assert due_steps(Cadence(2), [1, 2, 2, 2, 3, 4]) == [2, 4]


def test_a_multiple_that_is_jumped_over_is_due_behind_it() -> None:
    assert due_steps(Cadence(10), [7, 14, 21, 28, 35]) == [14, 21, 35]


def test_a_resumed_counter_does_not_catch_up() -> None:
    assert due_steps(Cadence(100), [951, 999, 1000]) == [1000]


def test_a_counter_that_moves_back_starts_afresh() -> None:
    assert due_steps(Cadence(10), [9, 10, 11, 5, 6, 10]) == [10, 10]


def test_a_new_distance_counts_from_the_next_step() -> None:
    cadence = Cadence(100)
    due_steps(cadence, list(range(1, 151)))
    cadence.every = 30
    assert due_steps(cadence, list(range(151, 251))) == [180, 210, 240]


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "x", None])
def test_a_bad_distance_is_refused_with_its_name_and_value(value: Any) -> None:
    with pytest.raises(ValueError, match=r"log_step: expected a positive int, got ") as caught:
        Cadence(value, where="log_step")
    assert repr(value) in str(caught.value)
    cadence = Cadence(5, where="log_step")
    with pytest.raises(ValueError, match="log_step"):
        cadence.every = value
    assert cadence.every == 5


def test_none_is_allowed_only_where_it_means_something() -> None:
    assert check_optional_interval("train_steps", None) is None
    assert check_optional_interval("train_steps", 3) == 3
    with pytest.raises(ValueError, match="train_steps: expected a positive int, got 0"):
        check_optional_interval("train_steps", 0)
    with pytest.raises(ValueError, match="got None"):
        check_interval("log_steps", None)


@given(every=st.integers(1, 50), jumps=st.lists(st.integers(0, 120), max_size=60))
def test_each_multiple_that_is_reached_makes_at_most_one_due_step(every: int, jumps: list[int]) -> None:
    cadence = Cadence(every)
    step, due = 1, int(Cadence(every).due(1))
    cadence.due(1)
    for jump in jumps:
        before, step = step, step + jump
        assert cadence.due(step) == (step // every > before // every)
        due += step // every > before // every
    assert due <= step // every
