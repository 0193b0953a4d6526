"""A DeepFM-style click model with sparse features in hash tables, and its AUC.

Owns the arithmetic; must not know where batches come from, which optimizers train it, or any hook.
"""

from collections import deque
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from recis.demo.data import FEATURES, Bag, Batch
from recis.nn import HashTable
from recis.nn.hashtable_hook import FilterHook
from recis.nn.initializers import NormalInitializer

__all__ = ["ClickModel", "auc"]


class ClickModel(nn.Module):
    """Predicts whether a user likes a film: linear term, pairwise products and a small network over shared rows.

    Guo, Tang, Ye, Li, He: "DeepFM: A Factorization-Machine based Neural Network for CTR Prediction", IJCAI 2017.

    Args:
        width: length of a feature's factor; a table's row holds it and one linear weight.
        filter_step: a row not looked up for this many steps is evicted by the next filter pass.
        window: number of batches whose predictions `scores()` keeps.

    Attributes:
        label_smoothing: how far labels are moved towards one half in training, from 0 to 0.5.
    """

    def __init__(self, *, width: int = 16, filter_step: int = 100, window: int = 40) -> None:
        super().__init__()
        self.tables = nn.ModuleDict(
            {
                name: HashTable(
                    embedding_shape=[width + 1],
                    name=name,
                    initializer=NormalInitializer(std=0.01),
                    filter_hook=FilterHook("GlobalStepFilter", {"filter_step": filter_step}),
                )
                for name in FEATURES
            }
        )
        self.deep = nn.Sequential(nn.Linear(len(FEATURES) * width, 64), nn.ReLU(), nn.Linear(64, 1))
        self.label_smoothing = 0.0
        self._scored: deque[tuple[Tensor, Tensor]] = deque(maxlen=window)
        self._evaluated: list[tuple[Tensor, Tensor]] = []

    def forward(self, batch: Batch) -> Tensor:
        """Return the mean cross entropy of the batch, a 0-dim tensor."""
        logits = self.logits(batch)
        (self._scored if self.training else self._evaluated).append((logits.detach(), batch.label))
        target = batch.label + self.label_smoothing * (0.5 - batch.label) if self.training else batch.label
        return nn.functional.binary_cross_entropy_with_logits(logits, target)

    def logits(self, batch: Batch) -> Tensor:
        """Return the log-odds of a like, float32 [N]."""
        rows = torch.stack([self._pool(name, batch.bags[name], len(batch.label)) for name in FEATURES], dim=1)
        factors, linear = rows[..., :-1], rows[..., -1]
        # The sum over all pairs of products, without forming the pairs (Rendle, "Factorization Machines", 2010).
        pairs = 0.5 * (factors.sum(1).square() - factors.square().sum(1)).sum(1)
        logits: Tensor = linear.sum(1) + pairs + self.deep(factors.flatten(1)).squeeze(1)
        return logits

    def scores(self) -> tuple[Tensor, Tensor]:
        """Return predictions and labels of the last `window` batches, each predicted before training on it."""
        return _joined(self._scored)

    def take_evaluated(self) -> tuple[Tensor, Tensor]:
        """Return the predictions and labels made in evaluation mode since the last call, and discard them."""
        evaluated, self._evaluated = self._evaluated, []
        return _joined(evaluated)

    def _pool(self, name: str, bag: Bag, size: int) -> Tensor:
        """Return the mean row per sample, [size, width + 1]; zeros for a sample without an id."""
        rows: Tensor = self.tables[name](bag.ids)
        counts = torch.bincount(bag.owner, minlength=size).clamp(min=1).to(rows.dtype)
        return rows.new_zeros(size, rows.shape[1]).index_add(0, bag.owner, rows) / counts[:, None]


def _joined(scored: Iterable[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    predictions, labels = zip(*scored, strict=True)
    return torch.cat(predictions), torch.cat(labels)


def auc(scores: Tensor, labels: Tensor) -> float:
    """Return how often a liked sample scores above one that was not, ties counted half.

    NaN without both kinds, and where a score is NaN: such scores have no order.

    Args:
        scores: float [N], any increasing function of the probability.
        labels: float [N], 1 for liked and 0 for not.
    """
    if scores.isnan().any():
        return float("nan")
    liked, others = scores[labels == 1], scores[labels == 0].sort().values
    below = torch.searchsorted(others, liked) + torch.searchsorted(others, liked, right=True)
    return float(below.double().mean() / (2 * max(1, len(others)))) if len(others) else float("nan")
