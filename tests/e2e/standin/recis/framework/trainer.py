"""A trainer that calls only `after_step(metrics, global_step)` and `end()`, the latter also after each evaluation."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from recis.framework.metrics import add_metric, get_global_metrics


class Trainer:
    """Counts steps in a 0-dim array that is incremented in place, as RecIS does in a tensor."""

    def __init__(self, hooks: list[Any] | None = None) -> None:
        self.hooks = [] if hooks is None else hooks
        self._global_step = np.zeros((), np.int64)

    def add_hook(self, hook: Any) -> None:
        """Add a hook; its type is not checked."""
        self.hooks.append(hook)

    def train(self, batches: Iterator[float]) -> None:
        """Train on all batches; each batch is its loss."""
        for epoch, loss in enumerate(batches):
            self._global_step += 1
            metrics: dict[str, Any] = {"epoch": epoch // 10, "loss": np.array(loss), **get_global_metrics()}
            for hook in self.hooks:
                hook.after_step(metrics, self._global_step)
        for hook in self.hooks:
            hook.end()

    def evaluate(self, num_batches: int) -> None:
        """Evaluate; the step does not change."""
        for batch in range(num_batches):
            add_metric("auc", self._global_step.item() + batch / 10)
            for hook in self.hooks:
                hook.after_step(dict(get_global_metrics()), self._global_step)
        for hook in self.hooks:
            hook.end()
