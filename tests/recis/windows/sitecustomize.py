"""Remove what Windows lacks, before a child process of a test imports any module of the project; see `test_system`.

Python imports this file automatically if its folder is in PYTHONPATH. It removes the modules and names that only POSIX
has, and prevents removing or replacing files that are open or mapped. `msvcrt` and the parts of `ctypes` that exist
only on Windows are emulated with those of Linux.
"""

# These look for `msvcrt`, or for a name that is removed here, when they are imported.
import asyncio  # noqa: F401
import ctypes
import errno
import fcntl
import multiprocessing  # noqa: F401
import os
import shutil  # noqa: F401
import signal
import ssl  # noqa: F401
import subprocess  # noqa: F401
import sys
import tempfile  # noqa: F401
import types
from pathlib import Path
from typing import Any

MODULES = ("fcntl", "grp", "posix", "pwd", "resource", "termios", "uvloop")
OF_OS = (
    "O_CLOEXEC O_DIRECTORY O_NOFOLLOW O_NONBLOCK chown fchmod fchown fork forkpty geteuid getgid getpgid getuid killpg"
    " mkfifo posix_fadvise posix_fallocate pread pwrite register_at_fork setsid statvfs"
)
OF_SIGNAL = "SIGHUP SIGKILL SIGUSR1 SIGUSR2 pthread_sigmask"

_kill, _unlink, _rename, _replace = os.kill, os.unlink, os.rename, os.replace
_last_error = 0


def _check_closed(path: Any, folder: int | None = None) -> None:
    """Refuse what Windows refuses for a file that this process has open or mapped."""
    place = os.fsdecode(path)
    if folder is not None:
        place = str(Path(f"/proc/self/fd/{folder}").readlink() / place)
    place = str(Path(place).absolute())
    used = {line.split(maxsplit=5)[-1].strip() for line in Path("/proc/self/maps").read_text().splitlines()}
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            used.add(str(descriptor.readlink()))
        except OSError:  # that of the listing itself
            continue
    if place in used:
        raise PermissionError(errno.EACCES, "it is used by this process", place)


def _remove(path: Any, *, dir_fd: int | None = None) -> None:
    _check_closed(path, dir_fd)
    _unlink(path, dir_fd=dir_fd)


def _rename_to_nothing(source: Any, target: Any) -> None:
    if Path(target).exists():
        raise FileExistsError(errno.EEXIST, "it exists already", os.fsdecode(target))
    _check_closed(source)
    _rename(source, target)


def _replace_closed(source: Any, target: Any) -> None:
    _check_closed(source)
    _check_closed(target)
    _replace(source, target)


def _no_kill(pid: int, number: int) -> None:
    raise AssertionError(f"os.kill({pid}, {number}) ends a process on Windows, or interrupts all of a terminal")


def _locking(descriptor: int, how: int, num_bytes: int) -> None:
    assert (how, num_bytes, os.lseek(descriptor, 0, os.SEEK_CUR)) == (msvcrt.LK_NBLCK, 1, 0), "another place"
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _open_process(access: int, inherit: bool, pid: int) -> int:
    global _last_error
    try:
        _kill(pid, 0)
    except PermissionError:
        _last_error = 5
        return 0
    except OSError:
        _last_error = 87
        return 0
    return pid


def _exit_code(handle: Any, code: Any) -> int:
    code._obj.value = 259
    return 1


msvcrt: Any = types.ModuleType("msvcrt")
msvcrt.LK_NBLCK = 2
msvcrt.locking = _locking
sys.modules["msvcrt"] = msvcrt
ctypes.get_last_error = lambda: _last_error  # type: ignore[attr-defined]
ctypes.WinDLL = lambda name, **_: types.SimpleNamespace(  # type: ignore[attr-defined]
    OpenProcess=_open_process, GetExitCodeProcess=_exit_code, CloseHandle=lambda handle: 1
)
for name in MODULES:
    sys.modules[name] = None  # type: ignore[assignment]
for name in OF_OS.split():
    delattr(os, name)
for name in OF_SIGNAL.split():
    delattr(signal, name)
REPLACED = {
    "kill": _no_kill,
    "remove": _remove,
    "rename": _rename_to_nothing,
    "replace": _replace_closed,
    "unlink": _remove,
}
for name, call in REPLACED.items():
    setattr(os, name, call)
