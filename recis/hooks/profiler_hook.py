"""Profiler captures: the schedule of windows, and the trace file of each.

Owns the schedule, one torch profiler per window, and writing the file atomically. Another profiler costs a window;
a failure is logged once and disables profiling, and training continues. Must not know the trainer or the listeners.
"""

import contextlib
import gzip
import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from recis import environment, launch
from recis.errors import ArgumentError, CaptureBusyError
from recis.hooks.cadence import check_interval
from recis.hooks.console import hook_logger, refresh_console
from recis.hooks.control import Control
from recis.hooks.hook import Hook
from recis.hooks.profiler_session import ProfilerSession, is_taken
from recis.numerals import as_int
from recis.system import sync_folder

__all__ = ["ProfilerHook", "TraceFile", "capturing_hook"]


@dataclass(frozen=True, slots=True)
class TraceFile:
    """A complete trace on disk: its path, the last step in it, its rank, and when it was finished (Unix ns)."""

    path: Path
    step: int
    rank: int
    time_ns: int


class _Window:
    """One warm-up and one recording of a given number of steps, with a torch profiler of its own.

    The profiler's phases are controlled here instead of by a torch schedule, which could only number the steps from 0.
    Every method raises `CaptureBusyError` if another profiler has started; the window is then over.

    Attributes:
        on_demand: whether it was requested.
        recorded: steps recorded so far.
        last_step: the step after which it is complete.
    """

    def __init__(
        self, profile: torch.profiler.profile, next_step: int, *, warmup: int, active: int, on_demand: bool
    ) -> None:
        self.on_demand = on_demand
        self.recorded = 0
        self.last_step = next_step - 1 + warmup + active
        self._session = ProfilerSession(profile)
        self._next_step = next_step
        self._warmup = warmup
        self._active = active

    @property
    def recording(self) -> bool:
        """Return whether the warm-up is over."""
        return self._session.recording

    def open(self) -> None:
        """Start before the next step."""
        self._session.prepare()
        if self._warmup == 0:
            self._record(self._next_step)

    def advance(self, step: int) -> bool:
        """Record the end of `step`; return whether the window is complete and therefore stopped."""
        self._session.check()
        if self.recording:
            self.recorded += 1
            if self.recorded == self._active:
                self.stop()
                return True
            self._mark(step + 1)
            return False
        self._warmup -= 1
        if self._warmup == 0:
            self._record(step + 1)
        return False

    def stop(self) -> None:
        """Stop the profiler in any phase; the recorded events can then be exported."""
        self._session.stop()

    def _record(self, step: int) -> None:
        self._session.start()
        self._mark(step)

    def _mark(self, step: int) -> None:
        # The name by which trace viewers and analysers recognise steps.
        self._session.mark(f"ProfilerStep#{step}")


