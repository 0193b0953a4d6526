"""The plan and the progress of one call of `train`.

Must not know the loop, data or checkpoints.
"""

from dataclasses import dataclass, field

__all__ = ["Plan", "Progress"]


@dataclass(slots=True)
class Progress:
    """Progress of the running training, saved in checkpoints so that a restored training does only the rest."""

    steps: int = 0
    epochs: int = 0
    epoch_steps: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """Limits of the running training; None for no limit."""

    epochs: int
    steps: int | None = None
    epoch_steps: int | None = None
    evaluates: bool = False
    eval_steps: int | None = None
    progress: Progress = field(default_factory=Progress)

    def wants_step(self) -> bool:
        """Return whether another step of this epoch is within both limits."""
        done = self.progress
        return self.wants_any() and (self.epoch_steps is None or done.epoch_steps < self.epoch_steps)

    def wants_any(self) -> bool:
        """Return whether any further step is within the limit of the training."""
        return self.steps is None or self.progress.steps < self.steps
