"""`Run`: the interface of a training process. Puts what is reported into the outbox, on the caller's thread.

Owns the run's lifetime, the validation of input, and the run's parts (outbox, sender, controls, uploads); must not know
hooks or the Trainer. No method raises into training once the run is open: bad input is logged once and counted.
"""

import contextlib
import logging
import os
import struct
import threading
import time
from _thread import get_ident
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Literal, Self, cast

from recis.bridge import ending, lifecycle
from recis.bridge.controls import Controls
from recis.bridge.cost import COST_KEYS, MonitorCost
from recis.bridge.declaration import check_callback, make_declaration
from recis.bridge.familiar import FamiliarRun
from recis.bridge.fast_path import FastPath
from recis.bridge.identity import Identity
from recis.bridge.outbox import Outbox
from recis.bridge.parts import Parts
from recis.bridge.passes import pass_series, read_pass
from recis.bridge.refusals import Refusals, guarded
from recis.bridge.report import KnownNames, are_numbers, as_step, count_values, is_dict, read_known, read_report
from recis.bridge.traces import trace_job
from recis.wire.codec import WireError, as_record
from recis.wire.messages import MAX_KEY_CHARS, Event, FrameRecord, Line, Status
from recis.wire.showing import shown, text_of

__all__ = ["Run"]

_ENDLESS = 1 << 60
FINISH_S = 5.0
SETTINGS_S = 1.0
_Level = Literal["info", "warning", "error"]
_LEVELS: dict[str, _Level] = {"info": "info", "warn": "warning", "warning": "warning", "error": "error"}
_logger = logging.getLogger(__name__)


