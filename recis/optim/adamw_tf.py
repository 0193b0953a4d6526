"""`AdamWTF`: Adam for dense parameters, with the weight decay and the epsilon of TensorFlow's old AdamW.

Owns the update and its options. Must not know tables.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from recis.errors import ArgumentError
from recis.optim.adam_rule import checked_betas
from recis.optim.sparse_optimizer import checked_number

__all__ = ["AdamWTF"]


class AdamWTF(Optimizer):
    """Adam whose parameters shrink by the fraction `weight_decay` in each step, whatever the learning rate.

    `eps` is added to the root of the second moment before the bias correction, unlike in `torch.optim.AdamW`.

    Args:
        params: parameters, or groups of them, as for any optimizer of torch.
        lr: learning rate.
        betas: decay of the first and the second moment, each at least 0 and below 1.
        eps: added to the root of the second moment.
        weight_decay: the fraction by which a parameter shrinks in each step.
        use_nesterov: must be False.
        maximize: maximise the objective instead of minimising it.
        fuse: accepted for compatibility with RecIS; the result is the same.

    Raises:
        ValueError: a number outside its range.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        use_nesterov: bool = False,
        *,
        maximize: bool = False,
        fuse: bool = True,
    ) -> None:
        if use_nesterov:
            raise ArgumentError("AdamWTF's use_nesterov", "False (it is not supported)", use_nesterov)
        checked_number("AdamWTF", "lr", lr.item() if isinstance(lr, Tensor) else lr)
        defaults = {
            "lr": lr,
            "betas": checked_betas("AdamWTF", 0.0, 0.0, betas),
            "eps": checked_number("AdamWTF", "eps", eps),
            "weight_decay": checked_number("AdamWTF", "weight_decay", weight_decay),
            "maximize": bool(maximize),
        }
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update all parameters that have a gradient; returns the closure's loss.

        Raises:
            RuntimeError: a gradient is sparse.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group)
        return loss

    def _update(self, parameter: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        if grad.is_sparse:
            raise RuntimeError("AdamWTF does not support sparse gradients; use SparseAdamWTF for tables")
        state = self.state[parameter]
        if not state:
            state["step"] = torch.tensor(0.0, device="cpu")  # as torch does: reading it must not wait for a device
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        state["step"] += 1
        num_step, (beta1, beta2) = float(state["step"]), group["betas"]
        if group["maximize"]:
            grad = -grad
        parameter.mul_(1 - group["weight_decay"])
        state["exp_avg"].lerp_(grad, 1 - beta1)
        state["exp_avg_sq"].mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
        step_size = float(group["lr"]) * math.sqrt(1 - beta2**num_step) / (1 - beta1**num_step)
        parameter.addcdiv_(state["exp_avg"], state["exp_avg_sq"].sqrt().add_(group["eps"]), value=-step_size)
