"""`Gauc`: the AUC within each group of samples, such as those of a user, averaged with the group sizes as weights.

Owns the two sums. Must not know the registry of metrics, or the training.
"""

import torch
import torch.distributed as dist
from torch import Tensor, nn

from recis.errors import ArgumentError

__all__ = ["GAUC", "Gauc"]


class Gauc(nn.Module):
    """The AUC within each group of a batch, averaged over groups and batches, each weighted by its samples.

    A group counts if it has both kinds of labels; equal predictions count half. A group that occurs in two batches
    counts as two groups. With a process group, the batches of all ranks count. The sums are buffers: they are saved
    with a model.

    Args:
        num_thresholds: accepted for compatibility and ignored; the AUC of a group is exact.
    """

    weighted: Tensor
    samples: Tensor

    def __init__(self, num_thresholds: int | None = None) -> None:
        super().__init__()
        del num_thresholds
        self.register_buffer("weighted", torch.zeros((), dtype=torch.float64))
        self.register_buffer("samples", torch.zeros((), dtype=torch.float64))

    def forward(self, labels: Tensor, predictions: Tensor, indicators: Tensor) -> tuple[float, float]:
        """Count a batch, and return its GAUC and that of all batches since `reset`; labels come first, as in RecIS."""
        batch = self._count(predictions, labels, indicators)
        return float(batch[0] / batch[1]), float(self.compute())

    def update(self, predictions: Tensor, labels: Tensor, indicators: Tensor) -> None:
        """Count a batch.

        Args:
            predictions: floating `[N]`, any increasing function of the probability.
            labels: `[N]`; non-zero is positive.
            indicators: integers `[N]`, the group of each sample, in any order.

        Raises:
            ArgumentError: (a `ValueError`) their lengths differ.
        """
        self._count(predictions, labels, indicators)

    def compute(self) -> Tensor:
        """Return the GAUC of all batches since `reset`, a 0-dim tensor; NaN until a group had both kinds of labels."""
        return self.weighted / self.samples

    def reset(self) -> None:
        """Reset the sums."""
        self.weighted.zero_()
        self.samples.zero_()

    @torch.no_grad()
    def _count(self, predictions: Tensor, labels: Tensor, indicators: Tensor) -> Tensor:
        """Add a batch to the sums, and return the two sums of the batch."""
        scores, positive, groups = predictions.reshape(-1), labels.reshape(-1) != 0, indicators.reshape(-1)
        for name, given in (("labels", positive), ("indicators", groups)):
            if given.shape != scores.shape:
                raise ArgumentError(f"Gauc's {name}", f"{len(scores)}, one a prediction", len(given))
        areas, sizes = _areas(scores, positive, groups)
        sums = torch.stack(((areas * sizes).sum(), sizes.sum()))
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(sums)
        self.weighted += sums[0].to(self.weighted)
        self.samples += sums[1].to(self.samples)
        return sums


GAUC = Gauc
"""The name used in the documentation of RecIS."""


def _areas(scores: Tensor, positive: Tensor, groups: Tensor) -> tuple[Tensor, Tensor]:
    """Return the AUC and the number of samples, float64 `[groups]` each, of the groups with both kinds of labels."""
    order = scores.argsort(stable=True)
    order = order[groups[order].argsort(stable=True)]  # by group, and by score within a group
    scores, positive, groups = scores[order], positive[order].double(), groups[order]
    _, group, sizes = torch.unique_consecutive(groups, return_inverse=True, return_counts=True)
    begins = sizes.cumsum(0) - sizes
    # Equal scores of a group share the mean of their ranks, which count from 1 within the group.
    differs = torch.ones_like(groups, dtype=torch.bool)
    differs[1:] = (scores[1:] != scores[:-1]) | (groups[1:] != groups[:-1])
    tie = differs.cumsum(0) - 1
    tie_sizes = torch.bincount(tie)
    tie_ends = tie_sizes.cumsum(0)
    rank = (tie_ends - (tie_sizes - 1) / 2.0).double()[tie] - begins[group]
    zeros = torch.zeros(len(sizes), dtype=torch.float64, device=scores.device)
    positives = zeros.index_add(0, group, positive)
    rank_sums = zeros.index_add(0, group, rank * positive)
    pairs = positives * (sizes - positives)
    counts = pairs > 0
    areas = (rank_sums - positives * (positives + 1) / 2)[counts] / pairs[counts]
    return areas, sizes[counts].double()
