"""`SparseAdamWTF`: Adam for the rows of tables, with the weight decay of TensorFlow's old AdamW.

Owns its options and the decay. Must not know the update (`adam_rule`).
"""

from collections.abc import Mapping
from typing import Any

from recis.errors import ArgumentError
from recis.nn.modules.hashtable import HashTable
from recis.optim.adam_rule import AdamRule, checked_betas

__all__ = ["SparseAdamWTF"]


class SparseAdamWTF(AdamRule):
    """As `SparseAdamW`, but rows of the step shrink by the fraction `weight_decay`, whatever the learning rate.

    Args:
        param_dict: tables by name, as returned by `recis.nn.filter_out_sparse_param(model)`.
        lr: learning rate.
        beta1: decay of the first moment, at least 0 and below 1.
        beta2: decay of the second moment, at least 0 and below 1.
        eps: added to the root of the second moment.
        weight_decay: the fraction by which a row of the step shrinks.
        use_nesterov: must be False.

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
        use_nesterov: bool = False,
    ) -> None:
        if use_nesterov:
            raise ArgumentError("SparseAdamWTF's use_nesterov", "False (it is not supported)", use_nesterov)
        pair = checked_betas("SparseAdamWTF", beta1, beta2)
        super().__init__(param_dict, {"lr": lr, "eps": eps, "weight_decay": weight_decay}, pair)

    def _kept(self, group: dict[str, Any]) -> float:
        return float(1 - group["weight_decay"])
