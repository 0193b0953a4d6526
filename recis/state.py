"""The state of the training loop: step, epoch, phase, how it ended, and whether it was asked to stop.

Only the trainer writes it (`request_stop` excepted); hooks read it. Must not know the trainer, hooks, metrics or torch.
"""

from dataclasses import dataclass
from enum import Enum

__all__ = ["Phase", "RunState", "StepNumber"]


class StepNumber(int):
    """The step number passed to hooks: an int, with the `item` method of the 0-dim tensor that RecIS passes.

    A pickle or a deep copy is a plain int.
    """

    def item(self) -> int:
        """Return the plain int."""
        return int(self)

    def __reduce__(self) -> tuple[type[int], tuple[int]]:
        return int, (int(self),)


class Phase(Enum):
    """What the loop is doing."""

    IDLE = "idle"
    TRAIN = "train"
    EVALUATE = "evaluate"


@dataclass(slots=True)
class RunState:
    """The current state of the loop.

    Attributes:
        global_step: completed training steps (batches), including those before a restored checkpoint. Inside
            `after_step` it counts the step that has just ended; evaluation never changes it.
        epoch: complete passes over the training data, including those before a restored checkpoint.
        phase: what the loop is doing.
        samples: samples trained by this process; 0 as long as no batch had a tensor with a size.
        error: the exception that ended the training, set before `end` is called; otherwise None.
        stop_reason: why the training was asked to stop, or None.
    """

    global_step: int = 0
    epoch: int = 0
    phase: Phase = Phase.IDLE
    samples: int = 0
    error: BaseException | None = None
    stop_reason: str | None = None

    def request_stop(self, reason: str) -> None:
        """Ask the training to end normally at the next step boundary; the first reason is kept. From any thread."""
        if self.stop_reason is None:
            self.stop_reason = reason
