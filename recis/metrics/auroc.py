"""`AUROC`: the area under the ROC curve of all predictions so far, computed from counts at fixed thresholds.

Owns the counts. Must not know the registry of metrics, or the training.
"""

import torch
import torch.distributed as dist
from torch import Tensor, nn

from recis.errors import ArgumentError
from recis.numerals import as_int

__all__ = ["AUROC"]


class AUROC(nn.Module):
    """How often a positive sample is predicted above a negative one, over all batches since `reset`.

    Predictions between two neighbouring thresholds count as equal, so memory does not grow and the result is within
    half the share of such pairs of the exact one. The counts are buffers: they move and are saved with a model.

    Args:
        num_thresholds: number of evenly spaced thresholds from 0 to 1.
        dist_sync_on_step: whether `update` counts the batches of all ranks; no effect without a process group.

    Attributes:
        tp: positives above each threshold, int64 `[num_thresholds]`; `fp`, `tn`, `fn`: the other three counts.

    Raises:
        ArgumentError: (a `ValueError`) fewer than three thresholds.
    """

    tp: Tensor
    fp: Tensor
    tn: Tensor
    fn: Tensor
    _thresholds: Tensor

    def __init__(self, num_thresholds: int = 200, dist_sync_on_step: bool = False) -> None:
        super().__init__()
        number = as_int(num_thresholds)
        if number is None or number < 3:
            raise ArgumentError("AUROC's num_thresholds", "an int of 3 or more", num_thresholds)
        self.num_thresholds = number
        self.dist_sync_on_step = dist_sync_on_step
        # The outer two lie outside the interval, so that predictions of exactly 0 and 1 are on one side of them.
        inner = [place / (number - 1) for place in range(1, number - 1)]
        self.register_buffer("_thresholds", torch.tensor([-1e-7, *inner, 1 + 1e-7]), persistent=False)
        for name in ("tp", "fp", "tn", "fn"):
            self.register_buffer(name, torch.zeros(number, dtype=torch.int64))

    def forward(self, predictions: Tensor, labels: Tensor) -> Tensor:
        """Return the AUC of one batch alone, a 0-dim tensor; arguments as for `update`."""
        return _area(*self._count(predictions, labels))

    @torch.no_grad()
    def update(self, predictions: Tensor, labels: Tensor) -> None:
        """Count a batch.

        Args:
            predictions: floating, any shape, each from 0 to 1.
            labels: the same number; non-zero is positive.

        Raises:
            ArgumentError: (a `ValueError`) a different number of labels, or a prediction outside 0 to 1.
        """
        counts = torch.stack(self._count(predictions, labels))
        if self.dist_sync_on_step and dist.is_available() and dist.is_initialized():
            dist.all_reduce(counts)
        for mine, new in zip((self.tp, self.fp, self.tn, self.fn), counts, strict=True):
            mine.add_(new.to(mine.device))

    def compute(self) -> Tensor:
        """Return the AUC of all batches since `reset`, a 0-dim tensor; NaN until both kinds of labels were seen."""
        return _area(self.tp, self.fp, self.tn, self.fn)

    def reset(self) -> None:
        """Reset the counts."""
        for counts in (self.tp, self.fp, self.tn, self.fn):
            counts.zero_()

    @torch.no_grad()
    def _count(self, predictions: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        flat, positive = predictions.detach().reshape(-1).float(), labels.detach().reshape(-1) != 0
        if flat.shape != positive.shape:
            raise ArgumentError("AUROC's labels", f"{flat.numel()}, one a prediction", positive.numel())
        wrong = ~((flat >= 0) & (flat <= 1))  # NaN as well
        if wrong.any():
            raise ArgumentError("AUROC's predictions", "probabilities from 0 to 1", flat[wrong][0].item())
        # Count the thresholds below each prediction, then the predictions above each threshold.
        above = torch.bucketize(flat, self._thresholds.to(flat.device))
        tp, fp = (_more_than(above[each], self.num_thresholds) for each in (positive, ~positive))
        num_positive = positive.sum()
        return tp, fp, flat.numel() - num_positive - fp, num_positive - tp


def _more_than(above: Tensor, num_thresholds: int) -> Tensor:
    """Return the number of predictions above each threshold."""
    counts = torch.zeros(num_thresholds + 1, dtype=torch.int64, device=above.device)
    counts.index_add_(0, above, torch.ones_like(above))
    return counts[1:].flip(0).cumsum(0).flip(0)


def _area(tp: Tensor, fp: Tensor, tn: Tensor, fn: Tensor) -> Tensor:
    """Return the area under the line through the points of the ROC curve."""
    recall, fall_out = tp.double() / (tp + fn), fp.double() / (fp + tn)
    return ((fall_out[:-1] - fall_out[1:]) * (recall[:-1] + recall[1:]) / 2).sum().float()
