"""`recis.bridge.ending`: whatever ends a training, the run reports the cause."""

import os
import signal
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from recis.bridge.ending import Terminated, failure
from recis.wire.messages import Status
from tests.recis.bridge.conftest import Spooled

OPENING = """
import atexit, os, signal, sys, threading, time, traceback
from sys import exit as leave
from sys import exit
import recis.monitor

def init(name="r"):
    return recis.monitor.init(run_id=name, mode="offline", spool_dir="spool")

def handled(end):
    try:
        raise RuntimeError("diverged")
    except Exception:
        traceback.print_exc()
        end(1)

def main(status=None):
    return status

def deep(error):
    raise error

run = init() if __name__ == "__main__" else None
run and run.log({"loss": 1.0}, step=1)
"""

FINISHED = ("finished", "")


@dataclass(frozen=True)
class Ending:
    """The last action of a script, its exit status, and the state of its run."""

    code: str
    status: int
    state: tuple[str, str]
    how: str = "script"


def failed(text: str) -> tuple[str, str]:
    return ("failed", text)


IN_THREAD = """
def work():
    if {reports}:
        run.log({{"loss": 2.0}}, step=2)
    raise RuntimeError("diverged")

thread = threading.Thread(target=work)
thread.start()
thread.join()
"""

CHILDREN = """
import multiprocessing

def train(end):
    child = init("child-" + end)
    child.log({"loss": 1.0}, step=1)
    if end == "raise":
        raise RuntimeError("diverged")
    if end == "exit":
        sys.exit("no data")
    if end == "status":
        handled(sys.exit)
    if end == "finish":
        child.finish()
        raise RuntimeError("diverged")

if __name__ == "__main__":
    run.finish()
    context = multiprocessing.get_context(METHOD)
    children = [context.Process(target=train, args=(end,)) for end in ("return", "raise", "exit", "status", "finish")]
    for child in children:
        child.start()
    for child in children:
        child.join()
"""

