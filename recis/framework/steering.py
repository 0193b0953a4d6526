"""Controls of a running trainer: checkpoint, evaluation, stop, and learning rates.

Owns the declarations and their effects on the trainer; must not know how requests arrive.
"""

import math
from collections.abc import Iterator
from typing import Any, Protocol

from recis.errors import ArgumentError
from recis.hooks.control import Control
from recis.state import RunState

__all__ = ["Steering"]


class _Trainer(Protocol):
    """The part of a trainer that is used here."""

    state: RunState
    eval_dataset: Any
    dense_optimizer: Any
    dense_lr_scheduler: Any
    sparse_optimizer: Any


class Steering:
    """The controls of one trainer; requests are carried out at the end of the current step, on all ranks."""

    def __init__(self, trainer: _Trainer) -> None:
        self._trainer = trainer
        self._wanted = {"evaluate": False, "checkpoint": False}
        self._agreed = list(self._wanted.values())
        self._rates: tuple[float, float] | None = None

    def offer_learning_rates(self, minimum: float, maximum: float) -> None:
        """Allow users to set learning rates within these bounds.

        Raises:
            ArgumentError: the bounds are invalid.
        """
        bounds = float(minimum), float(maximum)
        if not 0 <= bounds[0] <= bounds[1] < math.inf:
            raise ArgumentError("offer_learning_rates", "0 <= minimum <= maximum", (minimum, maximum))
        self._rates = bounds

    def controls(self) -> Iterator[Control]:
        """Return the controls available now."""
        trainer = self._trainer
        yield Control(
            name="checkpoint",
            type="action",
            on_change=lambda _: self._want("checkpoint"),
            description="Write a checkpoint after the current step.",
            confirm="Write a checkpoint now?",
        )
        if trainer.eval_dataset is not None:
            yield Control(
                name="evaluate",
                type="action",
                on_change=lambda _: self._want("evaluate"),
                description="Evaluate after the current step.",
                confirm="Evaluate now? The training pauses meanwhile.",
            )
        yield Control(
            name="stop",
            type="action",
            on_change=lambda _: trainer.state.request_stop("requested by a command"),
            description="End the training after the current step, as if it were complete.",
            confirm="End this training now? It cannot be continued from the page.",
        )
        if self._rates is not None:
            if _has_rates(trainer.dense_optimizer):
                yield self._rate("lr", self._rates, trainer.dense_optimizer, "dense parameters")
            if _has_rates(trainer.sparse_optimizer):
                yield self._rate("sparse_lr", self._rates, trainer.sparse_optimizer, "rows of the hash tables")

    def wanted(self) -> list[bool]:
        """Return the requests on this rank, for a vote of all ranks: a rank acting alone would wait forever."""
        return list(self._wanted.values())

    def agree(self, votes: list[bool]) -> None:
        """Record the outcome of the vote before a step: requests shared by all ranks are carried out at its end."""
        self._agreed = votes

    def due(self, *, alone: bool) -> tuple[bool, bool]:
        """Return whether to evaluate and to save at the end of this step; `alone` means without other ranks."""
        evaluates, saves = self.wanted() if alone else self._agreed
        self._agreed = [False, False]
        self._wanted["evaluate"] &= not evaluates
        self._wanted["checkpoint"] &= not saves
        return evaluates, saves

    def _want(self, what: str) -> None:
        self._wanted[what] = True

    def _rate(self, name: str, bounds: tuple[float, float], optimizer: Any, what: str) -> Control:
        low, high = bounds
        scheduler = self._trainer.dense_lr_scheduler if optimizer is self._trainer.dense_optimizer else None
        return Control(
            name=name,
            type="float",
            on_change=lambda value: _set_rate(optimizer, scheduler, value),
            read=lambda: optimizer.param_groups[0]["lr"],
            minimum=low,
            maximum=high,
            description=f"Learning rate of the {what}; groups keep their ratios, and a scheduler continues from it.",
        )


def _has_rates(optimizer: Any) -> bool:
    groups: list[dict[str, Any]] = getattr(optimizer, "param_groups", [])
    return bool(groups) and "lr" in groups[0]


def _set_rate(optimizer: Any, scheduler: Any, value: float) -> None:
    """Set the first group's rate, all others in proportion, and the rates that a scheduler starts from."""
    old = float(optimizer.param_groups[0]["lr"])
    for group in optimizer.param_groups:
        group["lr"] = group["lr"] * (value / old) if old else value
    bases = getattr(scheduler, "base_lrs", None)
    if isinstance(bases, list) and old:
        scheduler.base_lrs = [base * (value / old) for base in bases]
