"""Determine how this process ends: normally, or with which failure.

Owns the observation of exit calls, signals and uncaught exceptions. Must not know runs.

Python does not tell an exit handler the exit status, or whether there was a SystemExit. Both are inferred from how the
frame of the main script was left, from intercepted exit calls, and from the last exception printed
(docs/decisions/0002).
"""

import builtins
import contextlib
import dis
import functools
import multiprocessing
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from recis.system import ENDING_SIGNALS, after_fork_in_child

__all__ = ["Terminated", "failure", "listen", "listen_in_child", "of_child", "of_process", "unwind_on_signals"]

_SCRIPT = "__main__"
_EXITS = frozenset({"SystemExit", "exit", "quit"})
_FILLERS = frozenset({"CACHE", "PRECALL", "PUSH_NULL"})
_TEXTS = frozenset({"BUILD_STRING", "FORMAT_VALUE", "FORMAT_SIMPLE", "FORMAT_WITH_SPEC"})
_NAMES = frozenset({"LOAD_NAME", "LOAD_GLOBAL"})
_CONSTANTS = frozenset({"LOAD_CONST", "LOAD_CONST_IMMORTAL", "LOAD_SMALL_INT"})


class Terminated(SystemExit):
    """Raised for a signal in a process with an open run: the process unwinds as in any exit, so that the run is
    flushed.
    """

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self._name = signal.Signals(number).name

    def __str__(self) -> str:
        return self._name


_terminated: Terminated | None = None
_main: FrameType | None = None  # of the script
_target: FrameType | None = None  # in a child of `multiprocessing`: of the function it was started for
_is_interactive = False
_heard: list[str | None] = []  # argument of the last exit call on the main thread; empty before the first


def failure(error: BaseException | None) -> str | None:
    """Return what failed, as the last line of a traceback, if `error` ends a training; None if nothing did.

    An exit with a number stands for the exception that was being handled when it was called, if there was one.
    """
    if error is None or isinstance(error, GeneratorExit):
        return None
    if isinstance(error, SystemExit) and not isinstance(error, Terminated):
        # The status of a process has eight bits.
        if error.code is None or (isinstance(error.code, int) and error.code % 256 == 0):
            return None
        if isinstance(error.code, int) and (cause := failure(error.__context__)) is not None:
            return cause
    try:
        text = f"{type(error).__name__}: {error}".rstrip(": ")
    except Exception:  # noqa: BLE001 - boundary: how an exception is shown is its author's
        text = type(error).__name__
    return text.encode(errors="replace").decode()


def unwind_on_signals() -> None:
    """Make SIGTERM and SIGHUP raise `Terminated` if they would kill the process at once; keep handlers that the user
    installed.
    """
    with contextlib.suppress(ValueError):  # only the main thread may install handlers; else the spool keeps the data
        for number in ENDING_SIGNALS:
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, _on_signal)


def _on_signal(number: int, frame: object) -> None:
    global _terminated  # noqa: PLW0603 - one per process, read when the interpreter ends
    signal.signal(number, signal.SIG_DFL)  # a second one kills
    _terminated = Terminated(number)
    raise _terminated


def of_process() -> str | None:
    """Return what failed, None if the process ends normally; for use in an exit handler.

    In an interactive session errors are expected: it ends normally unless a signal ends it.
    """
    if _terminated is not None:
        return failure(_terminated)
    if _is_interactive or (_main is not None and (_is_running(_main) or _has_returned(_main))):
        return None
    printed = getattr(sys, "last_value", None)
    if printed is not None and (not _heard or _has_left(printed, _main)):
        return failure(printed)
    if _heard:
        return _heard[0]
    return _unheard(_main) if _main is not None else None


def of_child() -> str | None:
    """Return what failed, at the end of a child of `multiprocessing`; None if it ends normally."""
    error = sys.exc_info()[1]  # up to Python 3.12 a child ends while the exception that ends it is being handled
    if error is not None or _terminated is not None:
        return failure(error or _terminated)
    if _target is None:
        return of_process()
    if _has_returned(_target):
        return None
    return _heard[0] if _heard else "an exception has ended the process"


