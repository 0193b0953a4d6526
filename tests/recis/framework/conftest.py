"""A small model with hash tables, real data for it, and a recording hook."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from recis.framework import Trainer, TrainingArguments
from recis.hooks.hook import Hook
from recis.nn import HashTable, filter_out_sparse_param
from recis.optim import SparseAdamW


class ClickModel(torch.nn.Module):
    """Rows of two ids and a dense layer; all instances start with the same weights."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.table = HashTable(embedding_shape=[4], name="ids", initializer=0.1)
        self.dense = torch.nn.Linear(8, 1)

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        rows = self.table(batch["ids"]).reshape(len(batch["ids"]), 8)
        return torch.nn.functional.binary_cross_entropy_with_logits(self.dense(rows).squeeze(1), batch["label"])


def click_model(trainer: Trainer) -> ClickModel:
    """Return the model of a trainer that `make_trainer` created without a given one."""
    assert isinstance(trainer.model, ClickModel)
    return trainer.model


def click_batches(count: int, *, seed: int = 0) -> list[dict[str, torch.Tensor]]:
    made = torch.Generator().manual_seed(seed)
    batches = []
    for _ in range(count):
        ids = torch.randint(0, 50, (16, 2), generator=made)
        batches.append({"ids": ids, "label": (ids[:, 0] % 2).float()})
    return batches


@pytest.fixture
def data() -> list[dict[str, torch.Tensor]]:
    return click_batches(10)


@pytest.fixture
def make_trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Trainer]:
    """Create trainers, each with a new but equal model."""
    monkeypatch.delenv("RECIS_MONITOR_URL", raising=False)

    def make(
        train_dataset: Any = None, eval_dataset: Any = None, hooks: Any = None, model: Any = None, **arguments: Any
    ) -> Trainer:
        model = model or ClickModel()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=5, gamma=0.5)
        tables = filter_out_sparse_param(model)
        return Trainer(
            model,
            TrainingArguments(**{"output_dir": str(tmp_path / "out"), **arguments}),
            train_dataset,
            eval_dataset,
            hooks,
            dense_optimizers=(optimizer, scheduler),
            sparse_optimizer=SparseAdamW(tables, lr=0.05) if tables else None,
        )

    return make


class Recorder(Hook):
    """Records each event with its step; raises where requested."""

    def __init__(self, failing: str = "", at: int = 0, error: type[BaseException] = RuntimeError) -> None:
        self.events: list[str] = []
        self.errors: list[BaseException | None] = []
        self.failing, self.at, self.error = failing, at, error

    def before_train(self, trainer: Trainer) -> None:
        self.note("before_train", trainer)

    def after_train(self, trainer: Trainer) -> None:
        self.note("after_train", trainer)

    def before_evaluate(self, trainer: Trainer) -> None:
        self.note("before_evaluate", trainer)

    def after_evaluate(self, trainer: Trainer) -> None:
        self.note("after_evaluate", trainer)

    def before_epoch(self, trainer: Trainer) -> None:
        self.note("before_epoch", trainer)

    def after_epoch(self, trainer: Trainer) -> None:
        self.note("after_epoch", trainer)

    def before_step(self, trainer: Trainer) -> None:
        self.note("before_step", trainer)

    def after_step(self, trainer: Trainer) -> None:
        self.note("after_step", trainer)

    def end(self, trainer: Trainer) -> None:
        self.errors.append(trainer.state.error)
        self.note("end", trainer)

    def note(self, event: str, trainer: Trainer) -> None:
        self.events.append(event)
        if event == self.failing and trainer.state.global_step == self.at:
            raise self.error(f"{event} at {self.at}")


@pytest.fixture
def recorder() -> type[Recorder]:
    return Recorder
