"""Allow one thread at a time in a table. Owns the lock and its state in copies and forked children.

Must not know what a table does while the lock is held.
"""

import threading
from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, Protocol, TypeVar
from weakref import WeakSet

from recis.system import after_fork_in_child

__all__ = ["TableLock", "exclusive"]


class TableLock:
    """A reentrant lock. In a forked child it is free, even if another thread of the parent held it; a copy has its own
    lock.
    """

    __slots__ = ("__weakref__", "_lock")

    def __init__(self) -> None:
        self._lock = threading.RLock()
        _locks.add(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def __reduce__(self) -> tuple[type["TableLock"], tuple[()]]:
        return TableLock, ()

    def renew(self) -> None:
        """Replace a lock that another thread held at the fork: in the child, no thread would ever release it."""
        if self._lock.acquire(blocking=False):
            self._lock.release()
        else:
            self._lock = threading.RLock()


class _Locked(Protocol):
    @property
    def lock(self) -> TableLock: ...


T = TypeVar("T", bound=_Locked)
P = ParamSpec("P")
R = TypeVar("R")


def exclusive(method: Callable[Concatenate[T, P], R]) -> Callable[Concatenate[T, P], R]:
    """Hold the table's lock while the method runs."""

    @wraps(method)
    def call(table: T, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with table.lock:
            return method(table, *args, **kwargs)

    return call


def _renew_locks() -> None:
    for lock in list(_locks):
        lock.renew()


_locks: WeakSet[TableLock] = WeakSet()
after_fork_in_child(_renew_locks)
