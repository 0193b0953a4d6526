"""`SparseAdagrad`: Adagrad for the rows of tables.

Owns the update rule. Must not know tables or steps (`sparse_optimizer`).
"""

from collections.abc import Mapping

from torch import Tensor

from recis.nn.modules.hashtable import HashTable
from recis.optim.sparse_optimizer import SparseOptimizer, checked_number

__all__ = ["SparseAdagrad"]


class SparseAdagrad(SparseOptimizer):
    """Adagrad (Duchi, Hazan, Singer 2011), as `torch.optim.Adagrad` on a sparse `nn.Embedding`.

    Args:
        param_dict: tables by name, as returned by `recis.nn.filter_out_sparse_param(model)`.
        lr: learning rate.
        lr_decay: step t uses `lr / (1 + (t - 1) * lr_decay)`.
        initial_accumulator_value: initial sum of squares of a new row.
        eps: added to the root of the sum.

    Raises:
        TypeError: `param_dict` is not a mapping of names to tables.
        ValueError: a number outside its range, or no table.
    """

    def __init__(
        self,
        param_dict: Mapping[str, HashTable],
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
    ) -> None:
        defaults = {
            "lr": checked_number("SparseAdagrad", "lr", lr),
            "lr_decay": checked_number("SparseAdagrad", "lr_decay", lr_decay),
            "eps": checked_number("SparseAdagrad", "eps", eps),
        }
        fill = checked_number("SparseAdagrad", "initial_accumulator_value", initial_accumulator_value)
        super().__init__(param_dict, defaults, {"sum": fill})

    def _update(self, rows: Tensor, grad: Tensor, state: dict[str, Tensor], num_step: int) -> None:
        group = self.param_groups[0]
        state["sum"].addcmul_(grad, grad)
        step_size = group["lr"] / (1 + (num_step - 1) * group["lr_decay"])
        rows.addcdiv_(grad, state["sum"].sqrt().add_(group["eps"]), value=-step_size)
