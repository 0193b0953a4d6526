"""A training with a hash table, its filter and a monitor, for a given number of steps.

python -m tests.control.training FOLDER STEPS
"""

import sys
import time
from pathlib import Path

import torch
from torch import nn

from recis.framework import Trainer, TrainingArguments
from recis.hooks import HashTableFilterHook, Hook, MonitorHook
from recis.nn import HashTable
from recis.nn.hashtable_hook import FilterHook
from recis.nn.modules.hashtable import filter_out_sparse_param
from recis.optim import SparseAdamW


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        rule = FilterHook("GlobalStepFilter", {"filter_step": 3})
        self.table = HashTable(embedding_shape=[4], name="user", filter_hook=rule)
        self.top = nn.Linear(4, 1)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        loss: torch.Tensor = self.top(self.table(ids)).square().mean()
        return loss


class Slowly(Hook):
    """Twenty steps a second."""

    def before_step(self) -> None:
        time.sleep(0.05)


def main(folder: Path, steps: int) -> None:
    model = Model()
    trainer = Trainer(
        model,
        TrainingArguments(output_dir=str(folder / "out"), log_steps=1000),
        [torch.arange(step, step + 5) for step in range(steps)],
        [torch.arange(5)],
        [Slowly(), HashTableFilterHook(2), MonitorHook(spool_dir=str(folder / "spool"))],
        (torch.optim.Adam(model.parameters()), None),
        SparseAdamW(filter_out_sparse_param(model), lr=0.01),
    )
    trainer.train()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
