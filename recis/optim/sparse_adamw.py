"""`SparseAdamW`: Adam for the rows of tables, with decoupled weight decay.

Owns the update rule. Must not know tables or steps (`sparse_optimizer`).
"""

from collections.abc import Mapping
from math import sqrt

from torch import Tensor

from recis.nn.modules.hashtable import HashTable
from recis.optim.sparse_optimizer import SparseOptimizer, checked_number

__all__ = ["SparseAdamW"]


class SparseAdamW(SparseOptimizer):
    """Adam (Kingma, Ba 2015) with decoupled decay (Loshchilov, Hutter 2019) on the rows of the step.

    Without decay it does what `torch.optim.SparseAdam` does to a sparse `nn.Embedding`: moments of rows without a
    gradient stand still, and the bias correction counts the steps of the table, not of the row.

    Args:
        param_dict: tables by name, as `recis.nn.filter_out_sparse_param(model)` gives them.
        lr: learning rate.
        betas: decay of the first and the second moment, each at least 0 and below 1.
        eps: added to the root of the second moment.
        weight_decay: rows of the step shrink by `lr * weight_decay` of themselves; off by default, since a row's decay
            would then depend on how often its id occurs.

    Raises:
        TypeError: `param_dict` is not a mapping of names to tables.
        ValueError: a number outside its range, or no table.
    """

    def __init__(
        self,
        param_dict: Mapping[str, HashTable],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        defaults = {
            "lr": checked_number("SparseAdamW", "lr", lr),
            "betas": tuple(checked_number("SparseAdamW", f"betas[{i}]", beta, below=1) for i, beta in enumerate(betas)),
            "eps": checked_number("SparseAdamW", "eps", eps),
            "weight_decay": checked_number("SparseAdamW", "weight_decay", weight_decay),
        }
        super().__init__(param_dict, defaults, {"exp_avg": 0.0, "exp_avg_sq": 0.0})

    def _update(self, weight: Tensor, slots: Tensor, grad: Tensor, state: dict[str, Tensor], num_step: int) -> None:
        group = self.param_groups[0]
        beta1, beta2 = group["betas"]
        exp_avg = state["exp_avg"][slots].lerp_(grad, 1 - beta1)
        exp_avg_sq = state["exp_avg_sq"][slots].lerp_(grad.square(), 1 - beta2)
        state["exp_avg"].index_copy_(0, slots, exp_avg)
        state["exp_avg_sq"].index_copy_(0, slots, exp_avg_sq)
        step_size = group["lr"] * sqrt(1 - beta2**num_step) / (1 - beta1**num_step)
        # eps joins the root before the bias correction, as in torch.optim.SparseAdam and unlike torch.optim.AdamW.
        rows = weight[slots].mul_(1 - group["lr"] * group["weight_decay"])
        rows.addcdiv_(exp_avg, exp_avg_sq.sqrt_().add_(group["eps"]), value=-step_size)
        weight.index_copy_(0, slots, rows)
