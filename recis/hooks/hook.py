"""The base class of all hooks: nine events as no-ops, with the conditions under which each fires.

Owns the names of the events; must not know who calls them, in which order, or with which arguments (`dispatch`).
"""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Final

from recis.hooks.control import Control

__all__ = ["EVENTS", "Hook"]

EVENTS: Final = (
    "before_train",
    "after_train",
    "before_evaluate",
    "after_evaluate",
    "before_epoch",
    "after_epoch",
    "before_step",
    "after_step",
    "end",
)
"""The nine events, as pairs; `docs/hooks.md` has them in the order in which they fire."""


class Hook:
    """Base class of hooks. Override the events you need, each in one of these forms:

    - `def after_step(self)`
    - `def after_step(self, trainer)`
    - `def after_step(self, metrics, global_step)`: `after_step` only; also `def after_step(self, *args)`.
      `metrics` has what was set during this step, names to numbers or detached 0-dim tensors.

    The form is determined once, when the hook is added; a signature that matches none raises `HookSignatureError` (a
    `TypeError`) there. Hooks run in the order in which they were added. An exception from a callback stops
    the training.
    """

    runs_last: ClassVar[bool] = False
    """True puts the hook behind all others in every event: for hooks that report what the others did."""
    run: Any = None
    """The monitored run (`recis.bridge.run.Run`), from before `before_train` on; None where nobody monitors."""

    def controls(self) -> Iterable[Control]:
        """Return the controls of this hook; called once per training, before its steps."""
        return ()

    # `*args: Any, **kwargs: Any` is what lets a type checker accept each of the three forms in a subclass.

    def before_train(self, *args: Any, **kwargs: Any) -> None:
        """Called once before training; model, datasets and all hooks are in place."""

    def after_train(self, *args: Any, **kwargs: Any) -> None:
        """Called once after the last step of a successful training; `end` follows."""

    def before_evaluate(self, *args: Any, **kwargs: Any) -> None:
        """Called before the first batch of each evaluation; the model is in eval mode."""

    def after_evaluate(self, *args: Any, **kwargs: Any) -> None:
        """Called after each successful evaluation; its results are in the metrics and the model's mode is restored."""

    def before_epoch(self, *args: Any, **kwargs: Any) -> None:
        """Called before the first batch of each pass over the training data is read."""

    def after_epoch(self, *args: Any, **kwargs: Any) -> None:
        """Called after each pass over the training data, even if incomplete; `state.epoch` counts complete ones."""

    def before_step(self, *args: Any, **kwargs: Any) -> None:
        """Called before each training step; its batch is read, and `state.global_step` does not count it yet."""

    def after_step(self, *args: Any, **kwargs: Any) -> None:
        """Called after each training step; parameters are updated, `state.global_step` counts it, `loss` is set."""

    def end(self, *args: Any, **kwargs: Any) -> None:
        """Called exactly once per training, however it ended; `state.error` is the exception, if any."""

    def state_dict(self) -> Mapping[str, Any]:
        """Return the state of this hook for a checkpoint: tensors and plain containers, or nothing."""
        return {}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore the state returned by `state_dict`; called before `before_train`."""
