"""The devices on which tables are tested (CUDA where there is one), and a meter of the work that they do."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

DEVICES = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


class WorkMeter(TorchDispatchMode):
    """Records which operations run, and on how many elements of output, while it is entered."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[str, int]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            self.operations.append((str(func), result.numel()))
        return result


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> torch.device:
    """A device to put the table on."""
    return torch.empty(0, device=request.param).device


@pytest.fixture
def work_meter() -> type[WorkMeter]:
    """The class, to be entered around the work."""
    return WorkMeter
