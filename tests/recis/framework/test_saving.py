from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from recis.errors import CheckpointError
from recis.framework import Trainer
from recis.hooks import Hook
from recis.nn import HashTable
from tests.recis.framework.conftest import click_model

Make = Callable[..., Trainer]
Data = list[dict[str, torch.Tensor]]


def test_a_checkpoint_that_is_not_restored_is_said_in_one_line(
    make_trainer: Make, data: Data, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make_trainer(data, save_steps=5).train()
    trainer = make_trainer(data)
    trainer.train(3)
    trainer.train(3)
    (line,) = [record.message for record in caplog.records if "checkpoint" in record.message]
    assert line.startswith(f"{tmp_path / 'out'} has a checkpoint of step 10, which is not restored: ")
    assert "trainer.restore()" in line
    assert "resume=True" in line


@pytest.mark.parametrize("place", ["arguments", "trainer", "attribute"])
def test_resume_restores_before_a_training(place: str, make_trainer: Make, data: Data) -> None:
    class Stop(Hook):
        def after_step(self, trainer: Trainer) -> None:
            if trainer.state.global_step == 7:
                trainer.state.request_stop("preempted")

    whole = make_trainer(data)
    whole.train()
    make_trainer(data, None, [Stop()], save_steps=100).train()
    again = make_trainer(data, save_steps=100, **({"resume": True} if place == "arguments" else {}))
    if place == "trainer":
        optimizers = (again.dense_optimizer, again.dense_lr_scheduler)
        again = Trainer(again.model, again.args, data, None, None, optimizers, again.sparse_optimizer, resume=True)
    elif place == "attribute":
        again.args.resume = True
    again.train()
    assert (again.state.global_step, again.state.epoch) == (10, 1)
    for name, tensor in click_model(again).dense.state_dict().items():
        assert torch.equal(tensor, click_model(whole).dense.state_dict()[name])
    again.train()
    assert again.state.global_step == 20


def test_resume_without_a_checkpoint_starts_afresh(make_trainer: Make, data: Data) -> None:
    trainer = make_trainer(data, resume=True)
    trainer.train()
    assert trainer.state.global_step == 10


def test_a_hook_can_ask_for_a_checkpoint(make_trainer: Make, data: Data, tmp_path: Path) -> None:
    class Save(Hook):
        def after_step(self, trainer: Trainer) -> None:
            if trainer.state.global_step == 4:
                trainer.checkpoint_manager.save()

    trainer = make_trainer(data, None, [Save()], gradient_accumulation_steps=3)
    trainer.train()
    trainer.checkpoint_manager.save()
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["step-000000000006", "step-000000000010"]  # between two updates, and immediately
    assert make_trainer(data).checkpoint_manager.restore() == 10


def test_a_checkpoint_of_a_table_of_another_shape_teaches(make_trainer: Make, data: Data, tmp_path: Path) -> None:
    make_trainer(data, save_steps=5).train()
    trainer = make_trainer(data)
    trainer.model.table = HashTable(embedding_shape=[8], name="ids")
    before: Any = len(trainer.model.table)
    with pytest.raises(CheckpointError) as caught:
        trainer.restore()
    text = str(caught.value)
    assert text.startswith(f"{tmp_path / 'out'}: the checkpoint does not fit this trainer: ")
    assert "table.embeddings: expected (50, 8), got (50, 4)" in text
    assert len(trainer.model.table) == before
