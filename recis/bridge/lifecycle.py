"""What happens to open runs when the process forks, is asked to end, or just ends.

Owns the list of open runs and the handlers of the process; must not know what a run reports.
"""

import atexit
import contextlib
import os
import signal
import sys
import weakref
from typing import Protocol

__all__ = ["Terminated", "closed", "describe", "opened", "unwind_on_sigterm"]


class _Run(Protocol):
    def finish(self, *, error: str | None = None) -> bool: ...

    def disown(self) -> None: ...


class Terminated(SystemExit):
    """What SIGTERM becomes in a process with an open run: it unwinds like any exit, so that the run is flushed."""

    def __str__(self) -> str:
        return "SIGTERM"


_open_runs: "weakref.WeakSet[_Run]" = weakref.WeakSet()
_terminated: Terminated | None = None


def opened(run: _Run) -> None:
    """The run takes reports: it is finished when the interpreter ends, and disowned in a forked child."""
    _open_runs.add(run)


def closed(run: _Run) -> None:
    """The run has ended by itself."""
    _open_runs.discard(run)


def describe(error: BaseException) -> str:
    """An exception as its last line in a traceback."""
    return f"{type(error).__name__}: {error}".rstrip(": ")


def unwind_on_sigterm() -> None:
    """Has SIGTERM raise `Terminated` where it would have killed the process at once; a handler of the user's stays."""
    with contextlib.suppress(ValueError):  # only the main thread may; elsewhere the spool keeps what there is
        if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, _on_sigterm)


def _on_sigterm(number: int, frame: object) -> None:
    global _terminated  # noqa: PLW0603 - one per process, read when the interpreter ends
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a second one kills
    _terminated = Terminated(128 + number)
    raise _terminated


def _disown_all() -> None:
    for run in list(_open_runs):
        run.disown()
    _open_runs.clear()


def _finish_all() -> None:
    """A script that just ends has finished; one that ends by an uncaught exception or a signal has failed."""
    error: BaseException | None = getattr(sys, "last_value", None) or _terminated
    for run in list(_open_runs):
        run.finish(error=describe(error) if error is not None else None)


os.register_at_fork(after_in_child=_disown_all)
atexit.register(_finish_all)
