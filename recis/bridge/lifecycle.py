"""Finish or disown open runs when the process ends or forks.

Owns the list of open runs and what happens to them; how the process ends is determined by `ending`. Must not know
what a run reports.
"""

import atexit
import functools
import multiprocessing
import sys
import weakref
from typing import Any, Protocol

from recis.bridge import ending
from recis.system import after_fork_in_child

__all__ = ["closed", "opened"]


class _Run(Protocol):
    @property
    def fault(self) -> str | None: ...

    def finish(self, *, error: str | None = None) -> bool: ...

    def disown(self) -> None: ...

    def thread_failed(self, thread: int | None, text: str) -> None: ...


_open_runs: "weakref.WeakSet[_Run]" = weakref.WeakSet()
_in_child: Any = None  # a `multiprocessing.util.Finalize`


def opened(run: _Run) -> None:
    """Register an open run: it is finished when the process ends, and disowned in a forked child."""
    _open_runs.add(run)
    ending.listen(_thread_failed)
    _end_with_child()


def closed(run: _Run) -> None:
    """Forget a run that has been finished."""
    _open_runs.discard(run)


def _end_with_child() -> None:
    """Finish the runs of a child of `multiprocessing` in a finalizer: such a child seldom calls exit handlers."""
    global _in_child  # noqa: PLW0603 - the process ends once
    util = sys.modules.get("multiprocessing.util")
    if util is None:  # always loaded before a child is started
        return
    _end_with_children(util)
    if multiprocessing.parent_process() is not None:
        ending.listen_in_child()
        if not (_in_child and _in_child.still_active()):
            _in_child = util.Finalize(None, _finish_in_child, exitpriority=-100)  # behind all others


@functools.cache
def _end_with_children(util: Any) -> None:
    # A child drops its finalizers when it starts, and then calls the functions registered here.
    util.register_after_fork(_finish_in_child, lambda _: _end_with_child())


def _finish_in_child() -> None:
    _finish_all(ending.of_child())


def _finish_at_exit() -> None:
    _finish_all(ending.of_process() if multiprocessing.parent_process() is None else ending.of_child())


def _finish_all(error: str | None) -> None:
    for run in list(_open_runs):
        run.finish(error=run.fault or error)


def _thread_failed(thread: int | None, text: str) -> None:
    for run in list(_open_runs):
        run.thread_failed(thread, text)


def _disown_all() -> None:
    for run in list(_open_runs):
        run.disown()
    _open_runs.clear()


after_fork_in_child(_disown_all)
atexit.register(_finish_at_exit)
