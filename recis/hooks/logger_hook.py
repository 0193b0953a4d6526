"""The progress line: the steps that get one, its content, and the rates it measures.

Owns the clock of the rates. Must not know the trainer beyond its state, or the listeners of the lines.
Never waits for a device: values on a device are copied in the background, and their line is printed when they arrive.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, SupportsInt

from recis.hooks.cadence import Cadence
from recis.hooks.console import hook_logger, refresh_console
from recis.hooks.control import Control
from recis.hooks.hook import Hook
from recis.hooks.log_line import LineValues, format_metrics
from recis.metrics.registry import MetricsRegistry, current_registry
from recis.state import RunState

__all__ = ["LogLine", "LoggerHook"]

MAX_PENDING = 64
"""Lines that may wait for a device; a further one is dropped and counted."""


@dataclass(frozen=True, slots=True)
class LogLine:
    """A printed line: its step, the time of that step in Unix nanoseconds, and its text."""

    step: int
    time_ns: int
    text: str


@dataclass(frozen=True, slots=True)
class _Draft:
    """A line whose numbers may not have been copied from the device yet."""

    step: int
    time_ns: int
    head: str
    values: LineValues


class _Rates:
    """Steps and samples per second since the last reading, excluding evaluations. Uses monotonic seconds."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._steps = 0
        self._samples = 0
        self._paused_at: float | None = None

    def start(self, steps: int, samples: int) -> None:
        """Start measuring."""
        self._since, self._steps, self._samples = time.perf_counter(), steps, samples

    def started(self) -> bool:
        """Return whether measuring has started."""
        return self._since is not None

    def pause(self) -> None:
        """Stop the clock."""
        self._paused_at = time.perf_counter()

    def resume(self) -> None:
        """Resume the clock."""
        if self._paused_at is not None and self._since is not None:
            self._since += time.perf_counter() - self._paused_at
        self._paused_at = None

    def read(self, steps: int, samples: int) -> tuple[float, float] | None:
        """Return steps and samples per second and restart measuring; None if nothing was measured yet."""
        since, done, seen = self._since, steps - self._steps, samples - self._samples
        self.start(steps, samples)
        elapsed = 0.0 if since is None else time.perf_counter() - since
        return (done / elapsed, seen / elapsed) if done > 0 and elapsed > 0 else None


