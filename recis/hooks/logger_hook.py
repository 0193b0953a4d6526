"""The progress line: which steps get one, what it says, and the rates it measures.

Owns the format and the clock of the rates. Must not know the trainer beyond its state, or who listens to the lines.
Waits for no device: values on one are copied in the background and their line is printed when they have arrived.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, SupportsInt

from recis.hooks.cadence import Cadence
from recis.hooks.hook import Hook
from recis.metrics.registry import MetricsReader, MetricsRegistry, current_registry
from recis.metrics.scalars import PendingScalars, Value
from recis.state import RunState

__all__ = ["LogLine", "LoggerHook"]

MAX_PENDING = 64
"""Lines that may wait for a device; a further one is dropped and counted."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LogLine:
    """A printed line: its step, the time of that step in Unix nanoseconds, and its text."""

    step: int
    time_ns: int
    text: str


@dataclass(frozen=True, slots=True)
class _Draft:
    """A line whose numbers may still be on their way."""

    step: int
    time_ns: int
    head: str
    names: tuple[str, ...]
    scalars: PendingScalars

    def finish(self) -> LogLine:
        fields = [
            f"<{name}={'?' if number is None else format(number, '.6g')}>"
            for name, number in zip(self.names, self.scalars.numbers(), strict=True)
        ]
        return LogLine(self.step, self.time_ns, " ".join([self.head, *fields]))


class _Rates:
    """Steps and samples per second since the last reading, without the time of evaluations. Seconds are monotonic."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._steps = 0
        self._samples = 0
        self._paused_at: float | None = None

    def start(self, steps: int, samples: int) -> None:
        """Begin to measure here."""
        self._since, self._steps, self._samples = time.perf_counter(), steps, samples

    def started(self) -> bool:
        """Whether there is a moment to measure from."""
        return self._since is not None

    def pause(self) -> None:
        """Stop the clock."""
        self._paused_at = time.perf_counter()

    def resume(self) -> None:
        """Let the clock go on."""
        if self._paused_at is not None and self._since is not None:
            self._since += time.perf_counter() - self._paused_at
        self._paused_at = None

    def read(self, steps: int, samples: int) -> tuple[float, float] | None:
        """Return steps and samples per second, and begin anew; None where nothing was measured yet."""
        since, done, seen = self._since, steps - self._steps, samples - self._samples
        self.start(steps, samples)
        elapsed = 0.0 if since is None else time.perf_counter() - since
        return (done / elapsed, seen / elapsed) if done > 0 and elapsed > 0 else None


class LoggerHook(Hook):
    """Logs a line every `log_step` steps: `<gstep=100> <lstep=50> <qps=12.34> <loss=0.123> <accuracy=0.95>`.

    `gstep` is the global step, `lstep` the steps since this hook's first, `qps` the training steps per second since the
    previous line; after them come the metrics that were set since then, the loss first. The lines go to the logger
    `recis.hooks.logger_hook` at level INFO. `qps` and, where batches have a known size, `samples_per_second` are also
    set as metrics.

    Args:
        log_step: steps between two lines.

    Attributes:
        log_step: may be set to another positive int, which holds from the next step on.
        num_dropped: lines lost because more than 64 were waiting for a device.

    Raises:
        ArgumentError: (a `ValueError`) `log_step` is no positive int.
    """

    def __init__(self, log_step: int = 10) -> None:
        self._cadence = Cadence(log_step, where="LoggerHook's log_step")
        self.num_dropped = 0
        self._listeners: list[Callable[[LogLine], None]] = []
        self._rates = _Rates()
        self._pending: deque[_Draft] = deque(maxlen=MAX_PENDING)
        self._state: RunState | None = None
        self._registry: MetricsRegistry | None = None
        self._fresh: MetricsReader | None = None
        self._extra = MetricsRegistry()  # metrics that a loop of one's own passes in, checked at the same door
        self._last_step: int | None = None
        self._local_steps = 0

    @property
    def log_step(self) -> int:
        """Steps between two lines."""
        return self._cadence.every

    @log_step.setter
    def log_step(self, value: int) -> None:
        self._cadence.every = value

    def add_listener(self, callback: Callable[[LogLine], None]) -> None:
        """Call `callback` with every line, on the training thread, when it is printed."""
        self._listeners.append(callback)

    def before_train(self, trainer: Any = None) -> None:
        """Start the clock."""
        if trainer is not None:
            self._state = trainer.state
            self._follow(trainer.metrics)
        self._rates.start(self._local_steps, self._samples())

    def before_evaluate(self) -> None:
        """Stop the clock: an evaluation is no training."""
        self._rates.pause()

    def after_evaluate(self) -> None:
        """Let the clock go on."""
        self._rates.resume()

    def after_step(self, metrics: Mapping[str, object] | None, global_step: SupportsInt) -> None:
        """Count the step and log a line where one is due; a step seen before changes nothing.

        Args:
            metrics: what to print beside the metrics that were set with `add_metric`; None in a loop of one's own.
            global_step: the steps done, an int or a 0-dim tensor.
        """
        step = int(global_step)  # at once: a loop may count in place
        if step == self._last_step:
            return
        self._last_step = step
        self._local_steps += 1
        if self._pending:
            self._print_ready()
        if self._cadence.due(step):
            self._draft(step, metrics or {})
        elif not self._rates.started():
            self._rates.start(self._local_steps, self._samples())

    def after_train(self) -> None:
        """Log the lines that still wait for a device."""
        self._print_rest()

    def end(self) -> None:
        """Log the lines that still wait for a device; a training that failed has them too."""
        self._print_rest()

    def _draft(self, step: int, extra: Mapping[str, object]) -> None:
        registry = self._registry or self._follow(current_registry())
        head = f"<gstep={step}> <lstep={self._local_steps}>"
        rates = self._rates.read(self._local_steps, self._samples())
        if rates is not None:
            qps, samples_per_second = rates
            head += f" <qps={qps:.2f}>"
            registry.set("qps", qps)
            if samples_per_second > 0:
                registry.set("samples_per_second", samples_per_second)
        values = self._values(extra)
        if len(self._pending) == MAX_PENDING:
            self.num_dropped += 1
            return
        scalars = PendingScalars.start(list(values.values()))
        self._pending.append(_Draft(step, time.time_ns(), head, tuple(values), scalars))
        self._print_ready()

    def _values(self, extra: Mapping[str, object]) -> dict[str, Value]:
        values = self._fresh.take() if self._fresh is not None else {}
        for name, metric in extra.items():
            if name not in values:
                self._extra.set(name, metric)
        values |= self._extra.take()
        values.pop("qps", None)
        values.pop("samples_per_second", None)
        return {"loss": values["loss"], **values} if "loss" in values else values

    def _follow(self, registry: MetricsRegistry) -> MetricsRegistry:
        if registry is not self._registry:
            self._registry, self._fresh = registry, registry.reader()
        return registry

    def _samples(self) -> int:
        return 0 if self._state is None else self._state.samples

    def _print_ready(self) -> None:
        while self._pending and self._pending[0].scalars.ready():
            self._print(self._pending.popleft().finish())

    def _print_rest(self) -> None:
        while self._pending:
            self._print(self._pending.popleft().finish())

    def _print(self, line: LogLine) -> None:
        _logger.info("%s", line.text)
        for listener in self._listeners:
            listener(line)
