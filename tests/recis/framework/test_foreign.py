from typing import Any

import pytest
import torch

from recis.framework import Trainer, TrainingArguments
from recis.framework.foreign import FOREIGN, take_over


@pytest.mark.parametrize("name", FOREIGN)
def test_each_argument_is_taken_by_both_and_named_with_what_happens_instead(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    given: dict[str, Any] = {name: object()}
    TrainingArguments(**given)
    take_over(TrainingArguments(), {name: object()})
    assert [f"{name} ({FOREIGN[name]})" in record.message for record in caplog.records] == [True, True]


def test_a_trainer_takes_what_recis_hands_on_to_accelerate(caplog: pytest.LogCaptureFixture) -> None:
    args = TrainingArguments()
    trainer = Trainer(
        torch.nn.Linear(1, 1),
        args,
        mixed_precision="fp16",
        gradient_accumulation_steps=2,
        kwargs_handlers=[object()],
        ddp_find_unused_parameters=True,
        saver=None,
    )
    assert (args.mixed_precision, args.gradient_accumulation_steps, trainer.args) == ("fp16", 2, args)
    assert [record.message.split(":")[0] for record in caplog.records] == ["Trainer", "mixed_precision"]
    assert "kwargs_handlers (" in caplog.text
    assert "saver" not in caplog.text


def test_what_ddp_has_a_word_for_is_handed_on() -> None:
    given: dict[str, Any] = {"ddp_bucket_cap_mb": 5, "ddp_static_graph": True}
    assert take_over(TrainingArguments(), given) == {"bucket_cap_mb": 5, "static_graph": True}


def test_an_unknown_name_is_a_type_error_with_the_one_that_was_meant() -> None:
    with pytest.raises(TypeError, match="got 'mixed_precison'; did you mean 'mixed_precision'"):
        Trainer(torch.nn.Linear(1, 1), mixed_precison="bf16")
