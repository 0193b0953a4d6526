"""Child processes that start quickly: forked from a process that has imported the large packages they need.

A child has arguments, environment, folder, streams and an exit code like one that `subprocess` starts, and runs its
module, script or code as `__main__` of an interpreter that finalizes normally. Only the imports, which take seconds of
processor time, are made once for all children of a test session. Its command line in `/proc` is that of the process it
was forked from. Tests of how a process starts, ends, imports modules or appears to others use `subprocess` instead.
"""

import atexit
import contextlib
import json
import os
import runpy
import select
import signal
import socket
import struct
import subprocess
import sys
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

__all__ = ["REPORTING", "SERVER", "TRAINING", "Child", "start"]

SERVER = ("recis_server.cli",)
REPORTING = ("recis.monitor", "recis.bridge.sender")
TRAINING = ("torch", "recis.hooks", *REPORTING)
_MOST_BYTES = 200_000
_NUMBER = struct.Struct("=q")

_forkers: dict[tuple[str, ...], socket.socket] = {}


class Child:
    """A running process, with the methods of `subprocess.Popen`.

    Args:
        arguments: what follows `python`: `-m MODULE …`, `-c CODE …` or `SCRIPT …`.
        imports: the modules that its interpreter has imported.
        cwd: its working folder.
        env: its environment.
        stdin, stdout, stderr: as for `Popen`; the text of pipes is UTF-8.
        start_new_session: whether it leads a new session.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        imports: tuple[str, ...],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        stdin: Any = None,
        stdout: Any = None,
        stderr: Any = None,
        start_new_session: bool = False,
    ) -> None:
        self.args = list(arguments)
        self.returncode: int | None = None
        self.stdin: IO[str] | None = None
        self.stdout: IO[str] | None = None
        self.stderr: IO[str] | None = None
        request = json.dumps(
            [self.args, str(cwd or Path.cwd()), dict(os.environ if env is None else env), start_new_session]
        )
        with contextlib.ExitStack() as theirs:
            self._status, status = os.pipe()
            theirs.callback(os.close, status)
            streams = [self._stream(number, given, theirs) for number, given in enumerate((stdin, stdout))]
            streams.append(streams[1] if stderr == subprocess.STDOUT else self._stream(2, stderr, theirs))
            socket.send_fds(_forker(imports), [request.encode()], [*streams, status])
        self.pid: int = _NUMBER.unpack(os.read(self._status, _NUMBER.size))[0]

    def poll(self) -> int | None:
        """Return the exit code, or None while it runs."""
        return self._wait(0)

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code; raises `TimeoutExpired`."""
        code = self._wait(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # it has just ended, and its parent is about to report it
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream is not None:
                stream.close()
        self.wait()

    def _stream(self, number: int, given: Any, theirs: contextlib.ExitStack) -> int:
        """Return the descriptor of a stream for the child; keep the other end of a pipe."""
        if given is None:
            return number
        if given == subprocess.DEVNULL:
            descriptor = os.open(os.devnull, os.O_RDWR)
            theirs.callback(os.close, descriptor)
            return descriptor
        if given != subprocess.PIPE:
            return int(given.fileno())
        read, write = os.pipe()
        their = read if number == 0 else write
        theirs.callback(os.close, their)
        if number == 0:
            self.stdin = os.fdopen(write, "w", encoding="utf-8")
        elif number == 1:
            self.stdout = os.fdopen(read, encoding="utf-8")
        else:
            self.stderr = os.fdopen(read, encoding="utf-8")
        return their

    def _wait(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._status], [], [], timeout)[0]:
            said = os.read(self._status, _NUMBER.size)
            os.close(self._status)
            assert said, "the process that forks the children has ended"
            self.returncode = os.waitstatus_to_exitcode(_NUMBER.unpack(said)[0])
        return self.returncode


def start(*arguments: str, imports: tuple[str, ...] = REPORTING, **options: Any) -> Child:
    """Start `python ARGUMENTS…`; see `Child`."""
    return Child(arguments, imports, **options)


def _forker(imports: tuple[str, ...]) -> socket.socket:
    """Return the connection to the process with these imports, which is started at the first use."""
    if imports not in _forkers:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * _MOST_BYTES)
        command = [sys.executable, "-m", "tests.children", str(theirs.fileno()), *imports]
        process = subprocess.Popen(command, pass_fds=[theirs.fileno()])
        theirs.close()
        _forkers[imports] = ours
        atexit.register(process.wait)
        atexit.register(ours.close)  # called first
    return _forkers[imports]


def _fork_for_each_request(requests: socket.socket) -> tuple[list[str], list[int]]:
    """Fork for each request until the tests end; return in each child, with its arguments and streams."""
    statuses: dict[int, int] = {}
    read, write = os.pipe()
    os.set_blocking(write, False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is for the tests
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    while True:
        ready = select.select([requests.fileno(), read], [], [])[0]
        if read in ready:
            os.read(read, 1024)
            _report_ends(statuses)
        if requests.fileno() not in ready:
            continue
        message, descriptors, *_ = socket.recv_fds(requests, _MOST_BYTES, 4)
        if not message:
            os._exit(0)
        *streams, status = descriptors
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            requests.close()
            for descriptor in (read, write, status, *statuses.values()):
                os.close(descriptor)
            arguments, folder, environment, has_session = json.loads(message)
            if has_session:
                os.setsid()
            os.chdir(folder)
            os.environ.clear()
            os.environ.update(environment)
            return arguments, streams
        statuses[pid] = status
        os.write(status, _NUMBER.pack(pid))
        for descriptor in streams:
            os.close(descriptor)


def _report_ends(statuses: dict[int, int]) -> None:
    while statuses:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        with contextlib.suppress(BrokenPipeError):  # the parent no longer waits for it
            os.write(statuses[pid], _NUMBER.pack(status))
        os.close(statuses.pop(pid))


def _become(arguments: list[str], streams: list[int]) -> None:
    """Run the arguments as `python` does."""
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
        if descriptor > 2:
            os.close(descriptor)
    what, *rest = arguments
    if what == "-m":
        sys.argv, sys.path[0] = rest, str(Path.cwd())
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
        return
    main = sys.modules["__main__"] = types.ModuleType("__main__")
    if what == "-c":
        code, sys.argv, sys.path[0] = compile(rest[0], "<string>", "exec"), ["-c", *rest[1:]], ""
    else:
        main.__file__, sys.argv, sys.path[0] = what, arguments, str(Path(what).parent)
        code = compile(Path(what).read_bytes(), what, "exec")
    exec(code, main.__dict__)


if __name__ == "__main__":
    import gc
    import importlib

    _requests = socket.socket(fileno=int(sys.argv[1]))
    for _name in sys.argv[2:]:
        importlib.import_module(_name)
    gc.collect()
    gc.freeze()
    _arguments, _streams = _fork_for_each_request(_requests)
    gc.unfreeze()
    _become(_arguments, _streams)
