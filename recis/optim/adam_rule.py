"""The update that `SparseAdam`, `SparseAdamW` and `SparseAdamWTF` share; they differ in how rows decay.

Owns the arithmetic and the two spellings of its options. Must not know tables (`sparse_optimizer`).
"""

from abc import abstractmethod
from collections.abc import Mapping
from math import sqrt
from typing import Any

from torch import Tensor

from recis.errors import ArgumentError
from recis.nn.modules.hashtable import HashTable
from recis.optim.sparse_optimizer import SparseOptimizer, checked_number

__all__ = ["AdamRule", "checked_betas"]


class AdamRule(SparseOptimizer):
    """Adam (Kingma, Ba 2015) on the rows of the step, as `torch.optim.SparseAdam` on a sparse `nn.Embedding`.

    Moments of rows without a gradient do not change, and the bias correction counts the updates of the table, not of
    the row. `eps` is added to the root before the bias correction, unlike in `torch.optim.AdamW`.

    Args:
        param_dict: tables by name, as returned by `recis.nn.filter_out_sparse_param(model)`.
        options: `lr`, `eps` and further numbers, each at least 0.
        betas: decay of the first and the second moment, each at least 0 and below 1.

    Raises:
        TypeError: `param_dict` is not a mapping of names to tables.
        ValueError: a number outside its range, or no table.
    """

    def __init__(
        self, param_dict: Mapping[str, HashTable], options: dict[str, float], betas: tuple[float, float]
    ) -> None:
        owner = type(self).__name__
        checked = {name: checked_number(owner, name, value) for name, value in options.items()}
        super().__init__(param_dict, {**checked, "betas": betas}, {"exp_avg": 0.0, "exp_avg_sq": 0.0})

    @abstractmethod
    def _kept(self, group: dict[str, Any]) -> float:
        """Return the share of a row that remains after its decay."""

    def _update(self, rows: Tensor, grad: Tensor, state: dict[str, Tensor], num_step: int) -> None:
        group = self.param_groups[0]
        beta1, beta2 = group["betas"]
        state["exp_avg"].lerp_(grad, 1 - beta1)
        state["exp_avg_sq"].lerp_(grad.square(), 1 - beta2)
        step_size = group["lr"] * sqrt(1 - beta2**num_step) / (1 - beta1**num_step)
        rows.mul_(self._kept(group))
        rows.addcdiv_(state["exp_avg"], state["exp_avg_sq"].sqrt().add_(group["eps"]), value=-step_size)


def checked_betas(
    owner: str, beta1: float, beta2: float, betas: tuple[float, float] | None = None
) -> tuple[float, float]:
    """Return the two decays, given one by one as in RecIS or as a pair as in torch; `ValueError` naming a bad one."""
    if betas is None:
        named = {"beta1": beta1, "beta2": beta2}
    else:
        if not isinstance(betas, tuple | list) or len(betas) != 2:
            raise ArgumentError(f"{owner}'s betas", "a pair of numbers", betas)
        named = {f"betas[{place}]": beta for place, beta in enumerate(betas)}
    first, second = (checked_number(owner, name, beta, below=1) for name, beta in named.items())
    return first, second
