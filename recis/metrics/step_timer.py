"""`StepTimer`: how the time of each step divides into phases, without waiting for a device.

Owns the clock of the phases; must not know hooks, trainers or runs. Imports without torch.
"""

import re
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    import torch

__all__ = ["MAX_PHASES", "StepTimer", "bind_timer", "timed"]

MAX_PHASES = 32
"""Most phases of one timer; the time of further ones counts as `other`."""
PREFIX, UNIT = "time/", "_ms"
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
OTHER = "time/other_ms"
STEP = "time/step_ms"
_ON_DEVICE = frozenset({"time/forward_ms", "time/backward_ms", "time/optimizer_ms"})
_REGULAR = frozenset({"time/data_wait_ms", "time/hooks_ms", OTHER, *_ON_DEVICE})


class StepTimer:
    """Divides the time between two calls of `take` into phases.

    At any moment exactly one phase runs, so that the phases add up to the step; time in no phase is `other`. A phase
    entered inside another one interrupts it. With a CUDA device the phases `forward`, `backward` and `optimizer` are
    timed there, by events that are read when the device has passed them, which is a step or more later; nothing waits
    for it. Not safe for use by several threads at once.

    Args:
        device: a device, as `torch.device` or text; a CUDA device times the phases that run on it.
    """

    def __init__(self, device: "torch.device | str | None" = None) -> None:
        self._phases: dict[str, _Phase] = {}
        self._spent: dict[str, int] = {OTHER: 0}  # ns by series
        self._current = OTHER
        self._began = self._since = time.perf_counter_ns()
        self._device = _DeviceTimes(device) if device is not None and str(device).startswith("cuda") else None

    def phase(self, name: str) -> "_Phase":
        """Return a context manager in which time counts as phase `name`; `time/{name}_ms` is its series.

        Raises:
            ValueError: the name is not 1 to 64 letters, digits, `_` or `-`.
        """
        known = self._phases.get(name)
        return known if known is not None else self._new_phase(name)

    def _new_phase(self, name: str) -> "_Phase":
        if not (isinstance(name, str) and _NAME.fullmatch(name)):
            raise ValueError(f"phase: expected a name of 1 to 64 letters, digits, '_' or '-', got {name!r:.80}")
        if len(self._phases) >= MAX_PHASES:
            return _Phase(self, OTHER)
        series = PREFIX + name + UNIT
        self._spent.setdefault(series, 0)
        return self._phases.setdefault(name, _Phase(self, series))

    def batches(self, data: Iterable[Any]) -> Iterator[Any]:
        """Iterate over `data`; waiting for it is the phase `data_wait`."""
        source = iter(data)
        while True:
            with self.phase("data_wait"):
                try:
                    batch = next(source)
                except StopIteration:
                    return
            yield batch

    def restart(self) -> None:
        """Discard measurements since the last `take`, for example before the first step."""
        self._spent = dict.fromkeys(self._spent, 0)
        self._began = self._since = time.perf_counter_ns()

    def take(self) -> dict[str, float]:
        """Return the milliseconds of each phase since the last `take`, and their total as `time/step_ms`.

        `data_wait`, `forward`, `backward`, `optimizer`, `hooks` and `other` are always included once they have
        occurred, other phases only in steps in which they occur.
        """
        self.enter(self._current)
        spent, whole_ns = self._spent, self._since - self._began
        self._began = self._since
        self._spent = dict.fromkeys(spent, 0)
        times = {series: ns / 1e6 for series, ns in spent.items() if ns or series in _REGULAR}
        if self._device is not None:
            times = self._device.take(times, whole_ns / 1e6)
        times[STEP] = whole_ns / 1e6
        return times

    def enter(self, series: str) -> str:
        """Begin a phase by its series, and return that of the phase that it interrupts."""
        now, before = time.perf_counter_ns(), self._current
        self._spent[before] += now - self._since
        self._since, self._current = now, series
        if self._device is not None:
            self._device.switch(before, series)
        return before


class _Phase:
    """A phase as a reentrant context manager."""

    __slots__ = ("_before", "_series", "_timer")

    def __init__(self, timer: StepTimer, series: str) -> None:
        self._timer = timer
        self._series = series
        self._before: list[str] = []

    def __enter__(self) -> Self:
        self._before.append(self._timer.enter(self._series))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.enter(self._before.pop())


class _DeviceTimes:
    """Times of phases on a CUDA device, of one step at a time: the next one begins when the device has passed it.

    While the device has not reached the end of that step, further steps are not timed, so that at most one set of
    events is in use.
    """

    def __init__(self, device: "torch.device | str") -> None:
        import torch

        self._device = torch.device(device)
        self._event: Any = torch.cuda.Event
        self._stream = torch.cuda.current_stream
        self._open: list[tuple[str, Any, Any]] = []
        self._closed: list[tuple[str, Any, Any]] = []
        self._start: Any = None
        self._measures = True
        self._known: dict[str, float] = {}

    def switch(self, before: str, name: str) -> None:
        """Record where the device's work of a phase ends, and that of the next begins."""
        if not self._measures or before == name:
            return
        if self._start is not None and before in _ON_DEVICE:
            self._open.append((before, self._start, self._record()))
        self._start = self._record() if name in _ON_DEVICE else None

    def take(self, times: dict[str, float], whole_ms: float) -> dict[str, float]:
        """Return `times`, in milliseconds, with the newest known times of the device instead of those of the host."""
        if self._open and not self._closed:
            self._closed = self._open
        if self._closed and self._closed[-1][2].query():
            known: dict[str, float] = {}
            for series, start, end in self._closed:
                known[series] = known.get(series, 0.0) + start.elapsed_time(end)
            self._known = known
            self._closed = []
        self._open, self._start = [], None
        self._measures = not self._closed
        times = {series: ms for series, ms in times.items() if series not in _ON_DEVICE} | self._known
        times[OTHER] = max(0.0, whole_ms - sum(ms for series, ms in times.items() if series != OTHER))
        return times

    def _record(self) -> Any:
        event = self._event(enable_timing=True)
        event.record(self._stream(self._device))
        return event


_bound: ContextVar[StepTimer | None] = ContextVar("recis_step_timer", default=None)


@contextmanager
def bind_timer(timer: StepTimer) -> Iterator[None]:
    """Return a context manager in which `timed` uses `timer`."""
    token = _bound.set(timer)
    try:
        yield
    finally:
        _bound.reset(token)


def timed(name: str) -> AbstractContextManager[object]:
    """Return a context in which time counts as a phase of the training that runs here, if there is one."""
    timer = _bound.get()
    return nullcontext() if timer is None else timer.phase(name)
