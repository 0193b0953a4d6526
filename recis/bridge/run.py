"""`Run`: what a training process talks to. Takes what is reported and puts it into the outbox, on the caller's thread.

Owns the run's life, the check of what comes in, and the parts behind it (outbox, sender, controls, uploads); must not
know hooks or the Trainer. No method raises into training once the run is open: bad input is one warning and a counter.
"""

import contextlib
import functools
import logging
import os
import struct
import threading
import time
from _thread import get_ident
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, ParamSpec, Self

from recis.bridge import ending, lifecycle
from recis.bridge.client import Sender
from recis.bridge.controls import Controls
from recis.bridge.cost import COST_KEYS, MonitorCost
from recis.bridge.identity import Identity
from recis.bridge.lane import Lane
from recis.bridge.outbox import MAX_ROW_KEYS, Outbox
from recis.bridge.scalars import DeferredRows
from recis.bridge.traces import TraceFileJob, TraceUploads
from recis.metrics.scalars import to_value
from recis.wire.codec import as_key
from recis.wire.messages import (
    MAX_KEY_CHARS,
    MAX_TEXT_CHARS,
    Declare,
    Event,
    FrameRecord,
    Line,
    Pass,
    Status,
)

__all__ = ["Parts", "Run"]

P = ParamSpec("P")
_PLAIN: frozenset[type] = frozenset({float, int})
_ENDLESS = 1 << 60
_MAX_KNOWN_KEYS = 4096
_MAX_WARNINGS = 100
_INT64 = range(-(1 << 63), 1 << 63)
_logger = logging.getLogger(__name__)


def _guarded(method: Callable[P, None]) -> Callable[P, None]:
    """The border between the monitor and training: whatever goes wrong inside is logged, counted and over."""

    @functools.wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            method(*args, **kwargs)
        except Exception:  # noqa: BLE001 - border, see above
            run = args[0]
            assert isinstance(run, Run)
            run._count_failure(method.__name__)  # noqa: SLF001 - of the same class

    return call


class Parts:
    """What an open run works with; absent (None) in a disabled or finished run and in a forked child."""

    def __init__(self, outbox: Outbox, deferred: DeferredRows, uploads: TraceUploads, sender: Sender) -> None:
        self.outbox = outbox
        self.deferred = deferred
        self.uploads = uploads
        self.sender = sender


