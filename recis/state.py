"""What the training loop knows now: step, epoch, phase, how it ended, and whether somebody asked it to stop.

Only the trainer writes it (`request_stop` excepted); hooks read it. Must not know the trainer, hooks, metrics or torch.
"""

from dataclasses import dataclass
from enum import Enum

__all__ = ["Phase", "RunState", "StepNumber"]


class StepNumber(int):
    """A number of steps as hooks are given it: an int, with the `item` of the 0-dim tensor that it is in RecIS.

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
    """The loop's present state.

    Attributes:
        global_step: training steps (batches) done, those before a restored checkpoint included. Inside `after_step` it
            counts the step that has just ended; evaluation never changes it.
        epoch: passes over the training data that are complete, those before a restored checkpoint included.
        phase: what the loop is doing.
        samples: samples trained by this process; 0 as long as no batch had a tensor to count by.
        error: what ended the training, set before `end` is called; None while all is well.
        stop_reason: why somebody asked the training to stop, or None.
    """

    global_step: int = 0
    epoch: int = 0
    phase: Phase = Phase.IDLE
    samples: int = 0
    error: BaseException | None = None
    stop_reason: str | None = None

    def request_stop(self, reason: str) -> None:
        """Ask the training to end well at the next step boundary; the first reason stays. From any thread."""
        if self.stop_reason is None:
            self.stop_reason = reason
