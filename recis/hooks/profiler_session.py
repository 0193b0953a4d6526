"""A session of torch's profiler that yields to any other profiler in the process.

Owns the tracking of profilers in use; must not know windows, steps or files.

Torch has one profiler per process and does not guard it: if a second one is prepared or started, it takes over, and the
process dies (SIGSEGV) when the first one continues or, with two threads, at the next operator. Torch offers no public
way to query or observe its use. Therefore the methods by which its profilers begin and end, two of them private, are
wrapped here, once per process, when the first session begins. Without a session they behave as before.
"""

import functools
import gc
import logging
import threading
from collections.abc import Callable
from typing import Any
from weakref import WeakSet

import torch
from torch.autograd import profiler

from recis.errors import CaptureBusyError
from recis.system import after_fork_in_child

__all__ = ["ProfilerSession", "is_taken"]

PATIENCE_S = 60.0
"""How long a profiler on another thread waits for the step boundary at which the session yields to it."""

_BEGINNINGS = (
    (profiler.profile, "_prepare_trace"),  # also used by torch.profiler.profile, whose warm-up starts with it
    (profiler.profile, "_start_trace"),
    (profiler.emit_itt, "__enter__"),
    (profiler.emit_nvtx, "__enter__"),
)
_ENDS = (
    (profiler.profile, "__exit__"),
    (profiler.emit_itt, "__exit__"),
    (profiler.emit_nvtx, "__exit__"),
)
_logger = logging.getLogger(__name__)
_others: "WeakSet[Any]" = WeakSet()  # profilers in use that do not belong to a session
_changed = threading.Condition()  # guards `_others`, `_session` and the state of that session
_session: "ProfilerSession | None" = None


class ProfilerSession:
    """A profiler from `prepare` over `start` to `stop`, all on one thread.

    Another profiler on this thread ends the session at once; one on another thread waits until the session's owner next
    calls one of its methods. In both cases that call raises `CaptureBusyError`, and the session is over.

    Args:
        profile: not started; without a schedule.
    """

    def __init__(self, profile: torch.profiler.profile) -> None:
        self._profile = profile
        self._thread = threading.get_ident()
        self._recording = False
        self._acting = False
        self._wanted = False  # by a profiler on another thread
        self._step_mark: torch.profiler.record_function | None = None

    @property
    def recording(self) -> bool:
        """Return whether it was started and not stopped yet."""
        return self._recording

    def prepare(self) -> None:
        """Start the warm-up.

        Raises:
            CaptureBusyError: a profiler is in use.
        """
        global _session  # noqa: PLW0603 - torch has one profiler, so this process has one session
        with _changed:
            _watch()
            if is_taken():
                raise CaptureBusyError("another torch profiler is in use")
            _session = self
            self._act(self._profile.prepare_trace)

    def start(self) -> None:
        """Start recording.

        Raises:
            CaptureBusyError: another profiler has begun.
        """
        with _changed:
            self.check()
            self._act(self._profile.start_trace)
            self._recording = True

    def mark(self, name: str) -> None:
        """End the current range, and begin one with this name."""
        self._unmark()
        self._step_mark = torch.profiler.record_function(name)
        self._step_mark.__enter__()  # type: ignore[no-untyped-call]

    def check(self) -> None:
        """Raise `CaptureBusyError` and end the session if another profiler has started or waits to start."""
        with _changed:
            if _session is self and self._wanted:
                self._end()
            # Asking torch finds profilers that bypassed the wrapped methods. During the warm-up ours is not enabled, so
            # an enabled one is another.
            if _session is not self or self._recording != _is_enabled():
                self._leave()
                raise CaptureBusyError("another torch profiler has begun")

    def stop(self) -> None:
        """Stop in any phase; the recorded events can then be exported.

        Raises:
            CaptureBusyError: another profiler has begun; nothing can be exported.
        """
        with _changed:
            self.check()
            self._end()

    def _end(self) -> None:
        if not self._recording:
            self._act(self._profile.start_trace)  # a warmed-up profiler cannot be stopped in any other way
        self._unmark()
        self._act(self._profile.stop_trace)
        self._leave()

    def _act(self, action: Callable[[], object]) -> None:
        self._acting = True
        try:
            action()
        except BaseException:
            self._leave()
            raise
        finally:
            self._acting = False

    def _leave(self) -> None:
        global _session  # noqa: PLW0603 - as above
        self._recording = False
        if _session is self:
            _session = None
            _changed.notify_all()

    def _unmark(self) -> None:
        if self._step_mark is not None:
            self._step_mark.__exit__(None, None, None)
            self._step_mark = None

    # --- called by the wrapped methods, with `_changed` held

    def give_way(self) -> None:
        """Yield to another profiler that is about to start.

        Raises:
            RuntimeError: the session belongs to another thread, which made no call for `PATIENCE_S`. If the other
            profiler started anyway, torch would crash the process.
        """
        if self._thread != threading.get_ident():
            self._wanted = True
            if not _changed.wait_for(lambda: _session is not self, PATIENCE_S):
                raise RuntimeError(f"expected ProfilerHook to yield to this profiler within {PATIENCE_S:.0f} s")
            return
        try:
            self._end()
        except Exception:  # boundary: the other profiler must start regardless
            _logger.exception("a profiler session could not be ended")

    def was_ended(self, subject: object) -> None:
        """Record that a profiler has ended, possibly the session's own, stopped by other code."""
        if self._profile.profiler is subject and not self._acting:
            self._leave()

    def is_acting(self, subject: object) -> bool:
        """Return whether the session itself is calling its profiler now."""
        return self._acting and self._profile.profiler is subject