class LoggerHook(Hook):
    """Logs a line every `log_step` steps: `<gstep=100> <lstep=50> <qps=12.34> <loss=0.123> <accuracy=0.95>`.

    `gstep` is the global step, `lstep` the steps since this hook's first, `qps` the training steps per second since the
    previous line; after them comes the latest value of every metric, the loss first. The lines go to the logger
    `recis.hooks.logger_hook` at level INFO; in a program that has not configured logging they go to stdout. `qps`
    and, where batches have a known size, `samples_per_second` are also set as metrics.

    Args:
        log_step: steps between two lines.

    Attributes:
        log_step: may be set to another positive int, which applies from the next step.
        logger: where the lines go.
        steps: steps since this hook's first one.
        start_time: when the previous line (at first, the hook) was created, in seconds since the epoch.
        num_dropped: lines lost because more than 64 were waiting for a device.

    Raises:
        ArgumentError: (a `ValueError`) `log_step` is not a positive int.
    """

    def __init__(self, log_step: int = 10) -> None:
        self._cadence = Cadence(log_step, where="LoggerHook's log_step")
        self.logger = hook_logger(__name__)
        self.steps = 0
        self.start_time = time.time_ns() / 1e9
        self.num_dropped = 0
        self._listeners: list[Callable[[LogLine], None]] = []
        self._rates = _Rates()
        self._pending: deque[_Draft] = deque(maxlen=MAX_PENDING)
        self._state: RunState | None = None
        self._registry: MetricsRegistry | None = None
        self._extra = MetricsRegistry()  # metrics passed by a custom loop, validated in the same way
        self._last_step: int | None = None

    @property
    def log_step(self) -> int:
        """Steps between two lines."""
        return self._cadence.every

    @log_step.setter
    def log_step(self, value: int) -> None:
        self._cadence.every = value

    def controls(self) -> Iterable[Control]:
        """Return the control for `log_step`."""
        yield Control(
            name="log_step",
            type="int",
            on_change=lambda value: setattr(self, "log_step", value),
            read=lambda: self.log_step,
            minimum=1,
            unit="steps",
            description="Steps between two lines of the log, and two values of qps.",
        )

    def add_listener(self, callback: Callable[[LogLine], None]) -> None:
        """Call `callback` with every line, on the training thread, when it is printed."""
        self._listeners.append(callback)

    def before_train(self, trainer: Any = None) -> None:
        """Start the clock."""
        if trainer is not None:
            self._state = trainer.state
            self._registry = trainer.metrics
        self._rates.start(self.steps, self._samples())

    def before_evaluate(self) -> None:
        """Stop the clock: evaluations do not count as training time."""
        self._rates.pause()

    def after_evaluate(self) -> None:
        """Resume the clock."""
        self._rates.resume()

    def after_step(self, metrics: Mapping[str, object] | None, global_step: SupportsInt) -> None:
        """Count the step and log a line if one is due; a step seen before is ignored.

        Args:
            metrics: values to print in addition to those set with `add_metric`, or None.
            global_step: number of completed steps, an int or a 0-dim tensor.
        """
        step = int(global_step)  # immediately: a loop may update its counter in place
        if step == self._last_step:
            return
        self._last_step = step
        self.steps += 1
        if self._pending:
            self._print_ready()
        if self._cadence.due(step):
            self._draft(step, metrics if isinstance(metrics, Mapping) else {})
        elif not self._rates.started():
            self._rates.start(self.steps, self._samples())

    def after_train(self) -> None:
        """Log the lines that still wait for a device."""
        self._print_rest()

    def end(self) -> None:
        """Log the lines that still wait for a device, even if the training failed."""
        self._print_rest()

    def format_metrics(self, metrics: Mapping[str, Any]) -> str:
        """Return ` <name=value>` for each metric, the end of a line; subclasses may override the format.

        Args:
            metrics: names and values of any type; waits for tensors on a device.
        """
        return format_metrics(metrics)

    def _draft(self, step: int, given: Mapping[str, object]) -> None:
        registry = self._registry or current_registry()
        head = f"<gstep={step}> <lstep={self.steps}>"
        rates = self._rates.read(self.steps, self._samples())
        self.start_time = time.time_ns() / 1e9
        if rates is not None:
            qps, samples_per_second = rates
            head += f" <qps={qps:.2f}>"
            registry.set("qps", qps)
            if samples_per_second > 0:
                registry.set("samples_per_second", samples_per_second)
        if len(self._pending) == MAX_PENDING:
            self.num_dropped += 1
            return
        values = LineValues(self._values(registry, given))
        self._pending.append(_Draft(step, time.time_ns(), head, values))
        self._print_ready()

    def _values(self, registry: MetricsRegistry, given: Mapping[str, object]) -> dict[str, Any]:
        values = registry.snapshot()
        for name, metric in registry.foreign(given).items():
            # A trainer passes the metrics set before its hooks were called, and the epoch.
            if self._state is None or (name not in values and name != "epoch"):
                self._extra.set(name, metric)
        values |= self._extra.snapshot()
        self._extra.live.clear()
        for name in ("qps", "samples_per_second"):
            values.pop(name, None)
        return {"loss": values["loss"], **values} if "loss" in values else values

    def _samples(self) -> int:
        return 0 if self._state is None else self._state.samples

    def _print_ready(self) -> None:
        while self._pending and self._pending[0].values.ready():
            self._print(self._pending.popleft())

    def _print_rest(self) -> None:
        while self._pending:
            self._print(self._pending.popleft())

    def _print(self, draft: _Draft) -> None:
        line = LogLine(draft.step, draft.time_ns, draft.head + self.format_metrics(draft.values.read()))
        if self.run is not None:  # first: the console can then recognise the printed line as the same
            self.run.line(line.text, line.step, line.time_ns)
        refresh_console()
        self.logger.info("%s", line.text)
        for listener in self._listeners:
            listener(line)
