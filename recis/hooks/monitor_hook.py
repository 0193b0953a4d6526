"""`MonitorHook`: passes metrics and reports of other hooks to the bridge, and commands back to the hooks.

Owns the wiring between a training and its run, at the step boundary; must not know sockets or files. Never raises into
training: a failure here is logged and counted by the run.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import recis.monitor
from recis.bridge.identity import check_place
from recis.bridge.report import as_step
from recis.bridge.run import Run
from recis.hooks.cadence import Cadence
from recis.hooks.control import Control
from recis.hooks.hook import Hook
from recis.hooks.profiler_hook import ProfilerHook, capturing_hook
from recis.metrics.registry import MetricsReader, MetricsRegistry, current_registry
from recis.metrics.step_timer import StepTimer
from recis.state import RunState
from recis.wire.controls import control_name

__all__ = ["MonitorHook"]

MAX_READ = 8
"""Most values checked after one step; if hooks offer more, different ones are checked after each step."""
_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Value:
    """A control whose value may change in code, and the value last reported to the server."""

    name: str
    read: Callable[[], Any]
    value: Any


class _Trainer(Protocol):
    """The part of a trainer that is used here; lower layers do not import the trainer."""

    state: RunState
    metrics: MetricsRegistry
    step_timer: StepTimer

    @property
    def hooks(self) -> Sequence[Hook]: ...


class MonitorHook(Hook):
    """Streams the training to a server and executes its commands; see `recis.monitor.init` for the arguments.

    In a `Trainer` every hook has the run as `self.run` from `before_train` on, and its `controls()` can be operated
    from the page. In a custom loop pass the hooks to `watch`, call `after_step(None, global_step)` after each step
    and `end()` at the end.

    Args:
        url: the server.
        project: a group of runs.
        name: display name of the run.
        run_id: the run's identifier.
        config: settings to show with the run.
        tags: words by which to find the run.
        token: with the scope `write`.
        mode: `online`, `offline` or `disabled`.
        spool_dir: folder for unacknowledged values.
        rank: this process's number among those of its job, with `world_size`.
        world_size: number of processes in the job.
        collect: what to collect in addition to metrics: names among `info`, `console` and `system`, `all` or `none`.
        every: interval in steps at which the newest value of each metric is streamed; filter passes and commands are
        not affected.

    Attributes:
        run: the open run, or None before the first event and if it could not be opened.
        acknowledged: after `end`, whether the server has everything (also True if `mode` is `disabled`); None
        before.

    Raises:
        ValueError: an argument is invalid.
    """

    runs_last: ClassVar[bool] = True

    def __init__(
        self,
        url: str | None = None,
        *,
        project: str | None = "default",
        name: str | None = None,
        run_id: str | None = None,
        config: Any = None,
        tags: Iterable[str] | str | None = (),
        token: str | None = None,
        mode: recis.monitor.Mode | None = None,
        spool_dir: str | None = None,
        rank: int | None = None,
        world_size: int | None = None,
        collect: Iterable[str] | str | bool | None = None,
        every: int = 1,
    ) -> None:
        self.run: Run | None = None
        self.acknowledged: bool | None = None
        self._options: dict[str, Any] = {
            "url": url,
            "project": project,
            "name": name,
            "run_id": run_id,
            "config": config,
            "tags": tags,
            "token": token,
            "mode": mode,
            "spool_dir": spool_dir,
            "rank": rank,
            "world_size": world_size,
            "collect": collect,
        }
        recis.monitor.check_options(url=url, token=token, mode=mode, run_id=run_id, collect=collect)
        check_place(rank, world_size)
        self._cadence = Cadence(every)
        self._registry: MetricsRegistry | None = None
        self._reader: MetricsReader | None = None
        self._is_trained = False  # called by a trainer
        self._timer: StepTimer | None = None  # the trainer's
        self._held: dict[str, Any] = {}
        self._last_step = 0
        self._unmeasured = 2  # steps until the next one that is streamed; the first opens the run
        self._opened = False
        self._watched: list[Hook] = []
        self._capturing: ProfilerHook | None = None  # own profiler hook, used if no other hook offers captures
        self._names: set[str] = set()
        self._values: deque[_Value] = deque()  # values of the controls last reported to the server

    def watch(self, *hooks: Hook) -> None:
        """Connect the reports and controls of these hooks; only needed without a `Trainer`."""
        self._watched.extend(hooks)
        if self._opened:
            for hook in hooks:
                self._connect(hook)
                self._offer(hook)

    # --- events

    def open_run(self, trainer: _Trainer) -> None:
        """Open the run, before `before_train` of all hooks, and set it as their `run`."""
        self._is_trained = True
        self._timer = trainer.step_timer
        if self._reader is None or self._registry is not trainer.metrics:
            self._registry = trainer.metrics
            self._reader = trainer.metrics.reader()
        self._watched.extend(hook for hook in trainer.hooks if hook is not self and hook not in self._watched)
        self._open()

    def before_train(self, trainer: _Trainer) -> None:  # noqa: D102 - as in Hook
        if not self._opened:
            self.open_run(trainer)
        self._offer_all(trainer)
        if self.run is not None:
            self.run.await_settings(trainer.state.global_step)

    def after_step(self, metrics: Mapping[str, Any] | None, global_step: Any) -> None:  # noqa: D102 - as in Hook
        if not self._opened:
            self._open()
            self._offer_all()
        run = self.run
        if run is None or not run.is_open:
            return
        self._unmeasured -= 1
        start = 0 if self._unmeasured else time.perf_counter_ns()
        try:
            registry = self._registry
            assert registry is not None
            # First the usual case of a custom loop, which passes its metrics and sets none.
            fresh = metrics if registry.is_unused and type(metrics) is dict else self._fresh(metrics)
            if self._timer is not None:
                fresh = {**fresh, **self._timer.take()}
            if self._held:
                fresh = {**self._held, **fresh}
            step = global_step if type(global_step) is int else as_step(global_step)
            if step is None:
                run.log(fresh, global_step)  # which refuses, counts and logs it
            else:
                self._last_step = step
                if self._cadence.due(step):
                    self._held = {}
                    if fresh:
                        run.log(fresh, step)
                else:
                    self._held = dict(fresh)
                self._after_boundary(run, step)
        except Exception:  # noqa: BLE001 - boundary: no value passed in here may end the training
            run.refusals.fail("MonitorHook")
        if start:
            run.cost.add(time.perf_counter_ns() - start)
            self._unmeasured = run.cost.apart

    def checkpoint_written(self, trainer: _Trainer, folder: Path) -> None:
        """Mark a checkpoint that the trainer has written."""
        if self.run is not None:
            self.run.mark_checkpoint(str(folder), trainer.state.global_step)

    def after_evaluate(self, trainer: _Trainer) -> None:  # noqa: D102 - as in Hook
        if self.run is not None and self._reader is not None and (fresh := self._reader.take()):
            self.run.log(fresh, trainer.state.global_step)

    def end(self, trainer: _Trainer | None = None) -> None:  # noqa: D102 - as in Hook
        run, self._opened = self.run, False
        if run is None or self.acknowledged is not None:
            return
        if self._capturing is not None:
            self._capturing.end()
        rest = {**self._held, **(self._reader.take() if self._reader is not None else {})}
        if rest:  # held back by `every`, or set after the last step
            run.log(rest, self._last_step)
        self._held = {}
        self.acknowledged = run.finish(error=trainer.state.error if trainer is not None else None)
        for hook in (*self._watched, *filter(None, [self._capturing])):
            if hook.run is run:
                hook.run = None

    # --- inside

    def _fresh(self, metrics: Mapping[str, Any] | None) -> Mapping[str, Any]:
        """Return what is new in the registry, and the metrics passed in addition to it."""
        assert self._registry is not None
        assert self._reader is not None
        fresh: Mapping[str, Any] = self._reader.take()
        given = metrics or {}
        if isinstance(given, Mapping):  # `log` reports what is wrong with other types
            given = self._registry.foreign(given)
            if self._is_trained and "epoch" in given:  # the trainer's, in every step
                given = {name: value for name, value in given.items() if name != "epoch"}
        return {**given, **fresh} if given and fresh else given or fresh

    def _open(self) -> None:
        """Open the run and connect the hooks; called once per training."""
        self._opened = True
        self.acknowledged = None
        if self._reader is None:
            self._registry = current_registry()
            self._reader = self._registry.reader()
        try:
            self.run = recis.monitor.init(**self._options)
            self.run.measures_log = False  # after_step measures the whole step
            for hook in self._watched:
                self._connect(hook)
        except Exception:  # boundary: a monitor that cannot start must not keep the training from starting
            _logger.exception("the monitor could not start; training continues without it")
            self.run = None

    def _connect(self, hook: Hook) -> None:
        """Set `run` on a hook, unless the hook uses that name for something else."""
        if type(hook).run is None and hook.__dict__.get("run") is None:
            hook.run = self.run

    def _offer_all(self, trainer: _Trainer | None = None) -> None:
        """Declare the controls of the trainer and the hooks, and always captures."""
        self._names.clear()
        self._values.clear()
        if self.run is None:
            return
        for each in (trainer, *self._watched):
            self._offer(each)
        if "profile" not in self._names:
            self._capturing = self._capturing or capturing_hook()
            self._connect(self._capturing)
            self._offer(self._capturing)
        else:
            self._capturing = None

    def _offer(self, source: Any) -> None:
        run = self.run
        offering = getattr(source, "controls", None)
        if run is None or not callable(offering):
            return
        try:
            for control in offering():
                if isinstance(control, Control):
                    self._declare(run, control)
        except Exception:  # noqa: BLE001 - boundary: a hook's faulty control must not keep the training from starting
            run.refusals.fail(f"{type(source).__name__}.controls")

    def _declare(self, run: Run, control: Control) -> None:
        name = control_name(control.name)
        number = 2
        while name in self._names:  # two hooks of a class
            name, number = control_name(f"{control.name}-{number}"), number + 1
        self._names.add(name)
        value = control.read() if control.read is not None else None
        run.control(
            name,
            type=control.type,
            value=value,
            on_change=control.on_change,
            minimum=control.minimum,
            maximum=control.maximum,
            nullable=control.nullable,
            choices=control.choices,
            unit=control.unit,
            description=control.description,
            apply=control.apply,
            confirm=control.confirm,
        )
        if control.read is not None:
            self._values.append(_Value(name, control.read, value))

    def _after_boundary(self, run: Run, step: int) -> None:
        if (capturing := self._capturing) is not None and not capturing.is_idle:
            capturing.after_step(None, step)
        if self._values:
            self._report_values(run, step)
        run.step_boundary(step)

    def _report_values(self, run: Run, step: int) -> None:
        """Report controls whose values have changed in code."""
        for _ in range(min(len(self._values), MAX_READ)):
            known = self._values[0]
            self._values.rotate(-1)
            value = known.read()
            if value != known.value:  # whatever the cause: the server already knows about applied commands
                known.value = value
                run.controls.changed(known.name, value, step)
