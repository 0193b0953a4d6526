"""A click model over two tables, in the shape of RecIS's quick start; it runs on a CPU and on a GPU.

python examples/recis/quickstart.py --steps 200
RECIS_MONITOR_URL=http://127.0.0.1:8765 python examples/recis/quickstart.py     # watched
"""

import argparse
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from recis.framework import Trainer, TrainingArguments
from recis.framework.metrics import add_metric
from recis.hooks import HashTableFilterHook
from recis.nn import EmbeddingEngine, EmbeddingOption
from recis.nn.hashtable_hook import FilterHook
from recis.nn.initializers import TruncNormalInitializer
from recis.nn.modules.hashtable import filter_out_sparse_param
from recis.optim import SparseAdamW
from recis.utils.logger import Logger

logger = Logger(__name__)


class Clicks:
    """Batches of synthetic clicks: some users click often, some items are clicked often."""

    def __init__(self, batches: int, batch_size: int = 256) -> None:
        self.batches, self.batch_size = batches, batch_size
        made = torch.Generator().manual_seed(0)
        self.taste = torch.randn(10_000, generator=made)
        self.appeal = torch.randn(20_000, generator=made)

    def __iter__(self) -> Iterator[tuple[bool, dict[str, Tensor]]]:
        for step in range(self.batches):
            # New users and items keep appearing, and old ones disappear.
            user = (torch.randn(self.batch_size).abs() * 300).long() + 20 * step
            item = (torch.randn(self.batch_size).abs() * 500).long() + 30 * step
            likes = torch.sigmoid(2 * self.taste[user % 10_000] + 2 * self.appeal[item % 20_000])
            label = torch.bernoulli(likes)
            yield False, {"user_emb": user[:, None], "item_emb": item[:, None], "label": label}
        yield True, {}  # RecIS's data sets signal their end


class SimpleCTR(nn.Module):
    """Rows of the user and of the item, and a small network over both."""

    def __init__(self) -> None:
        super().__init__()
        unseen = FilterHook("GlobalStepFilter", {"filter_step": 30})
        small = TruncNormalInitializer(std=0.01)
        self.embedding_engine = EmbeddingEngine(
            {
                name: EmbeddingOption(embedding_dim=16, shared_name=name, initializer=small, filter_hook=unseen)
                for name in ("user_emb", "item_emb")
            }
        )
        self.dnn = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 1))
        self.loss_fn = nn.BCEWithLogitsLoss()

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        samples = self.embedding_engine(batch)
        label = samples.pop("label")
        logits = self.dnn(torch.cat([samples["user_emb"], samples["item_emb"]], dim=-1)).squeeze(-1)
        add_metric("accuracy", ((logits > 0) == (label > 0.5)).float().mean())
        loss: Tensor = self.loss_fn(logits, label)
        return loss


def main() -> None:
    parser = argparse.ArgumentParser(description="A click model over two hash tables.")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--output-dir", default="./checkpoints")
    options = parser.parse_args()
    torch.manual_seed(42)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = SimpleCTR().to(device)
    sparse_params = filter_out_sparse_param(model)
    logger.info("hash tables: %s", sparse_params)
    trainer = Trainer(
        model=model,
        args=TrainingArguments(output_dir=options.output_dir, train_steps=options.steps, log_steps=10, save_steps=50),
        train_dataset=Clicks(options.steps),
        hooks=[HashTableFilterHook(filter_interval=20)],
        dense_optimizers=(AdamW(model.parameters(), lr=0.001), None),
        sparse_optimizer=SparseAdamW(sparse_params, lr=0.01),
        data_to_cuda=device.type == "cuda",
    )
    trainer.train()
    logger.info("trained %d steps", trainer.state.global_step)


if __name__ == "__main__":
    main()