class ProfilerHook(Hook):
    """Profiles windows of training steps and writes one Chrome trace for each.

    A cycle is `wait` idle steps, `warmup` steps in which the profiler runs but discards its events, and `active`
    recorded steps; there are `repeat` cycles. CPU and, if available, CUDA activities are recorded, with memory, shapes
    and FLOPs. The file is `{APP_ID or 'local'}-rank{rank}-timeline-{last step}.json`, written on the training thread. A
    training that ends during a recording keeps the steps recorded so far. Evaluations do not count as steps.
    A window yields to any other torch profiler in the process, on any thread: it is abandoned with a warning, and the
    schedule continues as if it had been recorded.

    In a custom loop, call `after_step(None, global_step)` after each step and `end()` at the end; with `wait=0` also
    `before_train()`, or the first step is missed.

    Args:
        wait: steps before each warm-up, 0 or more.
        warmup: steps of warm-up, 0 or more.
        active: steps recorded, 1 or more.
        repeat: number of cycles; 0 for none, only captures requested with `request_capture`.
        output_dir: folder of the files, created when needed.
        compress: whether to compress the files with gzip; their names then end in `.json.gz`.
        with_stack: whether to record the Python stack of each operator, which slows recorded steps down.

    Attributes:
        prof: the `torch.profiler.profile` of the current window, or of the last one.
        logger: where each file is announced.
        output_dir: as given.
        broken: why profiling was disabled, or None.

    Raises:
        ArgumentError: (a `ValueError`) a number is out of range.
    """

    def __init__(
        self,
        wait: int = 1,
        warmup: int = 48,
        active: int = 1,
        repeat: int = 4,
        output_dir: str = "./",
        *,
        compress: bool = False,
        with_stack: bool = False,
    ) -> None:
        self._wait = _check_count("ProfilerHook's wait", wait)
        self._warmup = _check_count("ProfilerHook's warmup", warmup)
        self._active = check_interval("ProfilerHook's active", active)
        self._cycles_left = _check_count("ProfilerHook's repeat", repeat)
        self.output_dir = output_dir
        self.logger = hook_logger(__name__)
        self._with_stack = with_stack
        self.prof = _new_profile(with_stack)
        self.broken: str | None = None
        self._compress = compress
        self._listeners: list[Callable[[TraceFile], None]] = []
        self._countdown = wait
        self._window: _Window | None = None
        self._last_step = 0
        self._lock = threading.Lock()
        self._request: tuple[int, int] | None = None

    def controls(self) -> Iterable[Control]:
        """Return the control for captures on demand."""
        yield Control(
            name="profile",
            type="profile",
            on_change=lambda value: self.request_capture(value["active"]),
            description="Capture a profiler trace of the next steps.",
        )

    def add_listener(self, callback: Callable[[TraceFile], None]) -> None:
        """Call `callback` with every completed file, on the training thread."""
        self._listeners.append(callback)

    def request_capture(self, active: int, warmup: int = 1) -> None:
        """Request a capture of `active` steps, starting with its warm-up at the next step boundary. Thread-safe.

        A cycle that is still warming up is interrupted and restarted afterwards.

        Raises:
            ArgumentError: `active` is no positive int, or `warmup` is negative.
            CaptureBusyError: (a `RuntimeError`) another capture is running, another torch profiler is in use, or
                profiling was disabled.
        """
        wanted = check_interval("request_capture's active", active), _check_count("request_capture's warmup", warmup)
        with self._lock:
            window = self._window
            if self.broken is not None:
                raise CaptureBusyError(f"profiling is disabled: {self.broken}")
            if self._request is not None:
                raise CaptureBusyError("another capture is waiting for the next step boundary")
            if window is not None and (window.recording or window.on_demand):
                raise CaptureBusyError("another capture is running")
            if window is None and is_taken():
                raise CaptureBusyError("another torch profiler is in use")
            self._request = wanted

    def before_train(self, trainer: Any = None) -> None:
        """Open a window before the first step if `wait` is 0."""
        if trainer is not None:
            self._last_step = trainer.state.global_step
        if self._countdown == 0:
            self._guarded(self._open_next)

    @property
    def is_idle(self) -> bool:
        """Whether no window is open, scheduled or requested."""
        return self._window is None and not self._cycles_left and self._request is None

    def after_step(self, *args: Any, **kwargs: Any) -> None:
        """Advance by one step; a step seen before is ignored.

        Args:
            *args: the second one, or `global_step`, is the number of completed steps, an int or a 0-dim tensor. Without
            it each call counts as one step.
            **kwargs: see `args`.
        """
        given = args[1] if len(args) > 1 else kwargs.get("global_step")
        if self.is_idle:
            self._last_step += given is None
            return
        step = self._last_step + 1 if given is None else int(given)
        if step == self._last_step:
            return
        self._last_step = step
        self._guarded(self._advance)

    def after_train(self) -> None:
        """Write the trace of the open window, unless it is empty."""
        window = self._window
        self._guarded(lambda: self._close(keep=window is not None and window.recorded > 0, step=self._last_step))

    def end(self) -> None:
        """Write the trace of the open window, including the step in which the training failed."""
        self._guarded(lambda: self._close(keep=True, step=self._last_step + 1))
        with self._lock:
            self._request = None

    # -- the schedule, on the training thread ------------------------------------------------------------------------

    def _advance(self) -> None:
        window = self._window
        if window is None:
            self._countdown -= 1
        else:
            self._move(window)
        self._open_next()

    def _move(self, window: _Window) -> None:
        try:
            if not window.advance(self._last_step):
                return
        except CaptureBusyError as error:
            self._give_up(window, error)
        else:
            self._finish(window)
            self._export(self._last_step)

    def _open_next(self) -> None:
        """Open the window that is due at this boundary, if any; requested captures have priority."""
        window = self._window
        with self._lock:
            if self._request is not None and (window is None or not window.recording):
                self._window = None
                if window is not None:
                    with contextlib.suppress(CaptureBusyError):  # the capture raises the same error immediately
                        window.stop()
                active, warmup = self._request
                self._request = None
                self._open(warmup=warmup, active=active, on_demand=True)
            elif window is None and self._cycles_left and self._countdown <= 0:
                self._open(warmup=self._warmup, active=self._active, on_demand=False)

    def _open(self, *, warmup: int, active: int, on_demand: bool) -> None:
        # A fresh profiler for each window: a used one keeps the events of its last window in memory.
        self.prof = _new_profile(self._with_stack)
        window = _Window(self.prof, self._last_step + 1, warmup=warmup, active=active, on_demand=on_demand)
        try:
            window.open()
        except CaptureBusyError as error:
            self._give_up(window, error)
        else:
            self._window = window

    def _give_up(self, window: _Window, error: CaptureBusyError) -> None:
        self._finish(window)
        if not window.on_demand:
            self._countdown += window.last_step - self._last_step  # the next one starts as scheduled
        what = "the requested capture" if window.on_demand else "a profiler window"
        self.logger.warning("After step %d %s is abandoned: %s", self._last_step, what, error)

    def _finish(self, window: _Window) -> None:
        self._window = None
        if not window.on_demand:
            self._cycles_left -= 1
            self._countdown = self._wait

    def _close(self, *, keep: bool, step: int) -> None:
        window = self._window
        if window is None:
            return
        recorded = window.recording
        try:
            window.stop()
        except CaptureBusyError as error:
            self._give_up(window, error)
        else:
            self._finish(window)
            if recorded and keep:
                self._export(step)

    def _guarded(self, action: Callable[[], None]) -> None:
        """Isolate training from profiling: log the first failure and disable profiling."""
        if self.broken is not None:
            return
        try:
            action()
        except Exception as error:
            self.broken = f"{type(error).__name__}: {error}"
            window, self._window = self._window, None
            self._cycles_left = 0
            if window is not None:
                with contextlib.suppress(Exception):  # the first error is the relevant one
                    window.stop()
            self.logger.exception("Profiling is disabled for the rest of this training")

    # -- the file ----------------------------------------------------------------------------------------------------

    def _export(self, step: int) -> None:
        rank = launch.place().rank
        suffix = ".json.gz" if self._compress else ".json"
        app = environment.app_id().replace("/", "_")
        path = Path(self.output_dir) / f"{app}-rank{rank}-timeline-{step}{suffix}"
        _write_whole(self.prof, path)
        trace = TraceFile(path, step, rank, time.time_ns())
        refresh_console()
        self.logger.info("Wrote the profiler trace %s", path)
        for listener in self._listeners:
            listener(trace)
        if self.run is not None:
            self.run.upload_trace(trace.path, trace.step)


