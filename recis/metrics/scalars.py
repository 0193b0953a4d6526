"""Validate metric values, and read device values without blocking a step.

Owns the validation (`to_value`) and the non-blocking copy (`PendingScalars`). Must not know names, steps, registries or
the bridge. Imports without torch: only a program that has imported torch can pass a tensor.
"""

import math
import reprlib
import sys
from collections.abc import Sequence
from copy import copy
from numbers import Complex, Number, Real
from typing import TYPE_CHECKING, Any, Self, TypeAlias

if TYPE_CHECKING:
    import torch

__all__ = ["PendingScalars", "Value", "detached", "to_value"]

Value: TypeAlias = "int | float | torch.Tensor"
"""A plain number, or a detached 0-dim tensor on a device that nothing else references."""

_INT64 = range(-(1 << 63), 1 << 63)


def to_value(metric: object, *, is_private: bool = False) -> Value:
    """Return the value to report for `metric`: a plain number, or a detached private copy of a device scalar.

    A tensor or array in host memory is converted to a number immediately, without waiting. A device tensor is detached,
    so that no graph is kept alive, and cloned, so that later in-place changes do not affect the reported value; the
    clone is queued on the device like any other kernel, and nothing waits for it.

    Args:
        metric: an int, float or other real number, a 0-dim real tensor, or a 0-dim real numpy array.
        is_private: whether a device scalar is such a copy already.

    Raises:
        TypeError: it is something else, or converting it raises.
    """
    if type(metric) is float:  # nearly all values
        return metric
    try:
        value = _value(metric, is_private)
    except Exception as error:
        raise TypeError(f"{_EXPECTED}, got {_describe(metric)}, which raised {_name(error)}") from error
    if value is None:
        raise TypeError(f"{_EXPECTED}, got {_describe(metric)}")
    return value


_EXPECTED = "expected a real number, a 0-dim tensor or a 0-dim array"


def detached(metric: object) -> object:
    """Return `metric` in a form that does not keep a graph alive, whatever its type.

    A 0-dim tensor becomes a private copy, so that later in-place changes do not affect the value set; on a device the
    copy is queued, and nothing waits for it. A larger tensor is detached but shares its memory.
    """
    torch = sys.modules.get("torch")
    try:
        if torch is not None and isinstance(metric, torch.Tensor):
            kept = metric.detach()
            return kept if metric.dim() else kept.clone()
        if getattr(metric, "shape", None) == () and not isinstance(metric, Number):
            return copy(metric)  # numpy's 0-dim arrays can be changed in place, its scalars cannot
    except Exception:  # noqa: BLE001, S110 - boundary: a user's object; `to_value` says what is wrong with it
        pass
    return metric


def _value(metric: Any, is_private: bool) -> "Value | None":
    """Return the value that `to_value` reports, or None; propagate exceptions of the metric."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(metric, torch.Tensor):
        return _tensor_value(metric, is_private)
    # Python registers Decimal as a number, but neither as real nor as complex.
    if isinstance(metric, Real) or (isinstance(metric, Number) and not isinstance(metric, Complex)):
        return _number(metric)
    # numpy's 0-dim arrays and bool scalars, known by shape so that numpy need not be imported.
    if getattr(metric, "shape", None) == () and hasattr(metric, "item"):
        item = metric.item()
        # The number behind the mask of a masked array is not a value.
        if isinstance(item, Real) and not bool(getattr(metric, "mask", False)):
            return _number(item)
    return None


def _tensor_value(tensor: "torch.Tensor", is_private: bool) -> "Value | None":
    if tensor.dim() != 0 or tensor.is_complex():
        return None
    if tensor.device.type == "cpu":
        return _number(tensor.item())
    return tensor if is_private else tensor.detach().clone()


def _number(value: Any) -> int | float:
    if isinstance(value, int) and _INT64.start <= value < _INT64.stop:
        return int(value)
    try:
        return float(value)
    except OverflowError:
        # An integer (or fraction) too large for a float64 is reported as infinity.
        return math.inf if value > 0 else -math.inf


def _describe(value: object) -> str:
    """Describe a value whose attributes and conversions may raise."""
    kind = type(value).__name__
    try:
        shape = getattr(value, "shape", None)
        if shape is not None:
            return f"{kind} of shape {tuple(shape)} and dtype {getattr(value, 'dtype', '?')}"[:200]
        text = reprlib.repr(value)
    except Exception as error:  # noqa: BLE001 - boundary: a user's object
        return f"{kind} that cannot be shown ({_name(error)})"
    return f"{kind} {text if len(text) <= 80 else text[:77] + '...'}"


def _name(error: Exception) -> str:
    return type(error).__name__


class PendingScalars:
    """Numbers being copied to the host: plain ones unchanged, device scalars in one queued copy per device and dtype.

    Created on the training thread by `start`, which does not wait; read by any thread once `ready`, or if it may wait.
    A value that cannot be read, for example because its device has failed, becomes None; the others are not affected.

    Attributes:
        error: the exception of the first value that could not be read, else None.
    """

    def __init__(self, values: Sequence[Value]) -> None:
        self.error: Exception | None = None
        self._numbers: list[float | None] = [None] * len(values)
        self._copies: list[_DeviceCopy] = []
        groups: dict[tuple[Any, Any], list[int]] = {}
        for index, value in enumerate(values):
            if isinstance(value, int | float):
                self._numbers[index] = float(value)
            else:
                # One group per dtype: stacking different ones would round large counts to the narrower float.
                groups.setdefault((value.device, value.dtype), []).append(index)
        for indices in groups.values():
            self._copy(indices, values)

    @classmethod
    def start(cls, values: Sequence[Value]) -> Self:
        """Start copying `values`, numbers and 0-dim tensors; from CUDA to pinned memory, followed by an event."""
        return cls(values)

    def ready(self) -> bool:
        """Whether `numbers` returns without waiting; queries the event of the device and never waits itself."""
        return all(part.ready() for part in self._copies)

    def numbers(self) -> list[float | None]:
        """Return the numbers in the order of the values; waits for the device where it is not `ready`."""
        for part in self._copies:
            try:
                read = part.numbers()
            except Exception as error:  # noqa: BLE001 - a device that has failed raises whatever it is asked
                self.error = self.error or error
                continue
            for index, number in zip(part.indices, read, strict=True):
                self._numbers[index] = float(number)
        self._copies = []
        return self._numbers

    def _copy(self, indices: list[int], values: "Sequence[Any]") -> None:
        """Start one copy of all values or, if that fails, a separate copy of each value that can be copied."""
        try:
            self._copies.append(_DeviceCopy(indices, [values[i] for i in indices]))
        except Exception as error:  # noqa: BLE001 - as above
            if len(indices) == 1:
                self.error = self.error or error
                return
            for index in indices:
                self._copy([index], values)


class _DeviceCopy:
    """One stack of scalars of one device and dtype, and its copy in host memory."""

    def __init__(self, indices: list[int], scalars: "Sequence[Any]") -> None:
        torch = sys.modules["torch"]  # imported by the code that created the tensors
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
                # No asynchronous copy for this device: reading the numbers waits.
                self._host = stack

    def ready(self) -> bool:
        try:
            return self._event is None or bool(self._event.query())
        except Exception:  # noqa: BLE001 - a device that has failed; its numbers say so too
            return True

    def numbers(self) -> list[float]:
        if self._event is not None:
            self._event.synchronize()
        return self._host.tolist()  # type: ignore[no-any-return]
