"""A training that preempts itself at a given step, run by `test_preemption.py`, also as a process.

    python preempted.py FOLDER STEP     # killed by SIGKILL after STEP, or trained to its end where STEP is 0

Its random parts reveal any difference between two runs: rows of new ids, dropout, the order of the data, also from the
generators of Python and numpy. Filter passes are appended to `passes.jsonl` as they happen.
"""

import json
import os
import random
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from recis.framework import Trainer, TrainingArguments
from recis.hooks import HashTableFilterHook, Hook
from recis.hooks.filter_hook import FilterPass
from recis.nn import FilterHook, HashTable, filter_out_sparse_param
from recis.nn.initializers import NormalInitializer, TruncNormalInitializer
from recis.nn.modules.hashtable_hook_impl import BaseFilterHookImpl, HashtableHookFactory
from recis.optim import SparseAdamW

SAVE_STEPS, FILTER_INTERVAL = 8, 10


class EverySecondPass(BaseFilterHookImpl):
    """A stateful rule in RecIS's form: every second pass evicts ids with few lookups."""

    count: Tensor
    num_passes: Tensor

    def __init__(self, ht: Any, name: str = "second", rare: int = 2) -> None:
        super().__init__(ht, name)
        self.register_buffer("count", torch.zeros(600, dtype=torch.int64))
        self.register_buffer("num_passes", torch.zeros((), dtype=torch.int64))
        self.rare = rare

    def update(self, index: Tensor) -> None:
        assert self._ht is not None
        ids, slots = self._ht.ids_map()
        self.count[ids[torch.isin(slots, index)]] += 1

    def filter(self, ids: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        self.num_passes += 1
        gone = (self.count[ids] <= self.rare) & (self.num_passes % 2 == 0)
        self.count[ids[gone]] = 0
        return ids[gone], index[gone]


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        after_six = FilterHook("GlobalStepFilter", {"filter_step": 6})
        own = torch.Generator().manual_seed(9)
        self.user = HashTable([4], name="user", initializer=NormalInitializer(std=0.1), filter_hook=after_six)
        self.item = HashTable(
            [4],
            name="item",
            dtype=torch.bfloat16,
            initializer=TruncNormalInitializer(std=0.1, generator=own),
            filter_hook=FilterHook("EverySecondPass", {"rare": 3}),
        )
        self.dense = nn.Sequential(nn.Dropout(0.2), nn.Linear(8, 1))

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        rows = torch.cat((self.user(batch["user"]), self.item(batch["item"]).float()), dim=1)
        return nn.functional.binary_cross_entropy_with_logits(self.dense(rows).squeeze(1), batch["label"])


class Data:
    """Eleven batches per epoch, in a different order each time, with noise from three generators as they are read."""

    def __init__(self) -> None:
        made = torch.Generator().manual_seed(5)
        self.samples = torch.randint(0, 400, (11 * 16, 2), generator=made)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        order = torch.randperm(len(self.samples))
        for rows in self.samples[order].split(16):
            shift = random.randint(0, 99) + int(np.random.randint(0, 100))
            yield {"user": rows[:, 0] + shift, "item": rows[:, 1] + shift, "label": (rows.sum(1) % 2).float()}


class Preempt(Hook):
    def __init__(self, step: int, action: Callable[[], None]) -> None:
        self.step, self.action = step, action

    def after_step(self, trainer: Trainer) -> None:
        if trainer.state.global_step == self.step:
            self.action()


def train(folder: Path, step: int, action: Callable[[], None], *, epochs: int = 6) -> Trainer:
    """Start or resume, and act after `step`; return a training that completed."""
    HashtableHookFactory().regist_filter("EverySecondPass", EverySecondPass)
    torch.manual_seed(1)
    random.seed(2)
    np.random.seed(3)
    model = Model()
    dense = torch.optim.Adam(model.parameters(), lr=0.05)
    filtering = HashTableFilterHook(FILTER_INTERVAL)
    trainer = Trainer(
        model,
        TrainingArguments(output_dir=str(folder / "out"), save_steps=SAVE_STEPS, train_epoch=epochs),
        Data(),
        hooks=[filtering, Preempt(step, action)],
        dense_optimizers=(dense, torch.optim.lr_scheduler.StepLR(dense, step_size=5, gamma=0.9)),
        sparse_optimizer=SparseAdamW(filter_out_sparse_param(model), lr=0.05),
    )
    with (folder / "passes.jsonl").open("a") as passes:

        def note(report: FilterPass) -> None:
            told = asdict(report)
            for of_the_process in ("time_ns", "milliseconds", "bytes"):
                del told[of_the_process]
            passes.write(f"{json.dumps(told)}\n")
            passes.flush()

        filtering.add_listener(note)
        trainer.restore()
        trainer.train()
    return trainer


def outcome(trainer: Trainer) -> dict[str, Any]:
    """Return everything that a training has learned."""
    return {
        "model": dict(trainer.model.state_dict()),
        "dense": trainer.dense_optimizer.state_dict() if trainer.dense_optimizer else {},
        "sparse": trainer.sparse_optimizer.state_dict(),
        "random": torch.get_rng_state(),
        "step": trainer.state.global_step,
    }


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    out = Path(sys.argv[1])
    torch.save(outcome(train(out, int(sys.argv[2]), die)), out / "outcome.pt")
