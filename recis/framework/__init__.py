"""The loop, its arguments, its checkpoints, and the metrics that are set from inside it."""

from typing import TYPE_CHECKING

from recis.lazy import lazy_names

if TYPE_CHECKING:
    from recis.framework.arguments import TrainingArguments
    from recis.framework.trainer import Trainer

__all__ = ["Trainer", "TrainingArguments"]

# `recis.framework.metrics` must import where torch is not installed.
__getattr__, __dir__ = lazy_names(
    __name__, {"Trainer": "recis.framework.trainer", "TrainingArguments": "recis.framework.arguments"}
)
