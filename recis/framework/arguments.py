"""What a user can set about a training, frozen and checked when made.

Must not know the trainer or how any of it is carried out.
"""

from dataclasses import dataclass

from recis.errors import ArgumentError
from recis.hooks.cadence import check_interval, check_optional_interval

__all__ = ["TrainingArguments"]


@dataclass(frozen=True, slots=True)
class TrainingArguments:
    """The arguments of a training.

    Attributes:
        output_dir: folder of the checkpoints.
        log_steps: steps between two lines of the `LoggerHook` that the trainer adds.
        train_steps: at most so many steps per `train()`, unless that is given its own number; None: no limit.
        train_epoch: passes over the training data per `train()`.
        eval_steps: at most so many batches per evaluation; None: no limit.
        gradient_accumulation_steps: steps whose gradients make one update of the parameters.
        save_steps: steps between two checkpoints; None: none are written.
        max_to_keep: checkpoints kept; the oldest go first.

    Raises:
        ArgumentError: (a `ValueError`) a value is outside what is said above.
    """

    output_dir: str = "output_dir"
    log_steps: int = 100
    train_steps: int | None = None
    train_epoch: int = 1
    eval_steps: int | None = None
    gradient_accumulation_steps: int = 1
    save_steps: int | None = None
    max_to_keep: int = 5

    def __post_init__(self) -> None:
        if not str(self.output_dir):
            raise ArgumentError("TrainingArguments.output_dir", "the path of a folder", self.output_dir)
        for name in ("log_steps", "train_epoch", "gradient_accumulation_steps", "max_to_keep"):
            check_interval(f"TrainingArguments.{name}", getattr(self, name))
        for name in ("train_steps", "eval_steps", "save_steps"):
            check_optional_interval(f"TrainingArguments.{name}", getattr(self, name))