def listen_in_child() -> None:
    """Note what a child of `multiprocessing` is running now."""
    global _target  # noqa: PLW0603 - a child is started for one thing
    code = getattr(multiprocessing.current_process().run, "__code__", None)
    _target = _target or _find_frame(lambda frame: frame.f_code is code)


@functools.cache
def listen(on_thread_failure: Callable[[int | None, str], None]) -> None:
    """Start observing, once per process; `on_thread_failure` is called with the thread's identity and the failure."""
    global _main, _is_interactive  # noqa: PLW0603 - the process has one main script
    _is_interactive = hasattr(sys, "ps1") or bool(sys.flags.interactive or sys.flags.inspect)
    _main = _find_frame(lambda frame: frame.f_code.co_name == "<module>" and frame.f_globals.get("__name__") == _SCRIPT)
    _hear_threads(on_thread_failure)
    if not _is_interactive:
        for owner, name in ((sys, "exit"), (builtins, "exit"), (builtins, "quit")):
            if hasattr(owner, name):
                setattr(owner, name, _hearing(getattr(owner, name)))


def _hear_threads(on_failure: Callable[[int | None, str], None]) -> None:
    before = threading.excepthook

    def hook(args: threading.ExceptHookArgs) -> None:
        if args.thread is not None and (text := failure(args.exc_value)) is not None:
            on_failure(args.thread.ident, text)
        before(args)

    threading.excepthook = hook


def _hearing(leave: Callable[..., Any]) -> Callable[..., Any]:
    """Return `leave`, wrapped to note a call on the main thread."""

    @functools.wraps(leave)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return leave(*args, **kwargs)
        except SystemExit as error:
            is_over = _target is not None and not _is_running(_target)  # then `multiprocessing` calls exit
            if threading.current_thread() is threading.main_thread() and not is_over:
                _heard[:] = [failure(error)]
            raise

    return call


def _forget() -> None:
    """Forget, in a forked child, what its parent was started for."""
    global _target  # noqa: PLW0603 - as above
    _target = None
    _heard.clear()


after_fork_in_child(_forget)


# --- frames, which still hold the line at which they were left


def _find_frame(is_it: Callable[[FrameType], bool]) -> FrameType | None:
    """Return the outermost such frame on the main thread."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)  # noqa: SLF001 - documented
    found = None
    while frame is not None:
        if is_it(frame):
            found = frame
        frame = frame.f_back
    return found


def _is_running(main: FrameType) -> bool:
    frame: FrameType | None = sys._getframe()  # noqa: SLF001 - documented
    while frame is not None and frame is not main:
        frame = frame.f_back
    return frame is not None


def _has_returned(main: FrameType) -> bool:
    return dis.opname[main.f_code.co_code[main.f_lasti]].startswith("RETURN")


def _has_left(error: BaseException, main: FrameType | None) -> bool:
    trace = error.__traceback__
    while trace is not None and trace.tb_frame is not main:
        trace = trace.tb_next
    return trace is not None


def _unheard(main: FrameType) -> str | None:
    """Return the argument of an exit that was not intercepted: `raise SystemExit(...)`, or an `exit` imported earlier.

    A constant or a variable of the main script itself can be read; a text never counts as success. Any other status
    that is computed there, as in `raise SystemExit(main())`, counts as success, and an exit from deeper in the program
    as a failure.
    """
    done = [
        each
        for each in dis.get_instructions(main.f_code)
        if each.offset <= main.f_lasti and each.opname not in _FILLERS
    ]
    if done[-1].opname == "RAISE_VARARGS":
        done.pop()  # the exception to raise was constructed just before
    exit_ = done.pop()
    if not any(each.argval in _EXITS and _place(each) == _place(exit_) for each in (*done, exit_)):
        return "SystemExit"
    if not done or _place(done[-1]) == _place(exit_):
        return None
    kind, said = done[-1].opname, done[-1].argval
    if kind in _TEXTS:
        return "SystemExit"
    if kind in _NAMES:
        return failure(SystemExit(main.f_globals.get(said)))
    return failure(SystemExit(said)) if kind in _CONSTANTS else None


def _place(instruction: dis.Instruction) -> tuple[int | None, int | None]:
    """Return where the instruction's source begins: a call begins with the name of the called function."""
    assert instruction.positions is not None
    return instruction.positions.lineno, instruction.positions.col_offset