def capturing_hook() -> ProfilerHook:
    """Return a hook that captures only on demand."""
    return ProfilerHook(repeat=0, output_dir="recis-traces", compress=True, with_stack=True)


def _write_whole(profile: torch.profiler.profile, path: Path) -> None:
    """Write the trace under a temporary name and rename it once all bytes are on disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = path.with_name(f".{path.name}.{os.getpid()}.raw")
    draft = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        profile.export_chrome_trace(str(raw))
        _check_complete(raw)
        if path.suffix == ".gz":
            with raw.open("rb") as source, gzip.open(draft, "wb", compresslevel=4) as target:
                shutil.copyfileobj(source, target, 1 << 20)
        else:
            raw.rename(draft)
        _sync(draft)
        draft.replace(path)
        sync_folder(path.parent)
    finally:
        raw.unlink(missing_ok=True)
        draft.unlink(missing_ok=True)


def _check_complete(raw: Path) -> None:
    """Raise if the file is truncated: torch does not report a full disk or failed writes."""
    with raw.open("rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - 64))
        if not file.read().rstrip().endswith(b"}"):
            raise OSError(f"{raw}: expected a complete trace, got a truncated one; is the disk full?")


def _sync(path: Path) -> None:
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def _new_profile(with_stack: bool) -> torch.profiler.profile:
    activities = [torch.profiler.ProfilerActivity.CPU]
    if torch.cuda.is_available():
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    profile = torch.profiler.profile(
        activities=activities, record_shapes=True, profile_memory=True, with_stack=with_stack, with_flops=True
    )
    at = launch.place()
    if at.source != "group":  # torch writes this itself if there is one
        profile.preset_metadata_json("distributedInfo", json.dumps({"rank": at.rank, "world_size": at.world_size}))
    return profile


def _check_count(where: str, value: int) -> int:
    number = as_int(value)
    if number is None or number < 0:
        raise ArgumentError(where, "an int of 0 or more", value)
    return number
