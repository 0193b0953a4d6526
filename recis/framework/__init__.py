"""The loop, its arguments, its checkpoints, and the metrics that are set from inside it."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from recis.framework.arguments import TrainingArguments
    from recis.framework.trainer import Trainer

__all__ = ["Trainer", "TrainingArguments"]

# Looked up when asked for: `recis.framework.metrics` must import where torch is not installed.
_HOMES = {"Trainer": "recis.framework.trainer", "TrainingArguments": "recis.framework.arguments"}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