ENDINGS = {
    "returns": Ending("", 0, FINISHED),
    "exits with 0": Ending("sys.exit(0)", 0, FINISHED),
    "exits with what main returned": Ending("sys.exit(main())", 0, FINISHED),
    "exits with a failure that main returned": Ending("sys.exit(main(4))", 4, failed("SystemExit: 4")),
    "exits with a text": Ending("sys.exit('no data')", 1, failed("SystemExit: no data")),
    "exits with another object": Ending("sys.exit(0.0)", 1, failed("SystemExit: 0.0")),
    "exits while an exception is handled": Ending("handled(sys.exit)", 1, failed("RuntimeError: diverged")),
    "calls the built-in exit": Ending("handled(__builtins__.exit)", 1, failed("RuntimeError: diverged")),
    "exits by a name of its own": Ending("exit(3)", 3, failed("SystemExit: 3")),
    "exits by a name of its own with 0": Ending("exit()", 0, FINISHED),
    "exits by a name of its own with what main returned": Ending("exit(main())", 0, FINISHED),
    "raises SystemExit": Ending("raise SystemExit", 0, FINISHED),
    "raises SystemExit with a number": Ending("raise SystemExit(3)", 3, failed("SystemExit: 3")),
    "raises SystemExit with a text": Ending("raise SystemExit('no data')", 1, failed("SystemExit: no data")),
    "raises SystemExit with a made text": Ending("raise SystemExit(f'no {run.id}')", 1, failed("SystemExit")),
    "raises SystemExit with a variable": Ending("s = main(3)\nraise SystemExit(s)", 3, failed("SystemExit: 3")),
    "raises SystemExit with a variable that is 0": Ending("s = main(0)\nraise SystemExit(s)", 0, FINISHED),
    "exits with a status of more than eight bits": Ending("sys.exit(256)", 0, FINISHED),
    "raises SystemExit with what main returned": Ending("raise SystemExit(main())", 0, FINISHED),
    "raises SystemExit from deeper": Ending("deep(SystemExit(3))", 3, failed("SystemExit")),
    "catches an exit": Ending("try:\n    sys.exit(1)\nexcept SystemExit:\n    pass", 0, FINISHED),
    "catches an exit, and exits well": Ending("try:\n    sys.exit(1)\nexcept SystemExit:\n    sys.exit()", 0, FINISHED),
    "raises after an exit that was caught": Ending(
        "try:\n    sys.exit()\nexcept SystemExit:\n    pass\ndeep(ValueError('bad'))",
        1,
        failed("ValueError: bad"),
        "module",
    ),
    "catches an exit, and exits by a failure": Ending(
        "try:\n    sys.exit(0)\nexcept SystemExit:\n    sys.exit(3)", 3, failed("SystemExit: 3")
    ),
    "raises": Ending("raise RuntimeError('boom')", 1, failed("RuntimeError: boom")),
    "raises under a hook of somebody else": Ending(
        "sys.excepthook = lambda *_: None\ndeep(RuntimeError('boom'))", 1, failed("RuntimeError: boom")
    ),
    "raises what cannot be shown": Ending(
        "class Bad(Exception):\n    def __str__(self):\n        return 1\ndeep(Bad())", 1, failed("Bad")
    ),
    "raises what is no text": Ending("deep(ValueError('\\ud800'))", 1, failed("ValueError: ?")),
    "is interrupted": Ending("os.kill(os.getpid(), signal.SIGINT)\ntime.sleep(9)", -2, failed("KeyboardInterrupt")),
    "is terminated": Ending("os.kill(os.getpid(), signal.SIGTERM)\ntime.sleep(9)", 143, failed("Terminated: SIGTERM")),
    "is hung up": Ending("os.kill(os.getpid(), signal.SIGHUP)\ntime.sleep(9)", 129, failed("Terminated: SIGHUP")),
    "has a thread that failed": Ending(IN_THREAD.format(reports=True), 0, failed("RuntimeError: diverged")),
    "has a thread that failed, and exits": Ending(
        IN_THREAD.format(reports=True) + "sys.exit(2)", 2, failed("RuntimeError: diverged")
    ),
    "has a thread that failed, and goes on": Ending(
        IN_THREAD.format(reports=True) + "run.log({'loss': 3.0}, step=3)", 0, FINISHED
    ),
    "has a thread that failed and starts it again": Ending(
        IN_THREAD.format(reports=True)
        + "thread = threading.Thread(target=run.log, args=({'loss': 2.0}, 2))\nthread.start()\nthread.join()",
        0,
        FINISHED,
    ),
    "has a thread that failed beside": Ending(IN_THREAD.format(reports=False), 0, FINISHED),
    "has a thread that exits": Ending(
        "thread = threading.Thread(target=sys.exit, args=(1,))\nthread.start()\nthread.join()", 0, FINISHED
    ),
    "fails in an exit handler": Ending("atexit.register(deep, RuntimeError('late'))", 0, FINISHED),
    "leaves a with by an exit": Ending("with run:\n    sys.exit(0)", 0, FINISHED),
    "leaves a with by a failing exit": Ending("with run:\n    sys.exit(2)", 2, failed("SystemExit: 2")),
    "has finished before": Ending("run.finish()\nsys.exit(1)", 1, FINISHED),
    "forks, and the child fails": Ending(
        "if os.fork() == 0:\n    deep(RuntimeError('of the child'))\nassert os.wait()[1] == 256", 0, FINISHED
    ),
    "forks, and the child has a run": Ending(
        "run.finish()\nif os.fork() == 0:\n    init('child')\n    sys.exit('of the child')\nos.wait()", 0, FINISHED
    ),
    "is a module": Ending("sys.exit(3)", 3, failed("SystemExit: 3"), "module"),
    "is a module that returns": Ending("", 0, FINISHED, "module"),
    "is a command": Ending("raise SystemExit(3)", 3, failed("SystemExit: 3"), "command"),
    "is a session": Ending("typo\nrun.log({'loss': 2.0}, step=2)\nleave(1)", 1, FINISHED, "session"),
    "is a session after a script": Ending("deep(RuntimeError('boom'))", 0, FINISHED, "session after"),
    "has forked children": Ending(CHILDREN.replace("METHOD", "'fork'"), 0, FINISHED),
    "has spawned children": Ending(CHILDREN.replace("METHOD", "'spawn'"), 0, FINISHED),
    "has children of a server": Ending(CHILDREN.replace("METHOD", "'forkserver'"), 0, FINISHED),
}

