"""`SparseAdamW`: Adam for the rows of tables, with decoupled weight decay.

Owns its options and the decay. Must not know the update (`adam_rule`).
"""

from collections.abc import Mapping
from typing import Any

from recis.errors import ArgumentError
from recis.nn.modules.hashtable import HashTable
from recis.optim.adam_rule import AdamRule, checked_betas

__all__ = ["SparseAdamW"]


class SparseAdamW(AdamRule):
    """Adam (Kingma, Ba 2015) with decoupled decay (Loshchilov, Hutter 2019) on the rows of the step.

    With `weight_decay=0` it is equivalent to `torch.optim.SparseAdam` on a sparse `nn.Embedding`.

    Args:
        param_dict: tables by name, as returned by `recis.nn.filter_out_sparse_param(model)`.
        lr: learning rate.
        beta1: decay of the first moment, at least 0 and below 1.
        beta2: decay of the second moment, at least 0 and below 1.
        eps: added to the root of the second moment.
        weight_decay: rows of the step shrink by the fraction `lr * weight_decay`, so that it acts more on frequent ids.
        amsgrad: must be False.
        betas: `(beta1, beta2)` in torch's form; takes precedence over the two.

    Raises:
        TypeError: `param_dict` is not a mapping of names to tables.
        ValueError: a number outside its range, or no table.
    """

    def __init__(
        self,
        param_dict: Mapping[str, HashTable],
        lr: float = 1e-3,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        betas: tuple[float, float] | None = None,
    ) -> None:
        if amsgrad:
            raise ArgumentError("SparseAdamW's amsgrad", "False (it is not supported)", amsgrad)
        pair = checked_betas("SparseAdamW", beta1, beta2, betas)
        super().__init__(param_dict, {"lr": lr, "eps": eps, "weight_decay": weight_decay}, pair)

    def _kept(self, group: dict[str, Any]) -> float:
        return float(1 - group["lr"] * group["weight_decay"])
