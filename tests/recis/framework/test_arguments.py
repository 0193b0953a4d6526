import copy
import dataclasses
import logging
import pickle
from typing import Any

import pytest

from recis.framework import TrainingArguments
from recis.framework.foreign import FOREIGN

DEFAULTS = {
    "output_dir": "output_dir",
    "log_steps": 100,
    "train_steps": None,
    "train_epoch": 1,
    "eval_steps": None,
    "gradient_accumulation_steps": 1,
    "save_steps": None,
    "max_to_keep": 5,
    "mixed_precision": None,
    "resume": False,
}


def test_the_defaults_are_those_of_the_contract() -> None:
    assert dataclasses.asdict(TrainingArguments()) == DEFAULTS | dict.fromkeys(FOREIGN)
    assert vars(TrainingArguments("there", 7))["log_steps"] == 7


def test_arguments_can_be_changed_copied_and_shown() -> None:
    args = TrainingArguments()
    args.log_steps = 3
    for again in (copy.deepcopy(args), pickle.loads(pickle.dumps(args)), dataclasses.replace(args)):
        assert again == args
    assert repr(args).startswith("TrainingArguments(output_dir='output_dir', log_steps=3, ")
    assert "model_bank" not in repr(args)


NUMBERS = [name for name in DEFAULTS if name.endswith(("steps", "epoch", "keep"))]


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [0, -1, 1.5, True, "x"])
def test_a_number_that_makes_no_sense_is_refused_by_name(name: str, value: Any) -> None:
    args = TrainingArguments()
    for act in (lambda: TrainingArguments(**{name: value}), lambda: setattr(args, name, value)):
        with pytest.raises(ValueError, match=rf"TrainingArguments\.{name}: expected a positive int") as caught:
            act()
        assert repr(value) in str(caught.value)
    assert args == TrainingArguments()


@pytest.mark.parametrize("name", ["log_steps", "train_epoch", "gradient_accumulation_steps", "max_to_keep"])
def test_none_is_refused_where_it_means_nothing(name: str) -> None:
    arguments: dict[str, Any] = {name: None}
    with pytest.raises(ValueError, match="got None"):
        TrainingArguments(**arguments)


@pytest.mark.parametrize(("name", "value"), [("output_dir", ""), ("mixed_precision", "half"), ("resume", "yes")])
def test_other_values_that_make_no_sense_are_refused(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"TrainingArguments\.{name}: expected .*, got {value!r}"):
        TrainingArguments(**{name: value})


def test_arguments_of_recis_are_taken_with_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    args = TrainingArguments(
        gradient_accumulation_steps=2,
        output_dir="./ckpt",
        model_bank=["./other"],
        log_steps=10,
        train_steps=100,
        train_epoch=1,
        eval_steps=None,
        save_steps=1000,
        max_to_keep=3,
        save_concurrency_per_rank=4,
        params_not_save=None,
        split_batches=True,
    )
    assert (args.model_bank, args.save_concurrency_per_rank, args.max_to_keep) == (["./other"], 4, 3)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    for text in ("model_bank (only resume=True", "save_concurrency_per_rank (", "split_batches ("):
        assert text in record.message
    assert "params_not_save" not in record.message


def test_a_name_that_nobody_has_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="log_step"):
        TrainingArguments(log_step=3)  # type: ignore[call-arg]