OF_CHILDREN = {
    "child-return": FINISHED,
    # Since Python 3.13 the exception is no longer available at the end of a child.
    "child-raise": failed(
        "RuntimeError: diverged" if sys.version_info < (3, 13) else "an exception has ended the process"
    ),
    "child-exit": failed("SystemExit: no data"),
    "child-status": failed("RuntimeError: diverged"),
    "child-finish": FINISHED,
}


def end(ending: Ending, folder: Path) -> tuple[int, dict[str, tuple[str, str]]]:
    """Run a script to its end; return its exit status, and the state of each of its runs."""
    folder.mkdir()
    code = textwrap.dedent(OPENING) + ending.code + "\n"
    (folder / "train.py").write_text(code, encoding="utf-8")
    arguments = {
        "script": ["train.py"],
        "module": ["-m", "train"],
        "command": ["-c", code],
        "session": ["-i", "-q"],
        "session after": ["-i", "-q", "train.py"],
    }[ending.how]
    typed = {"session": code.replace("\n\n", "\n").replace("\ndef", "\n\ndef").replace("\nrun =", "\n\nrun =")}
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("RECIS_", "PYTHON"))}
    done = subprocess.run(
        [sys.executable, *arguments],
        input=typed.get(ending.how, ""),
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    states: dict[str, tuple[str, str]] = {}
    for path in sorted((folder / "spool").iterdir()):
        last = Spooled(path).of(Status)[-1]
        assert isinstance(last, Status)
        states[path.name.rsplit("-", 2)[0]] = (last.state, last.message)
    assert "Error in atexit" not in done.stderr
    return done.returncode, states


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, dict[str, tuple[str, str]]]]:
    folder = tmp_path_factory.mktemp("ends")
    with ThreadPoolExecutor(4) as pool:
        pending = {name: pool.submit(end, ending, folder / str(n)) for n, (name, ending) in enumerate(ENDINGS.items())}
        return {name: done.result() for name, done in pending.items()}


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", ENDINGS)
def test_a_run_says_how_its_script_has_ended(
    name: str, ends: dict[str, tuple[int, dict[str, tuple[str, str]]]]
) -> None:
    status, states = ends[name]
    assert status == ENDINGS[name].status
    assert states.pop("r") == ENDINGS[name].state
    if "children" in name:
        assert states == OF_CHILDREN
    elif "the child has" in name:
        assert states == {"child": failed("SystemExit: of the child")}
    else:
        assert states == {}


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (None, None),
        (SystemExit(), None),
        (SystemExit(0), None),
        (SystemExit(False), None),
        (SystemExit(256), None),  # the status of a process has eight bits
        (SystemExit(0.0), "SystemExit: 0.0"),
        (SystemExit(""), "SystemExit"),
        (SystemExit(2, 3), "SystemExit: (2, 3)"),
        (GeneratorExit(), None),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (ValueError("a: "), "ValueError: a"),
        (Terminated(signal.SIGTERM), "Terminated: SIGTERM"),
    ],
)
def test_what_an_exception_says_of_a_training(error: BaseException | None, text: str | None) -> None:
    assert failure(error) == text


@pytest.mark.parametrize(
    ("code", "text"), [(1, "RuntimeError: diverged"), ("no data", "SystemExit: no data"), (0, None)]
)
def test_an_exit_with_a_number_speaks_for_the_exception_that_it_was_called_for(code: object, text: str | None) -> None:
    def leave() -> None:
        try:
            raise RuntimeError("diverged")
        except RuntimeError:
            sys.exit(code)  # type: ignore[arg-type]

    with pytest.raises(SystemExit) as caught:
        leave()
    assert failure(caught.value) == text
