"""`MonitorHook`: carries what the other hooks and the metrics say to the bridge, and commands back to the hooks.

Owns the wiring between a training and its run, at the step boundary; must not know sockets or files. Never raises into
training: what fails here is logged, counted by the run, and over.
"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any, ClassVar, Protocol

import recis.monitor
from recis.bridge.ending import failure
from recis.bridge.identity import check_place
from recis.bridge.report import as_step
from recis.bridge.run import Run
from recis.hooks.cadence import Cadence
from recis.hooks.filter_hook import FilterPass, HashTableFilterHook
from recis.hooks.hook import Hook
from recis.hooks.logger_hook import LoggerHook, LogLine
from recis.hooks.profiler_hook import ProfilerHook, TraceFile
from recis.metrics.registry import MetricsReader, MetricsRegistry, current_registry
from recis.state import RunState
from recis.wire.messages import Pass

__all__ = ["MonitorHook"]

_logger = logging.getLogger(__name__)


class _Trainer(Protocol):
    """What is looked at in a trainer; nobody below it imports it."""

    state: RunState
    metrics: MetricsRegistry

    @property
    def hooks(self) -> list[Hook]: ...


class MonitorHook(Hook):
    """Streams the training to a server and takes commands from it; see `recis.monitor.init` for the arguments.

    In a `Trainer` it finds the `LoggerHook`, `ProfilerHook` and `HashTableFilterHook` by itself. In a loop of your own
    give them to `watch`, call `after_step(None, global_step)` after each step and `end()` at the end.

    Args:
        url: the server.
        project: a group of runs.
        name: how people call the run.
        run_id: the run's identifier.
        config: settings to show with the run.
        tags: words to find it by.
        token: with the scope `write`.
        mode: `online`, `offline` or `disabled`.
        spool_dir: where unacknowledged values lie.
        rank: this process's number among those of its job, with `world_size`.
        world_size: how many processes the job has.
        every: stream metrics every so many steps, the newest value of each; filter passes and commands are not
            affected.

    Attributes:
        run: the open run, None before the first event and when it could not be opened.
        acknowledged: after `end`, whether the server has everything (True as well where `mode` is `disabled`); None
            before.

    Raises:
        ValueError: an argument that is wrong, at construction.
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
        }
        recis.monitor.check_options(url=url, token=token, mode=mode, run_id=run_id)
        check_place(rank, world_size)
        self._cadence = Cadence(every)
        self._registry: MetricsRegistry | None = None
        self._reader: MetricsReader | None = None
        self._is_trained = False  # by a trainer
        self._held: dict[str, Any] = {}
        self._last_step = 0
        self._unmeasured = 2  # steps to the next one that is measured; the first opens the run
        self._filter: HashTableFilterHook | None = None
        self._logger: LoggerHook | None = None
        self._profiler: ProfilerHook | None = None
        self._own_profiler: ProfilerHook | None = None
        self._told: tuple[int | None, int | None] = (None, None)  # the hooks' settings, as the server was told last
        self._opened = False
        self._watched: list[Hook] = []
        self._heard: list[Hook] = []

    def watch(self, *hooks: Hook) -> None:
        """Carries what these hooks report; only needed without a `Trainer`."""
        self._watched.extend(hooks)
        if self._opened:
            for hook in hooks:
                self._connect(hook)

    # --- events

    def before_train(self, trainer: _Trainer) -> None:  # noqa: D102 - as in Hook
        self._is_trained = True
        if self._reader is None or self._registry is not trainer.metrics:
            self._registry = trainer.metrics
            self._reader = trainer.metrics.reader()
        self._watched.extend(hook for hook in trainer.hooks if hook is not self and hook not in self._watched)
        self._open()

    def after_step(self, metrics: Mapping[str, Any] | None, global_step: Any) -> None:  # noqa: D102 - as in Hook
        if not self._opened:
            self._open()
        run = self.run
        if run is None or not run.is_open:
            return
        self._unmeasured -= 1
        start = 0 if self._unmeasured else time.perf_counter_ns()
        try:
            assert self._reader is not None
            fresh: Mapping[str, Any] = self._reader.take()
            if metrics and (given := self._given(metrics)):
                fresh = {**given, **fresh} if fresh else given
            if self._held:
                fresh = {**self._held, **fresh}
            step = global_step if type(global_step) is int else as_step(global_step)
            if step is None:
                run.log(fresh, global_step)  # which refuses, counts and says it
            else:
                self._last_step = step
                if self._cadence.due(step):
                    self._held = {}
                    if fresh:
                        run.log(fresh, step)
                else:
                    self._held = dict(fresh)
                self._after_boundary(run, step)
        except Exception:  # noqa: BLE001 - border: nothing that is handed in here may end the training
            run.refusals.fail("MonitorHook")
        if start:
            run.cost.add(time.perf_counter_ns() - start)
            self._unmeasured = run.cost.apart

    def after_evaluate(self, trainer: _Trainer) -> None:  # noqa: D102 - as in Hook
        if self.run is not None and self._reader is not None and (fresh := self._reader.take()):
            self.run.log(fresh, trainer.state.global_step)

    def end(self, trainer: _Trainer | None = None) -> None:  # noqa: D102 - as in Hook
        run, self._opened = self.run, False
        if run is None or self.acknowledged is not None:
            return
        if self._own_profiler is not None:
            self._own_profiler.end()
        rest = {**self._held, **(self._reader.take() if self._reader is not None else {})}
        if rest:  # held back by `every`, or set after the last step
            run.log(rest, self._last_step)
        self._held = {}
        self.acknowledged = run.finish(error=failure(trainer.state.error if trainer is not None else None))

    # --- inside

    def _given(self, metrics: Mapping[str, Any]) -> Mapping[str, Any]:
        """What is handed over beside the registry, which says by itself what is new in it."""
        if self._registry is None or not isinstance(metrics, Mapping):
            return metrics  # `log` says what is wrong with it
        given = self._registry.foreign(metrics)
        if self._is_trained:
            given.pop("epoch", None)  # the trainer's, in every step
        return given

    def _open(self) -> None:
        """Once per training: opens the run and connects what is to be carried."""
        self._opened = True
        self.acknowledged = None
        self._filter = self._logger = self._profiler = None
        self._told = (None, None)
        if self._reader is None:
            self._registry = current_registry()
            self._reader = self._registry.reader()
        try:
            self.run = recis.monitor.init(**self._options)
            self.run.measures_log = False  # after_step measures the whole step
            for hook in self._watched:
                self._connect(hook)
            self._offer_captures()
        except Exception:  # border: monitoring that cannot start must not keep training from starting
            _logger.exception("the monitor could not start; training goes on without it")
            self.run = None

    def _connect(self, hook: Hook) -> None:
        run = self.run
        assert run is not None
        if isinstance(hook, HashTableFilterHook) and self._filter is None:
            self._filter = hook
            self._listen(hook, self._report_pass)
            run.control(
                "filter_interval",
                type="int",
                value=hook.filter_interval,
                minimum=1,
                nullable=True,
                unit="steps",
                description="Steps between two filter passes over the hash tables; off when empty.",
                on_change=hook.reset_filter_interval,
            )
        elif isinstance(hook, LoggerHook) and self._logger is None:
            self._logger = hook
            self._listen(hook, self._report_line)
            run.control(
                "log_step",
                type="int",
                value=hook.log_step,
                minimum=1,
                unit="steps",
                description="Steps between two lines of the log, and two values of qps.",
                on_change=partial(setattr, hook, "log_step"),
            )
        elif isinstance(hook, ProfilerHook) and self._profiler is None:
            self._profiler = hook
            self._listen(hook, self._report_trace)

    def _listen(self, hook: Any, report: Callable[[Any], None]) -> None:
        """Once per hook, however many trainings it sees."""
        if hook not in self._heard:
            self._heard.append(hook)
            hook.add_listener(report)

    def _offer_captures(self) -> None:
        """Offers `profile`; a training without a `ProfilerHook` gets one that only captures on demand."""
        assert self.run is not None
        if self._profiler is None:
            self._own_profiler = self._own_profiler or ProfilerHook(
                repeat=0, output_dir="recis-traces", compress=True, with_stack=True
            )
            self._connect(self._own_profiler)
        self.run.control(
            "profile",
            type="profile",
            value=None,
            description="Capture a profiler trace of the next steps.",
            on_change=self._capture,
        )

    def _capture(self, value: Mapping[str, Any]) -> None:
        assert self._profiler is not None
        self._profiler.request_capture(value["active"])

    def _after_boundary(self, run: Run, step: int) -> None:
        if self._own_profiler is not None:
            self._own_profiler.after_step(None, step)
        filters, logger = self._filter, self._logger
        interval = filters.filter_interval if filters is not None else None
        now = (interval, logger.log_step if logger is not None else None)
        if now != self._told:  # by whoever: a command that was applied is known there already
            self._told = now
            if filters is not None:
                run.controls.changed("filter_interval", interval, step)
            if logger is not None:
                run.controls.changed("log_step", now[1], step)
        if run.controls.waiting:
            run.step_boundary(step)

    def _report_pass(self, report: FilterPass) -> None:
        if self.run is not None:
            self.run.filter_pass(Pass(**asdict(report)))

    def _report_line(self, line: LogLine) -> None:
        if self.run is not None:
            self.run.line(line.text, line.step, line.time_ns)

    def _report_trace(self, trace: TraceFile) -> None:
        if self.run is not None:
            self.run.upload_trace(trace.path, trace.step)
