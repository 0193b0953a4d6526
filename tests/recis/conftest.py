"""Fixtures for tests of the training side: a fake device, and a meter of tensor operations."""

from collections.abc import Iterator
from typing import Any, Self

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from recis.metrics.registry import MetricsRegistry, current_registry, set_current_registry


class DeviceScalar(torch.Tensor):
    """A tensor that claims to be on CUDA, and fails the test if anything waits for its value."""

    value: torch.Tensor

    @staticmethod
    def __new__(cls: type[Self], value: torch.Tensor) -> Self:
        return torch.Tensor._make_wrapper_subclass(cls, value.shape, dtype=value.dtype, device=torch.device("cuda"))

    def __init__(self, value: torch.Tensor) -> None:
        self.value = value

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        if func in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten._to_copy.default):
            pytest.fail(f"{func} waits for the device")
        plain = [tree_map(lambda x: x.value if isinstance(x, cls) else x, part) for part in (args, kwargs or {})]
        if func is torch.ops.aten.copy_.default:
            assert kwargs is None or "non_blocking" not in kwargs or kwargs["non_blocking"]
        out = func(*plain[0], **plain[1])
        return tree_map(lambda x: cls(x) if isinstance(x, torch.Tensor) else x, out)


class FakeCuda:
    """Creates device scalars, counts copies, and decides when the device completes them."""

    def __init__(self) -> None:
        self.done = False
        self.waits = 0
        self.num_copies = 0

    def scalar(self, value: float) -> torch.Tensor:
        return DeviceScalar(torch.tensor(value))

    def event(self) -> "FakeEvent":
        self.num_copies += 1
        return FakeEvent(self)


class FakeEvent:
    def __init__(self, cuda: FakeCuda) -> None:
        self.cuda = cuda

    def record(self, stream: object) -> None:
        assert stream == "the stream of cuda"

    def query(self) -> bool:
        return self.cuda.done

    def synchronize(self) -> None:
        self.cuda.waits += not self.cuda.done


@pytest.fixture
def fake_cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    """A fake CUDA device for scalars: events, pinned memory, and tensors that must not be waited for."""
    cuda = FakeCuda()
    empty = torch.empty
    monkeypatch.setattr(torch, "empty", lambda *size, pin_memory=False, **options: empty(*size, **options))
    monkeypatch.setattr(torch.cuda, "Event", cuda.event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: f"the stream of {device}")
    return cuda


class WorkMeter(TorchDispatchMode):
    """A context manager that records which operations run, and their number of output elements."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[str, int]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.operations.append((str(func), result.numel()))
        return result


@pytest.fixture
def work_meter() -> type[WorkMeter]:
    """The class `WorkMeter`, to be entered around the work."""
    return WorkMeter


@pytest.fixture(autouse=True)
def _own_metrics() -> Iterator[None]:
    """Isolate metrics that a test sets outside of any training."""
    before = current_registry()
    set_current_registry(MetricsRegistry())
    yield
    set_current_registry(before)


@pytest.fixture(params=["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"])
def device(request: pytest.FixtureRequest) -> torch.device:
    """A device for tables: the CPU, and CUDA if available."""
    return torch.empty(0, device=request.param).device
