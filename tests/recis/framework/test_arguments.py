import dataclasses
from typing import Any

import pytest

from recis.framework import TrainingArguments


def test_the_defaults_are_those_of_the_contract() -> None:
    assert dataclasses.asdict(TrainingArguments()) == {
        "output_dir": "output_dir",
        "log_steps": 100,
        "train_steps": None,
        "train_epoch": 1,
        "eval_steps": None,
        "gradient_accumulation_steps": 1,
        "save_steps": None,
        "max_to_keep": 5,
    }


def test_arguments_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        TrainingArguments().log_steps = 3  # type: ignore[misc]


NUMBERS = [field.name for field in dataclasses.fields(TrainingArguments) if field.name != "output_dir"]


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [0, -1, 1.5, True, "x"])
def test_a_number_that_makes_no_sense_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"TrainingArguments\.{name}: expected a positive int") as caught:
        TrainingArguments(**{name: value})
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize("name", ["log_steps", "train_epoch", "gradient_accumulation_steps", "max_to_keep"])
def test_none_is_refused_where_it_means_nothing(name: str) -> None:
    with pytest.raises(ValueError, match="got None"):
        TrainingArguments(**{name: None})  # type: ignore[arg-type]


def test_an_empty_folder_name_is_refused() -> None:
    with pytest.raises(ValueError, match="output_dir"):
        TrainingArguments(output_dir="")
