"""The script of each process of `test_ranks.py` under torchrun; it writes its observations to `rank{n}.json`."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from recis.framework import Trainer, TrainingArguments
from recis.framework.metrics import add_metric
from recis.hooks import Hook
from recis.nn import HashTable, filter_out_sparse_param
from recis.optim import SparseAdamW

RANK = int(os.environ["RANK"])
OUT = Path(sys.argv[1])


class Model(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = HashTable(embedding_shape=[2], name="ids", initializer=0.1)
        torch.manual_seed(RANK)  # dense parts that differ until the ranks are joined
        self.dense = torch.nn.Linear(2, 1)

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        add_metric("size", len(batch))
        return self.dense(self.table(batch)).square().mean()


class Watch(Hook):
    def __init__(self) -> None:
        self.joined: list[bool] = []

    def before_train(self) -> None:
        self.joined.append(dist.is_initialized())

    def end(self) -> None:
        self.joined.append(dist.is_initialized())


class Stop(Hook):
    def after_step(self, trainer: Trainer) -> None:
        if RANK == 1 and trainer.state.global_step == 12:
            trainer.state.request_stop("rank 1 wants to")


class StopBetween(Hook):
    def after_epoch(self, trainer: Trainer) -> None:
        if RANK == 0:
            trainer.state.request_stop("rank 0 has seen an epoch")


model = Model()
data = [torch.arange(4) + 100 * RANK + step for step in range(5 + 3 * RANK)]  # rank 1 has more
watch = Watch()


def make_trainer(hooks: list[Hook], **arguments: Any) -> Trainer:
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    sparse = SparseAdamW(filter_out_sparse_param(model), lr=0.1)
    args = TrainingArguments(output_dir=str(OUT / "checkpoints"), **arguments)
    return Trainer(model, args, data, data, hooks, (sgd, None), sparse)


first = make_trainer([watch], train_epoch=2, save_steps=4)
first.train()
results = first.evaluate()
restored = make_trainer([]).restore()
stopped = make_trainer([watch, Stop()], train_epoch=4)
stopped.state.global_step = 10
stopped.train()
between = make_trainer([StopBetween()])
between.train_and_evaluate(epochs=3, train_steps=2)
report = {
    "steps": first.state.global_step,
    "results": results,
    "restored": restored,
    "joined": watch.joined,
    "weight": model.dense.weight.tolist(),
    "ids": sorted(model.table.ids().tolist()),
    "stopped": [stopped.state.global_step, stopped.state.stop_reason],
    "between": [between.state.global_step, between.state.stop_reason],
    "left": not dist.is_initialized(),
}
(OUT / f"rank{RANK}.json").write_text(json.dumps(report))