class Run:
    """One run as this process (one rank of it) sees it; made by `recis.monitor.init`.

    Attributes:
        id: the run's identifier, equal on all ranks.
        url: the run's page, None where there is no server.
        refused: how many values were not taken because of their name, type or step.
        failures: how many calls met an error of the monitor's own; each is logged.
        fault: what has ended the thread that reported last; None while it, or another, goes on.
        controls: commands that wait for the next step boundary; `log` applies them, as does `step_boundary`.
        cost: what the monitor costs the training thread; becomes the series `monitor/…`.
        measures_log: whether `log` adds to `cost`; off where the caller measures the whole step.
    """

    def __init__(self, identity: Identity, url: str | None) -> None:
        self.id = identity.run
        self.url = url
        self.refused = 0
        self.failures = 0
        self.fault: str | None = None
        self._identity = identity
        self._parts: Parts | None = None
        self._outbox: Outbox | None = None  # the same as in _parts while reports are taken
        self._lane = Lane()  # closed; of an open run the outbox's
        self._close: Callable[[bool], None] = lambda _: None
        self.cost = MonitorCost()
        self.measures_log = True
        self.controls = Controls(self._append, self._interrupt)
        self._finishing = threading.RLock()  # a signal handler may finish the run in the middle of `finish`
        self._finished = False
        self._dropped = 0  # in all, of a run that has ended
        self._reporter = get_ident()
        self._step = -1
        self._known_keys: set[tuple[str, ...]] = set()
        self._warned: set[str] = set()

    def attach(self, parts: Parts, close: Callable[[bool], None]) -> None:
        """Opens the run; `close` is called once at its end, with whether everything was acknowledged."""
        self._parts = parts
        self._outbox = parts.outbox
        self._lane = parts.outbox.lane
        self._close = close
        lifecycle.opened(self)
        self._append(Status(state="running", time_ns=time.time_ns()))
        parts.sender.start()

    @property
    def rank(self) -> int:
        """This process's rank in the run."""
        return self._identity.rank

    @property
    def dropped(self) -> int:
        """Points lost to a bound so far (spool full, too many device values waiting); after `finish`, in all."""
        parts = self._parts
        return parts.outbox.dropped if parts else self._dropped

    def log(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Reports values of one step.

        Args:
            metrics: names to numbers, 0-dim tensors or 0-dim arrays. A `/` makes sections; a dict as a value is
                flattened into them. Values on a device are copied later, without waiting for it.
            step: the training step; the one after the last call's when None.
        """
        # The hot path: after a pause every line of code and every object that it touches is felt.
        if step is None:
            step = self._step + 1
        # In two lines: a call as of a method would be looked up in the class first, through one more cache.
        write = self._lane.write
        if write(metrics, step):
            self._step = step
        else:
            self._log_otherwise(metrics, step)

    @_guarded
    def step_boundary(self, step: int) -> None:
        """Between two steps: applies the commands that are due."""
        if self.controls.waiting and self._outbox is not None and not self._outbox.is_interrupted():
            self.controls.apply_due(step)

    @_guarded
    def upload_trace(self, path: str | os.PathLike[str], step: int) -> None:
        """Sends a finished file in the background; it is read only then, so it must stay where it is.

        Args:
            path: a profiler trace, `.json` or `.json.gz`.
            step: the step that it ends with.
        """
        parts = self._parts
        if parts is None:
            return
        place = Path(path).absolute()
        identity = self._identity
        parts.uploads.add(
            TraceFileJob(
                run=identity.run,
                attempt=identity.attempt,
                rank=identity.rank,
                path=str(place),
                name=place.name,
                step=int(step),
                time_ns=time.time_ns(),
            )
        )

    @_guarded
    def control(
        self,
        name: str,
        *,
        type: Literal["int", "float", "bool", "str", "profile"],  # noqa: A002 - the contract's word
        value: Any,
        on_change: Callable[[Any], object],
        minimum: float | None = None,
        maximum: float | None = None,
        nullable: bool = False,
        unit: str = "",
        description: str = "",
    ) -> None:
        """Offers a value that can be changed from the page while training runs.

        Args:
            name: 1 to 128 letters, digits, `.`, `_` or `-`.
            type: what the values are; `profile` is a request to capture a trace.
            value: the value now.
            on_change: gets each new value at a step boundary, on the thread that calls `log`; refuses it by raising.
            minimum: lowest value taken.
            maximum: highest value taken.
            nullable: whether None (off) is a value.
            unit: shown behind the value.
            description: one sentence for the page.
        """
        self.controls.declare(
            Declare(
                control=name,
                type=type,
                value=value,
                step=self._step if self._step >= 0 else None,
                time_ns=time.time_ns(),
                minimum=minimum,
                maximum=maximum,
                nullable=nullable,
                unit=unit,
                description=description,
            ),
            on_change,
        )

    @_guarded
    def alert(self, title: str, text: str = "", level: str = "warning", step: int | None = None) -> None:
        """Tells whoever looks at the run; drawn on the charts. `level` is info, warning or error, in any case."""
        known: dict[str, Literal["info", "warning", "error"]] = {
            "info": "info",
            "warn": "warning",
            "warning": "warning",
            "error": "error",
        }
        whole = f"{title}: {text}" if text else str(title)
        at = step if step is not None or self._step < 0 else self._step
        self._append(
            Event(
                kind="alert",
                level=known.get(str(level).lower(), "warning"),
                time_ns=time.time_ns(),
                step=at,
                text=whole[:MAX_TEXT_CHARS],
            )
        )

    @_guarded
    def line(self, text: str, step: int | None = None, time_ns: int | None = None) -> None:
        """Adds a line to the run's log; `time_ns` is when it was made, in Unix nanoseconds, now when None."""
        self._append(Line(time_ns=time_ns or time.time_ns(), text=text[:MAX_TEXT_CHARS], step=step))

    @_guarded
    def filter_pass(self, report: Pass) -> None:
        """Reports one filter pass over one table, as a record and as the series `table/{name}/…`."""
        self._append(report)
        self.log(
            {
                f"table/{report.table}/rows": report.rows_after,
                f"table/{report.table}/admitted": report.admitted,
                f"table/{report.table}/evicted": report.evicted,
                f"table/{report.table}/bytes": report.bytes,
                f"table/{report.table}/pass_ms": report.milliseconds,
            },
            report.step,
        )

    def finish(self, *, error: str | None = None, timeout_s: float = 5.0) -> bool:
        """Ends the run: sends what is left for at most `timeout_s`; the rest stays in the spool for the next start.

        Args:
            error: why training failed, None when it did not.
            timeout_s: a server that is away is tried once. A device's values are waited for as long before.

        Returns:
            Whether the server has acknowledged everything (True also in a disabled run). A second call only warns.
            A call from inside a report, as by a signal handler, leaves it to the exit of the process, and is False.
        """
        if self._outbox is not None and self._outbox.is_interrupted():
            _logger.warning("run %s: finish was called in the middle of a report; it is left to the exit", self.id)
            return False
        with self._finishing:
            if self._finished:
                _logger.warning("run %s: finish was called twice", self.id)
                return True
            self._finished = True
        parts, self._parts = self._parts, None
        if parts is None:
            return True
        try:
            try:
                parts.deferred.resolve(parts.outbox, wait_s=timeout_s)
                state: Literal["finished", "failed"] = "failed" if error else "finished"
                self._append(Status(state=state, time_ns=time.time_ns(), message=(error or "")[:MAX_TEXT_CHARS]))
            finally:
                self._shut()
                done = parts.sender.close(timeout_s)
                self._dropped = parts.outbox.dropped
                self._close(done)
            return done
        except Exception:  # noqa: BLE001 - border: the end of the monitor must not become the training's
            self._count_failure("finish")
            return False
        finally:
            self._shut()
            lifecycle.closed(self)

    @property
    def is_open(self) -> bool:
        """Whether it takes reports."""
        return self._outbox is not None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._finished:
            self.finish(error=ending.failure(error))

    # --- inside

    def tick(self) -> None:
        """Regular work on the sender's thread: device values that have arrived, and the monitor's own cost."""
        parts = self._parts
        if parts is None:
            return
        parts.deferred.resolve(parts.outbox)
        if not self.cost.is_due():
            return
        values = self.cost.report(
            queue_depth=parts.outbox.pending()[1], bytes_sent=parts.sender.bytes_sent, dropped=self.dropped
        )
        if self._step >= 0:
            parts.outbox.append_row(COST_KEYS, values, self._step, time.time_ns())

    def _interrupt(self) -> None:
        if (outbox := self._outbox) is not None:
            outbox.interrupt()

    def _append(self, record: FrameRecord) -> None:
        if (outbox := self._outbox) is not None:
            outbox.append(record)

    def _log_otherwise(self, metrics: Mapping[str, Any], step: Any) -> None:
        """Every call that the lane does not take: one in `cost.apart`, which is measured; after a command has come;
        for other names or from another thread than the call before, with other values than numbers, without room."""
        outbox = self._outbox
        if outbox is None:
            self._log_late()
            return
        self.fault = None
        try:
            if not outbox.lane_is_used_up(self.cost.apart if self.measures_log else _ENDLESS):
                self._log_slowly(outbox, metrics, step)
            else:
                start = time.perf_counter_ns()
                self.log(metrics, step)
                if self.measures_log:
                    self.cost.add(time.perf_counter_ns() - start)
            if self.controls.waiting:
                self.controls.apply_due(self._step)
            if self.controls.waiting:
                outbox.interrupt()  # something is due at a later step
        except Exception as error:  # noqa: BLE001 - border: nothing that is logged stops a training
            self._refuse("log", f"{type(error).__name__}: {error}")

    def _log_slowly(self, outbox: Outbox, metrics: Any, step: Any) -> None:
        number = step if type(step) is int else _as_step(step)
        if number is None or number not in _INT64:
            self._refuse("log's step", f"expected an integer that fits 64 bits, got {step!r:.80}")
            return
        if not isinstance(metrics, Mapping):
            got = f"{type(metrics).__name__} {metrics!r:.80}"
            self._refuse("log's metrics", f"expected names and their values, as in {{'loss': 0.5}}, got {got}")
            return
        step = self._step = number
        self._reporter = get_ident()
        keys = tuple(metrics)
        if keys in self._known_keys and _PLAIN.issuperset(map(type, metrics.values())):
            # An integer that is too large for a float: see the other way.
            with contextlib.suppress(OverflowError, struct.error):
                outbox.append_row(keys, metrics.values(), step, time.time_ns(), open_lane=True)
                self._lane = outbox.lane  # perhaps another thread's by now, or a closed one: the next call sees that
                return
        self._log_checked(outbox, metrics, step)

    def _log_checked(self, outbox: Outbox, metrics: Mapping[str, Any], step: int) -> None:
        """Names or types seen for the first time, device values, nested dicts, bad input."""
        assert self._parts is not None
        now = time.time_ns()
        plain: dict[str, float] = {}
        device: dict[str, Any] = {}
        for key, value in _flatten("", metrics):
            name = self._checked_name(key)
            try:
                kept = to_value(value)
            except TypeError as error:
                self._refuse(name, str(error))
                continue
            if isinstance(kept, int | float):
                plain[name] = kept
            else:
                device[name] = kept
        names = list(plain)
        if names and names == list(metrics) and len(names) <= MAX_ROW_KEYS and len(self._known_keys) < _MAX_KNOWN_KEYS:
            self._known_keys.add(tuple(names))
        for start in range(0, len(names), MAX_ROW_KEYS):
            part = tuple(names[start : start + MAX_ROW_KEYS])
            outbox.append_row(part, [plain[name] for name in part], step, now)
        if device:
            self._parts.deferred.offer(tuple(device), list(device.values()), step, now)

    def _checked_name(self, key: object) -> str:
        """The name as the wire takes it: a bad one is mended rather than its values lost."""
        name = as_key(key if isinstance(key, str) else repr(key))
        if name != key:
            self._warn(
                name,
                f"expected a name of 1 to {MAX_KEY_CHARS} printable characters, got {key!r:.80}; it is kept as this",
            )
        return name

    def _refuse(self, name: str, why: str) -> None:
        self.refused += 1
        self._warn(name, why)

    def _warn(self, name: str, why: str) -> None:
        if name not in self._warned and len(self._warned) < _MAX_WARNINGS:
            self._warned.add(name)
            _logger.warning("run %s, %.80s (said once): %s", self.id, name, why)

    def _log_late(self) -> None:
        if self._finished:
            self._refuse("a late log", "called after finish; nothing is kept")

    def _count_failure(self, where: str) -> None:
        self.failures += 1
        if where not in self._warned:
            self._warned.add(where)
            _logger.exception("the monitor failed in %s (said once); training goes on", where)

    @_guarded
    def thread_failed(self, thread: int | None, text: str) -> None:
        """A thread has ended by an exception: the run's end, unless it is another one's or somebody reports again."""
        if thread == self._reporter and self._outbox is not None:
            self.fault = text
            self._interrupt()

    def disown(self) -> None:
        """In a forked child: the outbox is shared memory and the thread is the parent's, so neither is touched."""
        self._shut()
        self._parts = None
        self._finished = True

    def _shut(self) -> None:
        self._outbox = None
        self._lane = Lane()  # not closed where it is: in a forked child its segment is the parent's memory


def _as_step(step: Any) -> int | None:
    """An int from what counts steps: int-like objects and 0-dim tensors in host memory; None from anything else."""
    with contextlib.suppress(TypeError, ValueError, OverflowError):
        if not isinstance(step, bool) and int(step) == step:
            return int(step)
    return None


def _flatten(prefix: str, metrics: Mapping[Any, Any]) -> "list[tuple[Any, Any]]":
    pairs: list[tuple[Any, Any]] = []
    for key, value in metrics.items():
        name = f"{prefix}/{key}" if prefix else key
        if isinstance(value, Mapping):
            pairs.extend(_flatten(str(name), value))
        else:
            pairs.append((name, value))
    return pairs
