"""Random generators across a restart: their states are saved in a checkpoint and restored when the training resumes.

Owns the set of generators. Must not know the loop beyond the start of an epoch, or a file format.
"""

import logging
import random
from typing import Any

import numpy as np
import torch

__all__ = ["RandomStreams"]

_logger = logging.getLogger(__name__)


class RandomStreams:
    """The global generators of Python, numpy and torch (CPU and present CUDA device) of one training.

    A data loader draws its order when an epoch starts. To reread the same data in an interrupted epoch, a resumed
    training therefore starts from the state at that time, and then continues from that of the checkpoint.
    """

    def __init__(self) -> None:
        self._epoch_start: dict[str, Any] | None = None
        self._loaded: dict[str, Any] | None = None

    def start_epoch(self, done: int) -> None:
        """Record the start of an epoch; one with `done` completed steps starts from its original state."""
        loaded = self._loaded
        if loaded is not None:
            _restore(loaded["epoch_start"] if done else loaded["now"])
        self._epoch_start = _capture()

    def caught_up(self) -> None:
        """Continue from the checkpoint's state, after the trained part of this epoch has been reread."""
        if self._loaded is not None:
            _restore(self._loaded["now"])
            self._loaded = None

    def state_dict(self) -> dict[str, Any]:
        """Return the states of all generators now and at the start of the epoch, as tensors and plain containers."""
        now = _capture()
        return {"epoch_start": self._epoch_start or now, "now": now}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore a `state_dict` when the next epoch starts."""
        self._loaded = {"epoch_start": state_dict["epoch_start"], "now": state_dict["now"]}


def _capture() -> dict[str, Any]:
    name, keys, *rest = np.random.get_state(legacy=True)
    states = {
        "python": random.getstate(),
        "numpy": (str(name), torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        states["cuda"] = torch.cuda.get_rng_state()  # this rank's device only: querying all would initialise all
    return states


def _restore(states: dict[str, Any]) -> None:
    try:
        version, internal, gauss = states["python"]
        random.setstate((version, tuple(internal), gauss))
        name, keys, *rest = states["numpy"]
        np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
        torch.set_rng_state(states["torch"].cpu())
        if "cuda" in states and torch.cuda.is_available():
            torch.cuda.set_rng_state(states["cuda"].cpu())
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        # Other versions of Python or torch may have different states. The training is still valid.
        _logger.warning("The random generators could not be set as in the checkpoint: %s", error)
