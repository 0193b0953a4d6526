"""The settings of a training, validated on every assignment.

Must not know the trainer or how the settings are applied.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from recis.errors import ArgumentError
from recis.framework.foreign import FOREIGN, ForeignArguments, warn_of_foreign
from recis.hooks.cadence import check_interval, check_optional_interval

__all__ = ["TrainingArguments"]


@dataclass(repr=False)
class TrainingArguments(ForeignArguments):
    """The arguments of a training. They may be changed; a change between two trainings applies to the second.

    Attributes:
        output_dir: folder of the checkpoints.
        log_steps: steps between two lines of the `LoggerHook` that the trainer adds.
        train_steps: maximum number of steps per `train()`, unless overridden in the call; None for no limit.
        train_epoch: passes over the training data per `train()`.
        eval_steps: maximum number of batches per evaluation; None for no limit.
        gradient_accumulation_steps: steps whose gradients are accumulated into one update of the parameters.
        save_steps: steps between two checkpoints; None for no checkpoints.
        max_to_keep: number of checkpoints to keep; the oldest are deleted first.
        mixed_precision: `"bf16"` runs the model under `torch.autocast`, and so do `"fp16"` and `"fp8"`, with a warning:
            the loss is never scaled here. None or `"no"` for full precision.
        resume: whether a training first restores the newest checkpoint of `output_dir`, if there is one.

    Arguments of RecIS's class and of Accelerate's `Accelerator` that have no effect here are accepted; one warning
    names them and states what happens instead.

    Raises:
        ArgumentError: (a `ValueError`) a value is invalid.
    """

    output_dir: str = "output_dir"
    log_steps: int = 100
    train_steps: int | None = None
    train_epoch: int = 1
    eval_steps: int | None = None
    gradient_accumulation_steps: int = 1
    save_steps: int | None = None
    max_to_keep: int = 5
    mixed_precision: str | None = None
    resume: bool = False

    def __post_init__(self) -> None:
        warn_of_foreign("TrainingArguments", {name: getattr(self, name) for name in FOREIGN})

    def __repr__(self) -> str:
        shown = [each.name for each in fields(self) if each.name not in FOREIGN or getattr(self, each.name) is not None]
        return f"TrainingArguments({', '.join(f'{name}={getattr(self, name)!r}' for name in shown)})"

    def __setattr__(self, name: str, value: Any) -> None:
        check = _CHECKS.get(name)
        super().__setattr__(name, value if check is None else check(f"TrainingArguments.{name}", value))


def _check_folder(where: str, value: Any) -> Any:
    if not str(value):
        raise ArgumentError(where, "the path of a folder", value)
    return value


def _check_precision(where: str, value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, str) and value in ("no", "bf16", "fp16", "fp8"):
        return value
    raise ArgumentError(where, "None, 'no', 'bf16', 'fp16' or 'fp8'", value)


def _check_flag(where: str, value: Any) -> bool:
    if not isinstance(value, bool | int) or value not in (0, 1):
        raise ArgumentError(where, "True or False", value)
    return bool(value)


_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "output_dir": _check_folder,
    "mixed_precision": _check_precision,
    "resume": _check_flag,
    **dict.fromkeys(("log_steps", "train_epoch", "gradient_accumulation_steps", "max_to_keep"), check_interval),
    **dict.fromkeys(("train_steps", "eval_steps", "save_steps"), check_optional_interval),
}