class Run(FamiliarRun):
    """One run, as seen by this process (one of its ranks); created by `recis.monitor.init`.

    Attributes:
        id: the run's identifier, equal on all ranks.
        url: the run's page, None without a server.
        refusals: what was not accepted, counted and logged.
        fault: exception that ended the thread that reported last; None while it, or another one, continues.
        controls: commands that wait for the next step boundary; `log` applies them, as does `step_boundary`.
        cost: what the monitor costs the training thread; becomes the series `monitor/…`.
        measures_log: whether `log` adds to `cost`; off where the caller measures the whole step.
    """

    def __init__(self, identity: Identity, url: str | None) -> None:
        super().__init__(identity.run)
        self.id = identity.run
        self.url = url
        self.refusals = Refusals(self.id)
        self.fault: str | None = None
        self._identity = identity
        self._parts: Parts | None = None
        self._outbox: Outbox | None = None  # the same as in _parts while reports are taken
        self._fast_path = FastPath()  # closed; an open run uses that of the outbox
        self._close: Callable[[bool], None] = lambda _: None
        self.cost = MonitorCost()
        self.measures_log = True
        self.controls = Controls(self.append, self._force_slow_path, self._flush_soon, lambda: self._step)
        self._finishing = threading.RLock()  # a signal handler may finish the run during `finish`
        self._finished = False
        self._dropped = 0  # total of a finished run
        self._reporter = get_ident()
        self._step = -1
        self._known_names = KnownNames()

    def attach(self, parts: Parts, close: Callable[[bool], None]) -> None:
        """Open the run; `close` is called once at its end, with True if everything was acknowledged."""
        self._parts = parts
        self._outbox = parts.outbox
        self._fast_path = parts.outbox.writer.fast_path
        self._close = close
        lifecycle.opened(self)
        self.append(Status(state="running", time_ns=time.time_ns()))
        parts.start()

    @property
    def rank(self) -> int:
        """This process's rank in the run."""
        return self._identity.rank

    @property
    def refused(self) -> int:
        """Values, and other arguments and calls, that were not accepted."""
        return self.refusals.refused

    @property
    def failures(self) -> int:
        """Calls in which the monitor itself failed."""
        return self.refusals.failures

    @property
    def dropped(self) -> int:
        """Points lost to a bound so far (spool full, too many device values waiting); after `finish`, the total."""
        parts = self._parts
        return parts.outbox.dropped if parts else self._dropped

    def log(
        self, metrics: Mapping[str, Any], step: int | None = None, commit: bool | None = None, sync: object = None
    ) -> None:
        """Report values of one step.

        Args:
            metrics: names to numbers, 0-dim tensors or 0-dim arrays. A `/` makes sections; a dict as a value is
                flattened into them. Values on a device are copied later, without waiting for it. A value that cannot
                be kept is refused; it costs no other.
            step: the training step; None means the step after that of the last call.
            commit: with False, the next call without a step belongs to the same step.
            sync: not used.
        """
        # The hot path: with cold caches, every line of code and every object that it touches costs time.
        if step is None:
            step = self._step + 1
        # Two statements: a method call would look up the class first, through one more cache.
        write = self._fast_path.write
        if write(metrics, step):
            self._step = step
        else:
            self._log_on_slow_path(metrics, step)
        if commit is False and self._step == as_step(step):
            self._step -= 1

    def step_boundary(self, step: int) -> None:
        """Apply the commands that are due. Call it between two steps."""
        controls = self.controls
        controls.step = step
        if controls.waiting:
            self._apply_due(step)

    @guarded
    def _apply_due(self, step: int) -> None:
        if self._outbox is not None and not self._outbox.writer.is_interrupted():
            self.controls.apply_due(step)

    @guarded
    def await_settings(self, step: int, timeout_s: float = SETTINGS_S) -> None:
        """Wait, before the first step after `step`, for the settings that the server has, and apply them."""
        if (parts := self._parts) is not None:
            parts.sender.has_tried.wait(timeout_s)
            self.step_boundary(step)

    @property
    def should_stop(self) -> bool:
        """Whether a user has asked this training to end; the first call offers the action `stop`."""
        return self.controls.should_stop(is_open=self._outbox is not None)

    @guarded
    def upload_trace(self, path: str | os.PathLike[str], step: int) -> None:
        """Send a finished file in the background. It is read later, so it must stay in place.

        Args:
            path: a profiler trace, `.json` or `.json.gz`.
            step: the step that it ends with, at least 0.
        """
        parts = self._parts
        if parts is None:
            return
        job = trace_job(self._identity, path, step, self.refusals)
        if job is not None:
            parts.uploads.add(job)

    @guarded
    def control(
        self,
        name: str,
        *,
        type: Literal["int", "float", "bool", "str", "enum", "action", "profile"],  # noqa: A002 - public name
        value: Any = None,
        on_change: Callable[[Any], object],
        minimum: float | None = None,
        maximum: float | None = None,
        nullable: bool = False,
        unit: str = "",
        description: str = "",
        choices: Iterable[Any] = (),
        apply: Literal["together", "each"] = "together",
        confirm: str = "",
    ) -> None:
        """Offer a value that users can change on the page while training runs, or an action that they can request.

        Args:
            name: 1 to 128 letters, digits, `.`, `_` or `-`, or is `table/TABLE/NAME`.
            type: what the values are; an `action` has none, `profile` is a request to capture a trace.
            value: the current value.
            on_change: called with each new value at a step boundary, on the thread that calls `log`; raises to refuse.
            minimum: lowest value accepted.
            maximum: highest value accepted.
            nullable: whether None (off) is a value.
            unit: shown after the value.
            description: one sentence for the page.
            choices: the values of an `enum`.
            apply: whether all ranks change at the same step, or each at its next one.
            confirm: the question that users have to confirm before a command is sent; "" for none.
        """
        try:
            check_callback(on_change)
            declare = make_declaration(
                name,
                type=type,
                value=value,
                step=self._step if self._step >= 0 else None,
                minimum=minimum,
                maximum=maximum,
                nullable=nullable,
                unit=unit,
                description=description,
                choices=choices,
                apply=apply,
                confirm=confirm,
            )
            self.controls.declare(declare, on_change)
        except ValueError as error:
            self.refusals.refuse(f"control {shown(name)}", str(error))

    @guarded
    def alert(
        self, title: str, text: str = "", level: str = "warning", step: int | None = None, **others: object
    ) -> None:
        """Alert the viewers of the run, and mark the charts. `level` is info, warning or error, in any case."""
        self.ignore("alert", others)
        kind = _LEVELS.get(text_of(level).lower())
        if kind is None:
            self.refusals.refuse(
                "alert's level", f"expected info, warning or error, got {shown(level)}; it is kept as warning"
            )
        title, text = text_of(title), text_of(text)
        self._mark("alert", f"{title}: {text}" if text else title, step, kind or "warning")

    @guarded
    def mark_checkpoint(self, path: str = "", step: int | None = None) -> None:
        """Mark a checkpoint on the charts; `path` is where it is, `step` by default that of the last report."""
        self._mark("checkpoint", f"Checkpoint {text_of(path)}".rstrip(), step)

    def _mark(self, kind: str, text: str, step: int | None, level: _Level = "info") -> None:
        at = None if step is None else self.refusals.step(kind, step)
        at = self._step if at is None and self._step >= 0 else at
        self.append(Event(kind=kind, level=level, time_ns=time.time_ns(), step=at, text=text))

    @guarded
    def line(self, text: str, step: int | None = None, time_ns: int | None = None) -> None:
        """Add a line to the run's log; `time_ns` is its time in Unix nanoseconds, by default now."""
        at = None if step is None else self.refusals.step("line", step)
        self.append(line := Line(time_ns=as_step(time_ns) or time.time_ns(), text=text_of(text), step=at))
        if (parts := self._parts) is not None and parts.console is not None:
            parts.console.reported(line.text)

    @guarded
    def filter_pass(self, report: Any) -> None:
        """Report one filter pass over one table, as a record and as the series `table/{name}/…`.

        Args:
            report: a `Pass`, or an object with its attributes.
        """
        try:
            record = read_pass(report)
        except AttributeError as error:
            self.refusals.refuse("filter_pass", f"expected a report of a filter pass: {error}")
            return
        self.append(record)
        self.log(pass_series(record), record.step)

    def finish(
        self,
        exit_code: int | None = None,
        quiet: Any = None,
        *,
        error: str | BaseException | None = None,
        timeout_s: float = FINISH_S,
    ) -> bool:
        """End the run: send what is left for at most `timeout_s`; the rest stays in the spool for the next start.

        Args:
            exit_code: any status but 0 and None means that training failed.
            quiet: not used.
            error: why training failed, None if it did not. The traceback of an exception is added to the output.
            timeout_s: limit for sending, after waiting as long for values on a device. If the server is away, one
                attempt is made.

        Returns:
            Whether the server has acknowledged everything (True also in a disabled run). A second call only warns. A
            call from inside a report, such as from a signal handler, returns False; the run is then finished at exit.
        """
        if self._outbox is not None and self._outbox.writer.is_interrupted():
            _logger.warning("run %s: finish was called during a report; it is finished at exit", self.id)
            return False
        with self._finishing:
            if self._finished:
                _logger.warning("run %s: finish was called twice", self.id)
                return True
            self._finished = True
        parts, self._parts = self._parts, None
        if parts is None:
            return True
        timeout_s = self.refusals.seconds("finish's timeout_s", timeout_s, FINISH_S)
        try:
            try:
                # By type: reading the class of an object may raise.
                crash = cast("BaseException", error) if issubclass(type(error), BaseException) else None
                self._gather(parts, timeout_s, crash)
                error = error if crash is None else ending.failure(crash)
                # With `as_step`, so that the status is reported whatever the type of the argument.
                if error is None and exit_code is not None and exit_code is not False and as_step(exit_code) != 0:
                    error = f"exit code {text_of(exit_code)}"
                message = "" if error is None else text_of(error)
                state: Literal["finished", "failed"] = "failed" if message else "finished"
                self.append(Status(state=state, time_ns=time.time_ns(), message=message))
            finally:
                self._shut()
                done = parts.sender.close(timeout_s)
                self._dropped = parts.outbox.dropped
                self._close(done)
            return done
        except Exception:  # noqa: BLE001 - boundary: an error of the monitor must not end training
            self.refusals.fail("finish")
            return False
        finally:
            self._shut()
            lifecycle.closed(self)

    @property
    def is_finished(self) -> bool:
        """Whether `finish` was called."""
        return self._finished

    @property
    def is_open(self) -> bool:
        """Whether the run accepts reports."""
        return self._outbox is not None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._finished:
            self.finish(error=error)

    # --- inside

    def tick(self) -> None:
        """Do the parts' regular work, and report the monitor's own cost; called on the sender's thread."""
        parts = self._parts
        if parts is None:
            return
        parts.work()
        if not self.cost.is_due():
            return
        values = self.cost.report(
            queue_depth=parts.outbox.reader.pending()[1], bytes_sent=parts.sender.bytes_sent, dropped=self.dropped
        )
        self.report_beside(dict(zip(COST_KEYS, values, strict=True)))

    @guarded
    def report_beside(self, values: Mapping[str, float]) -> None:
        """Append values measured alongside the training, from any thread: at its current step, and none before its
        first.

        They do not advance the step or use the fast path.
        """
        outbox, step = self._outbox, self._step
        if values and outbox is not None and step >= 0:
            outbox.writer.append_report(tuple(values), values.values(), step, time.time_ns())

    @guarded
    def _gather(self, parts: Parts, timeout_s: float, crash: BaseException | None) -> None:
        parts.gather(timeout_s, crash)  # whatever fails here, the run still reports how it ended

    def _force_slow_path(self) -> None:
        if (outbox := self._outbox) is not None:
            outbox.writer.force_slow_path()

    def _flush_soon(self) -> None:
        if (parts := self._parts) is not None:
            parts.sender.flush_soon()

    def append(self, record: FrameRecord) -> None:
        """Add a record; never raises. Refuse one that a server would refuse, and the whole frame with it."""
        outbox = self._outbox
        if outbox is None:
            return
        what = f"{type(record).__name__.lower()} record"
        try:
            outbox.writer.append(as_record(record))
        except WireError as error:
            self.refusals.refuse(what, str(error))
        except Exception:  # noqa: BLE001 - boundary: callers include training steps
            self.refusals.fail(what)

    def _log_on_slow_path(self, metrics: Mapping[str, Any], step: Any) -> None:
        """Handle calls that the fast path refuses: one in `cost.apart`, which is measured, and calls after a command,
        with unknown names or values that are not plain numbers, from another thread, or without room.
        """
        outbox = self._outbox
        if outbox is None:
            self._log_late(metrics)
            return
        self.fault = None
        try:
            if not outbox.writer.quota_is_spent(self.cost.apart if self.measures_log else _ENDLESS):
                self._log_slowly(outbox, metrics, step)
            else:
                start = time.perf_counter_ns()
                self.log(metrics, step)
                if self.measures_log:
                    self.cost.add(time.perf_counter_ns() - start)
        except Exception as error:  # noqa: BLE001 - boundary: logging must not stop training
            self.refusals.refuse("log", f"{type(error).__name__}: {text_of(error)}", count_values(metrics))
            return
        try:
            if self.controls.waiting:
                self.controls.apply_due(self._step)
            if self.controls.waiting:
                outbox.writer.force_slow_path()  # a command is due at a later step
        except Exception:  # noqa: BLE001 - border, as above
            self.refusals.fail("log")

    def _log_slowly(self, outbox: Outbox, metrics: Any, step: Any) -> None:
        number = as_step(step)
        if number is None:
            self.refusals.step("log", step, count_values(metrics))
            return
        if not is_dict(metrics):
            got = f"{type(metrics).__name__} {shown(metrics)}"
            self.refusals.refuse("log's metrics", f"expected names and their values, as in {{'loss': 0.5}}, got {got}")
            return
        step = self._step = number
        self._reporter = get_ident()
        keys = self._known_names.of(metrics)
        if keys is not None and are_numbers(metrics.values()):
            # An integer that is too large for a float: `_log_checked` handles it.
            with contextlib.suppress(OverflowError, struct.error):
                outbox.writer.append_report(keys, metrics.values(), step, time.time_ns(), open_fast_path=True)
                # It may belong to another thread or be closed by now; the next call detects that.
                self._fast_path = outbox.writer.fast_path
                return
        self._log_checked(outbox, keys, metrics, step)

    def _log_checked(self, outbox: Outbox, keys: tuple[str, ...] | None, metrics: Mapping[Any, Any], step: int) -> None:
        """Log new names, device values, nested dicts and bad input; `keys` are the names if they are known."""
        assert self._parts is not None
        now = time.time_ns()
        report = (read_known(keys, metrics) if keys is not None else None) or read_report(metrics)
        for name, given in report.mended:
            self.refusals.warn(
                name,
                f"expected a name of 1 to {MAX_KEY_CHARS} printable characters, got {shown(given)}; kept under this",
            )
        for name, why in report.refused:
            self.refusals.refuse(name, why)
        if report.names:
            self._known_names.add(report.names)
        names = tuple(report.plain)
        left = len(report.plain) + len(report.device)
        try:
            if names:
                outbox.writer.append_report(names, report.plain.values(), step, now)
                left -= len(names)
            if report.device:
                self._parts.deferred.offer(tuple(report.device), list(report.device.values()), step, now)
        except Exception as error:  # noqa: BLE001 - boundary: what was appended is not lost
            self.refusals.refuse("log", f"{type(error).__name__}: {text_of(error)}", left)

    def _log_late(self, metrics: object) -> None:
        if self._finished:
            self.refusals.refuse("a late log", "called after finish; its values are not kept", count_values(metrics))

    @guarded
    def thread_failed(self, thread: int | None, text: str) -> None:
        """Note that a thread ended with an exception, which is the run's failure unless another thread reports
        afterwards.
        """
        if thread == self._reporter and self._outbox is not None:
            self.fault = text
            self._force_slow_path()

    def disown(self) -> None:
        """Close the run in a forked child without touching the outbox or the sender, which are the parent's."""
        self._shut()
        if self._parts is not None:
            self._parts.disown()
        self._parts = None
        self._finished = True

    def _shut(self) -> None:
        self._outbox = None
        self.controls.close()
        self._fast_path = FastPath()  # a new one: in a forked child the segment of the old one is the parent's memory
