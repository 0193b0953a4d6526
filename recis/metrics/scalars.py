"""What counts as a metric's value, and how values on a device become numbers without a step waiting for them.

Owns the rule at the door (`to_value`) and the one non-blocking copy (`PendingScalars`). Must not know names, steps,
registries or the bridge. Imports without torch: a tensor can only come from somebody who has imported it already.
"""

import math
import sys
from collections.abc import Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any, Self, TypeAlias

if TYPE_CHECKING:
    import torch

__all__ = ["PendingScalars", "Value", "to_value"]

Value: TypeAlias = "int | float | torch.Tensor"
"""A plain number, or a detached 0-dim tensor on a device, which nobody else holds."""

_INT64 = range(-(1 << 63), 1 << 63)


def to_value(metric: object) -> Value:
    """Return what is kept of `metric`: a plain number, or a detached private copy of a device scalar.

    A tensor or array in host memory becomes a number at once, which waits for nothing. A device tensor is detached, so
    that no graph is kept alive, and cloned, so that adding to it in place later does not change what was reported; the
    clone is queued on the device like any other kernel and nothing waits for it.

    Args:
        metric: an int, float or other real number, a 0-dim real tensor, or a 0-dim real numpy array.

    Raises:
        TypeError: it is something else.
    """
    if type(metric) is float:  # nearly all that comes
        return metric
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(metric, torch.Tensor):
        return _tensor_value(metric)
    if isinstance(metric, Real):
        return _number(metric)
    # numpy's 0-dim arrays and bool scalars, known by shape so that numpy need not be imported.
    if getattr(metric, "shape", None) == () and hasattr(metric, "item"):
        item = metric.item()
        if isinstance(item, Real):
            return _number(item)
    raise TypeError(f"expected a real number, a 0-dim tensor or a 0-dim array, got {_describe(metric)}")


def _tensor_value(tensor: "torch.Tensor") -> Value:
    if tensor.dim() != 0 or tensor.is_complex():
        raise TypeError(f"expected a 0-dim real tensor, got {_describe(tensor)}")
    if tensor.device.type == "cpu":
        return _number(tensor.item())
    return tensor.detach().clone()


def _number(value: Any) -> int | float:
    if isinstance(value, int) and _INT64.start <= value < _INT64.stop:
        return int(value)
    try:
        return float(value)
    except OverflowError:
        # An integer (or fraction) too large for a float64 is reported as what it rounds to.
        return math.inf if value > 0 else -math.inf


def _describe(value: object) -> str:
    shape = getattr(value, "shape", None)
    kind = type(value).__name__
    if shape is not None:
        return f"{kind} of shape {tuple(shape)} and dtype {getattr(value, 'dtype', '?')}"
    text = repr(value)
    return f"{kind} {text if len(text) <= 80 else text[:77] + '...'}"


class PendingScalars:
    """Numbers on their way: plain ones as they are, device scalars in one queued copy per device and dtype.

    Made on the training thread by `start`, which waits for nothing; read by any thread, once `ready` or if it may wait.
    """

    def __init__(self, numbers: list[float], copies: "list[_DeviceCopy]") -> None:
        self._numbers = numbers
        self._copies = copies

    @classmethod
    def start(cls, values: Sequence[Value]) -> Self:
        """Begin to copy `values`, numbers and 0-dim tensors; from CUDA into pinned memory, behind an event."""
        numbers = [0.0] * len(values)
        groups: dict[tuple[Any, Any], list[int]] = {}
        for index, value in enumerate(values):
            if isinstance(value, int | float):
                numbers[index] = float(value)
            else:
                # One group per dtype: stacking different ones would round large counts to the narrower float.
                groups.setdefault((value.device, value.dtype), []).append(index)
        copies = [_DeviceCopy(indices, [values[i] for i in indices]) for indices in groups.values()]
        return cls(numbers, copies)

    def ready(self) -> bool:
        """Whether `numbers` returns without waiting; asks the device's event, never waits itself."""
        return all(copy.ready() for copy in self._copies)

    def numbers(self) -> list[float]:
        """Return the numbers in the order of the values; waits for the device where it is not `ready`."""
        for copy in self._copies:
            for index, number in zip(copy.indices, copy.numbers(), strict=True):
                self._numbers[index] = float(number)
        self._copies = []
        return self._numbers


class _DeviceCopy:
    """One stack of scalars of one device and dtype, and its copy in host memory."""

    def __init__(self, indices: list[int], scalars: "Sequence[Any]") -> None:
        torch = sys.modules["torch"]  # somebody made these tensors
        self.indices = indices
        self._event: Any = None
        with torch.no_grad():
            stack = torch.stack([scalar.detach() for scalar in scalars])
            if stack.device.type == "cuda":
                self._host = torch.empty(stack.shape, dtype=stack.dtype, device="cpu", pin_memory=True)
                self._host.copy_(stack, non_blocking=True)
                # Recorded on the stream of the copy, which is the current one of that device, not of the process.
                self._event = torch.cuda.Event()
                self._event.record(torch.cuda.current_stream(stack.device))
            else:
                # No asynchronous copy is known here: the reader of the numbers pays for it.
                self._host = stack

    def ready(self) -> bool:
        return self._event is None or bool(self._event.query())

    def numbers(self) -> list[float]:
        if self._event is not None:
            self._event.synchronize()
        return self._host.tolist()  # type: ignore[no-any-return]
