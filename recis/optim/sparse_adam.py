"""`SparseAdam`: Adam for the rows of tables, without weight decay.

Owns its options. Must not know the update (`adam_rule`).
"""

import logging
from collections.abc import Mapping
from typing import Any

from recis.errors import ArgumentError
from recis.nn.modules.hashtable import HashTable
from recis.optim.adam_rule import AdamRule, checked_betas

__all__ = ["SparseAdam"]

_logger = logging.getLogger(__name__)


class SparseAdam(AdamRule):
    """Adam (Kingma, Ba 2015) on the rows of the step, as `torch.optim.SparseAdam` on a sparse `nn.Embedding`.

    Args:
        param_dict: tables by name, as returned by `recis.nn.filter_out_sparse_param(model)`.
        lr: learning rate.
        beta1: decay of the first moment, at least 0 and below 1.
        beta2: decay of the second moment, at least 0 and below 1.
        eps: added to the root of the second moment.
        weight_decay: accepted but not used, as in RecIS; a warning says so. `SparseAdamW` has decay.
        amsgrad: must be False.

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
        weight_decay: float | None = None,
        amsgrad: bool = False,
    ) -> None:
        if amsgrad:
            raise ArgumentError("SparseAdam's amsgrad", "False (it is not supported)", amsgrad)
        if weight_decay:
            _logger.warning(
                "SparseAdam has no weight decay; weight_decay=%r is not used (see SparseAdamW)", weight_decay
            )
        super().__init__(param_dict, {"lr": lr, "eps": eps}, checked_betas("SparseAdam", beta1, beta2))

    def _kept(self, group: dict[str, Any]) -> float:
        return 1.0
