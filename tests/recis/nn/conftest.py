"""The devices on which tables are tested: the CPU, and CUDA where there is one."""

import pytest
import torch

DEVICES = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> torch.device:
    """A device to put the table on."""
    return torch.empty(0, device=request.param).device
