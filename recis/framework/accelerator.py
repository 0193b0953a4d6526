"""The subset of RecIS's `trainer.accelerator` that overridden training steps and hooks use.

Must not know the loop. Does not use Accelerate.
"""

from contextlib import AbstractContextManager
from typing import Any, Protocol

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from recis.framework.ranks import Ranks
from recis.metrics.step_timer import timed

__all__ = ["Accelerator"]


class _Trainer(Protocol):
    """The part of a trainer that is used here."""

    @property
    def device(self) -> torch.device: ...
    def autocast(self) -> AbstractContextManager[Any]: ...


class Accelerator:
    """A few methods and attributes of Accelerate's `Accelerator`.

    Args:
        trainer: the trainer it belongs to.
        ranks: the processes that train together.
    """

    def __init__(self, trainer: _Trainer, ranks: Ranks) -> None:
        self._trainer = trainer
        self._ranks = ranks

    @property
    def process_index(self) -> int:
        """This process's rank."""
        return self._ranks.rank

    @property
    def num_processes(self) -> int:
        """Number of processes that train together."""
        return self._ranks.size

    @property
    def is_main_process(self) -> bool:
        """True on rank 0."""
        return self._ranks.rank == 0

    @property
    def device(self) -> torch.device:
        """Device of the model."""
        return self._trainer.device

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context in which the model runs in `args.mixed_precision`."""
        return self._trainer.autocast()

    def backward(self, loss: torch.Tensor, **kwargs: Any) -> None:
        """Compute the gradients; arguments as of `torch.Tensor.backward`."""
        with timed("backward"):
            loss.backward(**kwargs)  # type: ignore[no-untyped-call]

    def unwrap_model(self, model: nn.Module) -> nn.Module:
        """Return the model inside of a `DistributedDataParallel`, any other as it is."""
        inner: nn.Module = model.module if isinstance(model, DistributedDataParallel) else model
        return inner
