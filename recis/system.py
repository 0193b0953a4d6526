"""Differences between operating systems: forks, file locks, disk allocation, signals, processes, users.

Owns the choice between the facilities of Linux, macOS and Windows; must not know their uses.
"""

import ctypes
import importlib
import os
import signal
from collections.abc import Callable
from typing import Any, BinaryIO

__all__ = [
    "ENDING_SIGNALS",
    "OPEN_FLAGS",
    "after_fork_in_child",
    "allocate",
    "is_process_alive",
    "sync_folder",
    "try_lock",
    "user_number",
]

OPEN_FLAGS = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
"""Flags for `os.open`: not inherited by programs that are started, and bytes as they are."""
ENDING_SIGNALS: tuple[signal.Signals, ...] = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)
)
"""By which a scheduler or a closed terminal ends a process."""

_BLOCK = bytes(1 << 20)
_QUERY_LIMITED_INFORMATION = 0x1000
_STILL_ACTIVE = 259
_ACCESS_DENIED = 5


def _module(name: str) -> Any:
    """Return a module that exists only on some systems, or None."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


_fcntl, _msvcrt = _module("fcntl"), _module("msvcrt")


def after_fork_in_child(call: Callable[[], None]) -> None:
    """Register `call` to run in each child that this process forks; never on Windows, which does not fork."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=call)


def try_lock(file: BinaryIO) -> bool:
    """Lock an open file until it is closed or the process ends; return False if it is already locked."""
    try:
        if _fcntl is not None:
            _fcntl.flock(file, _fcntl.LOCK_EX | _fcntl.LOCK_NB)
        else:
            file.seek(0)
            _msvcrt.locking(file.fileno(), _msvcrt.LK_NBLCK, 1)
    except OSError:
        return False
    return True


def allocate(descriptor: int, size: int) -> None:
    """Allocate `size` zero bytes for an empty file, so that later writes cannot fail for lack of space.

    Raises:
        OSError: there is no space.
    """
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
        return
    while size > 0:
        size -= os.write(descriptor, _BLOCK[:size])


def sync_folder(path: str | os.PathLike[str]) -> None:
    """Wait until a change of a folder's entries is on disk; a no-op on Windows, which cannot open folders."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def is_process_alive(pid: int) -> bool:
    """Return whether a process with this pid exists on this machine."""
    windows: Any = getattr(ctypes, "WinDLL", None)
    if windows is not None:  # on Windows `os.kill` would terminate the process, whatever the signal
        return _is_alive_on_windows(windows("kernel32", use_last_error=True), pid)
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True  # another user's
    except (OSError, OverflowError):
        return False
    return True


def _is_alive_on_windows(kernel: Any, pid: int) -> bool:
    if not 0 < pid < 1 << 32:
        return False
    kernel.OpenProcess.restype = ctypes.c_void_p
    handle = kernel.OpenProcess(_QUERY_LIMITED_INFORMATION, False, pid)
    if not handle:
        last_error: int = ctypes.get_last_error()  # type: ignore[attr-defined]
        return last_error == _ACCESS_DENIED
    try:
        code = ctypes.c_uint32()
        return bool(kernel.GetExitCodeProcess(ctypes.c_void_p(handle), ctypes.byref(code))) and (
            code.value == _STILL_ACTIVE
        )
    finally:
        kernel.CloseHandle(ctypes.c_void_p(handle))


def user_number() -> int:
    """Return the user id of this process; 0 on Windows, as in its `os.stat_result`."""
    return os.getuid() if hasattr(os, "getuid") else 0
