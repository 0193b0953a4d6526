"""Click prediction with many kinds of features, in the shape of RecIS's CTR example; it runs on a CPU and on a GPU.

    python examples/recis/ctr.py --steps 300
    RECIS_MONITOR_URL=http://127.0.0.1:8765 python examples/recis/ctr.py     # watched

Plain numbers, bucketed numbers, single ids, crossed ids, an averaged bag of ids, a history truncated to its last ten
items, and the same history weighted by the similarity of each item to the candidate (Zhou et al.: "Deep
Interest Network", KDD 2018). The history shares the items' table.
"""

import argparse
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import StepLR

from recis.framework import Trainer, TrainingArguments
from recis.framework.metrics import add_metric
from recis.hooks import HashTableFilterHook, LoggerHook
from recis.metrics import AUROC, GAUC
from recis.nn import EmbeddingEngine, EmbeddingOption
from recis.nn.hashtable_hook import FilterHook
from recis.nn.initializers import Initializer, TruncNormalInitializer, XavierNormalInitializer
from recis.nn.modules.hashtable import filter_out_sparse_param
from recis.optim import AdamWTF, SparseAdamWTF
from recis.ragged.tensor import RaggedTensor
from recis.utils.logger import Logger

logger = Logger(__name__)

DIM, TILE, NUM_DENSE = 8, 10, 4
EDGES = torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9])


def batches(count: int, batch_size: int, seed: int) -> Iterator[tuple[bool, dict[str, Any]]]:
    """Yield synthetic impressions: users click on items of topics they like, and their histories contain such items."""
    made = torch.Generator().manual_seed(seed)

    def integers(high: int, *shape: int) -> Tensor:
        return torch.randint(0, high, shape, generator=made)

    for step in range(count):
        user, item = integers(500, batch_size) + 5 * step, integers(1_500, batch_size) + 10 * step
        lengths = integers(15, batch_size)
        offsets = torch.cat((torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)))
        liked = (user % 7).repeat_interleave(lengths)
        history = (integers(200, len(liked)) + step) * 7 + liked
        price, dense = torch.rand(batch_size, generator=made), torch.rand(batch_size, NUM_DENSE, generator=made)
        likes = torch.where(user % 7 == item % 7, 1.5, -1.0) + dense[:, 0] - 2 * price + 1
        tags, sizes = integers(50, 3 * batch_size), torch.full((batch_size,), 3)
        yield (
            False,
            {
                "label": torch.bernoulli(torch.sigmoid(likes), generator=made),
                "user_id": user,
                "dense": dense,
                "price": torch.bucketize(price, EDGES),
                "user": user,
                "item": item,
                "user_x_item": (user % 7) * 7 + item % 7,
                "tags": RaggedTensor(tags, torch.cat((torch.zeros(1, dtype=torch.int64), sizes.cumsum(0)))),
                "last": RaggedTensor(history, offsets),
                "history": RaggedTensor(history, offsets),
            },
        )
    yield True, {}


def embedding_options() -> dict[str, EmbeddingOption]:
    unseen = FilterHook("GlobalStepFilter", {"filter_step": 40})

    def option(table: str, initializer: Initializer | None = None, **more: Any) -> EmbeddingOption:
        return EmbeddingOption(
            embedding_dim=DIM,
            shared_name=table,
            initializer=initializer or TruncNormalInitializer(mean=0, std=0.01),
            filter_hook=unseen,
            **more,
        )

    return {
        "price": option("price", XavierNormalInitializer()),
        "user": option("user"),
        "item": option("item"),
        "user_x_item": option("user_x_item"),
        "tags": option("tags", combiner="mean"),
        "last": option("item", combiner="tile", combiner_kwargs={"tile_len": TILE}),
        "history": option("item", combiner=None),
    }


class Interest(nn.Module):
    """The rows of a history, weighted by a small network that compares each with the candidate."""

    def __init__(self) -> None:
        super().__init__()
        self.score = nn.Sequential(nn.Linear(3 * DIM, 16), nn.ReLU(), nn.Linear(16, 1))

    def forward(self, history: RaggedTensor, candidate: Tensor) -> Tensor:
        rows = history.to_dense()  # [samples, longest, DIM]
        (offsets,) = history.offsets()
        there = torch.arange(rows.shape[1], device=rows.device) < offsets.diff()[:, None]
        beside = candidate[:, None].expand_as(rows)
        scores = self.score(torch.cat((rows, beside, rows * beside), dim=-1)).squeeze(-1)
        return (torch.where(there, scores, 0.0)[..., None] * rows).sum(dim=1)


class DeepCTR(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding_engine = EmbeddingEngine(embedding_options())
        self.interest = Interest()
        width = NUM_DENSE + 6 * DIM + TILE * DIM
        self.dnn = nn.Sequential(nn.Linear(width, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 1))
        self.auc_metric = AUROC(num_thresholds=200, dist_sync_on_step=True)
        self.gauc_metric = GAUC()
        self.loss = nn.BCELoss()

    def forward(self, batch: dict[str, Any]) -> Tensor:
        samples = self.embedding_engine(batch)
        label = samples.pop("label")
        parts = [samples[name] for name in ("dense", "price", "user", "item", "user_x_item", "tags")]
        parts += [samples["last"].flatten(1), self.interest(samples["history"], samples["item"])]
        prediction = torch.sigmoid(self.dnn(torch.cat(parts, dim=-1))).squeeze(-1)
        loss: Tensor = self.loss(prediction, label)
        self.auc_metric.update(prediction, label)
        self.gauc_metric.update(prediction, label, samples["user_id"])
        add_metric("auc", self.auc_metric.compute())
        add_metric("gauc", self.gauc_metric.compute())
        return loss


class Dataset:
    """RecIS's `(stop_flag, batch)` pairs, the same ones in each epoch."""

    def __init__(self, count: int, batch_size: int, seed: int) -> None:
        self.told = count, batch_size, seed

    def __iter__(self) -> Iterator[tuple[bool, dict[str, Any]]]:
        return batches(*self.told)


def main() -> None:
    parser = argparse.ArgumentParser(description="Click prediction with many kinds of features.")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--output-dir", default="./ckpt")
    options = parser.parse_args()
    torch.manual_seed(42)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = DeepCTR().to(device)
    sparse_params = filter_out_sparse_param(model)
    logger.info("%s", model)
    dense_optimizer = AdamWTF(model.parameters(), lr=0.002, weight_decay=1e-4)
    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            gradient_accumulation_steps=1,
            output_dir=options.output_dir,
            log_steps=10,
            train_steps=options.steps,
            train_epoch=1,
            save_steps=1000,
            max_to_keep=3,
        ),
        train_dataset=Dataset(options.steps, options.batch_size, seed=1),
        eval_dataset=Dataset(max(1, options.steps // 10), options.batch_size, seed=2),
        hooks=[LoggerHook(log_step=10), HashTableFilterHook(filter_interval=25)],
        dense_optimizers=(dense_optimizer, StepLR(dense_optimizer, step_size=100, gamma=0.7)),
        sparse_optimizer=SparseAdamWTF(sparse_params, lr=0.01, weight_decay=1e-4),
        data_to_cuda=device.type == "cuda",
    )
    trainer.train()
    model.auc_metric.reset()
    model.gauc_metric.reset()
    logger.info("held out: %s", {name: round(value, 4) for name, value in trainer.evaluate().items()})


if __name__ == "__main__":
    main()