def is_taken() -> bool:
    """Return whether a profiler is in use: a session's, any other of this process created in Python, or one that
    records on this thread."""
    with _changed:
        _watch()
        return _session is not None or len(_others) > 0 or _is_enabled()


def _is_enabled() -> bool:
    return bool(torch.autograd._profiler_enabled())  # type: ignore[attr-defined]  # noqa: SLF001 - there is no other


def _before_beginning(subject: Any) -> None:
    if not getattr(subject, "enabled", True):
        return
    with _changed:
        if _session is not None and _session.is_acting(subject):
            return
        _others.add(subject)  # first: no other session starts before it
        if _session is not None:
            _session.give_way()


def _after_end(subject: Any) -> None:
    with _changed:
        _others.discard(subject)
        if _session is not None:
            _session.was_ended(subject)


@functools.cache
def _watch() -> None:
    """Wrap the methods, and find the profilers that were started earlier."""
    for kind, name in _BEGINNINGS:
        _wrap(kind, name, _beginning)
    for kind, name in _ENDS:
        _wrap(kind, name, _end)
    for thing in gc.get_objects():
        if issubclass(type(thing), profiler.profile) and _has_begun(thing):
            _others.add(thing)


def _has_begun(thing: profiler.profile) -> bool:
    return getattr(thing, "entered", False) and getattr(thing, "kineto_results", None) is None


def _wrap(kind: type, name: str, around: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    method = getattr(kind, name, None)
    if method is None:
        version = torch.__version__
        _logger.warning("torch %s has no %s.%s: another profiler may go unnoticed", version, kind.__qualname__, name)
    else:
        setattr(kind, name, around(method))


def _beginning(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(subject: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            _before_beginning(subject)
            return method(subject, *args, **kwargs)
        except BaseException:
            _after_end(subject)
            raise

    return call


def _end(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(subject: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return method(subject, *args, **kwargs)
        finally:
            _after_end(subject)

    return call


def _forget() -> None:
    """Reset the state in a forked child: the session is the parent's, and one of its threads may have held the lock."""
    global _changed, _session
    _changed, _session = threading.Condition(), None
    _others.clear()


after_fork_in_child(_forget)
