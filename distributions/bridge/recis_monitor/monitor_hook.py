"""`MonitorHook` for the `Trainer` of RecIS: streams its metrics, and offers the interval of its `HashTableFilterHook`.

Owns the wiring between that trainer's calls and a run. Knows its hooks by their attributes only, and imports neither
RecIS nor torch. Never raises into training: what fails here is logged, counted by the run, and over.
"""

import inspect
import logging
import sys
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import Any

from recis.bridge.identity import check_place
from recis.bridge.report import as_step
from recis.bridge.run import Run
from recis.monitor import check_options, init
from recis.numerals import positive_int
from recis_monitor.fresh_metrics import FreshMetrics

__all__ = ["MonitorHook"]

_MAX_FRAMES = 16
"""Callers among which the trainer is looked for."""
_MAX_SEARCHES = 8
"""Steps at which it is looked for; then there is none."""
_NOT_OFFERED = object()
_logger = logging.getLogger(__name__)


class MonitorHook:
    """Streams a training to a server and takes commands from it; see `init` for the options.

    Give it to the trainer, `trainer.add_hook(MonitorHook())`, or call `after_step(metrics, global_step)` after each
    step of a loop of your own. `metrics` may be a dict that is never cleared: what was not set since the last call is
    not reported again. Of several calls with one step, as in an evaluation, the newest value of each metric counts.

    The run stays open after `end`, which RecIS calls after each evaluation too. It ends with the process, or with
    `recis_monitor.finish()`.

    Args:
        url: the server.
        filter_hook: the `HashTableFilterHook` whose `filter_interval` is offered to the page; default the first one
            among the hooks of the trainer that calls this hook.
        every: stream metrics every so many steps, the newest value of each.
        options: further arguments of `init`, by name.

    Attributes:
        run: the open run, None before the first step and when it could not be opened.

    Raises:
        ValueError: an option or interval that is wrong, at construction.
        TypeError: an unknown option, or another object than a filter hook.
    """

    def __init__(self, url: str | None = None, *, filter_hook: Any = None, every: int = 1, **options: Any) -> None:
        inspect.signature(init).bind(url, **options)
        check_options(url=url, **{name: options.get(name) for name in ("token", "mode", "run_id", "collect")})
        check_place(options.get("rank"), options.get("world_size"))
        if filter_hook is not None and not _is_filter_hook(filter_hook):
            raise TypeError(f"filter_hook: expected a HashTableFilterHook, got {type(filter_hook).__name__}")
        self.run: Run | None = None
        self._options = {"url": url, **options}
        self._every = positive_int("every", every, "steps")
        self._opened = False
        self._fresh = FreshMetrics()
        self._step: int | None = None
        self._held: dict[Any, Any] = {}
        self._is_repeated = False  # what is held belongs to the last step, which has more than one call
        self._filter: Any = filter_hook
        self._interval: Any = _NOT_OFFERED  # else as the server knows it
        self._hooks: Sequence[Any] | None = None
        self._num_seen = 0  # hooks that were looked at
        self._searches = _MAX_SEARCHES

    # --- events

    def after_step(
        self, metrics: Mapping[str, Any] | None = None, global_step: Any = 0, *_: Any, is_train: Any = True, **__: Any
    ) -> None:
        """Report what was set during a step, and apply the commands that are due.

        Args:
            metrics: names to numbers or 0-dim tensors.
            global_step: an int or a 0-dim tensor, which may be incremented in place later.
            is_train: False for a batch of an evaluation; only later versions of RecIS say so.
        """
        if not self._opened:
            self._open()
        run = self.run
        if run is None or not run.is_open:
            return
        try:
            fresh: Any = self._fresh.take(metrics) if isinstance(metrics, Mapping) else metrics
            step = as_step(global_step)
            if step is None or not isinstance(fresh, dict | None):
                run.log(fresh, global_step)  # which refuses, counts and says it
                return
            self._report(run, fresh or {}, step, is_train=bool(is_train))
            self._watch_filter(run)
            run.step_boundary(step)
        except Exception:  # noqa: BLE001 - border: nothing that is handed in here may end the training
            run.refusals.fail("MonitorHook")

    def after_eval(self, *_: Any, **__: Any) -> None:
        """Report what an evaluation has set."""
        run = self.run
        if run is None:
            return
        try:
            self._flush(run)
        except Exception:  # noqa: BLE001 - border, as above
            run.refusals.fail("MonitorHook")

    def end(self, *_: Any, **__: Any) -> None:
        """Report what was held back. The run stays open, as this may be the end of an evaluation."""
        self.after_eval()

    def _ignore(self, *_: Any, **__: Any) -> None:
        """Do nothing: an event of RecIS that has nothing to report."""

    start = before_train = after_train = before_evaluate = after_evaluate = _ignore
    before_epoch = after_epoch = before_window = after_window = window_mode = _ignore
    before_step = after_data = after_backward = out_off_data = _ignore

    # --- inside

    def _open(self) -> None:
        self._opened = True
        try:
            self.run = init(**self._options)
        except Exception:  # border: monitoring that cannot start must not keep training from starting
            _logger.exception("the monitor could not start; training goes on without it")

    def _report(self, run: Run, fresh: dict[Any, Any], step: int, *, is_train: bool) -> None:
        before = self._step
        if step != before and self._is_repeated:
            self._flush(run)
        self._step = step
        self._held.update(fresh)
        if step == before or not is_train:
            self._is_repeated = True
        elif step % self._every == 0 or (before is not None and step // self._every > before // self._every):
            self._flush(run)

    def _flush(self, run: Run) -> None:
        held, self._held, self._is_repeated = self._held, {}, False
        if held:
            run.log(held, self._step)

    def _watch_filter(self, run: Run) -> None:
        """Offer the filter interval as soon as there is a filter hook, and again when the training has changed it."""
        if self._filter is None:
            self._filter = self._find_filter()
        if self._filter is None or self._filter.filter_interval == self._interval:
            return
        self._interval = self._filter.filter_interval
        run.control(
            "filter_interval",
            type="int",
            value=self._interval,
            minimum=1,
            nullable=True,
            unit="steps",
            description="Steps between two filter passes over the hash tables; off when empty.",
            on_change=self._set_interval,
        )

    def _set_interval(self, interval: int | None) -> None:
        self._filter.reset_filter_interval(interval)
        self._interval = interval

    def _find_filter(self) -> Any:
        if self._hooks is None and self._searches:
            self._searches -= 1
            self._hooks = _find_hooks(self, sys._getframe(1))  # noqa: SLF001 - documented
        if self._hooks is None or len(self._hooks) == self._num_seen:
            return None
        self._num_seen = len(self._hooks)
        return next((hook for hook in self._hooks if _is_filter_hook(hook)), None)


def _is_filter_hook(hook: Any) -> bool:
    return hasattr(hook, "filter_interval") and callable(getattr(hook, "reset_filter_interval", None))


def _find_hooks(hook: MonitorHook, frame: FrameType | None) -> Sequence[Any] | None:
    """Return the hooks that a caller goes through: RecIS tells a hook neither its trainer nor the other hooks.

    It is a list with `hook` in it: `self.hooks` of a caller that is a method, or its variable `hooks`.
    """
    for _ in range(_MAX_FRAMES):
        if frame is None:
            break
        names = frame.f_locals
        for hooks in (names.get("hooks"), getattr(names.get("self"), "hooks", None)):
            if isinstance(hooks, list | tuple) and any(each is hook for each in hooks):
                return hooks
        frame = frame.f_back
    return None
