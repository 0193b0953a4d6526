"""Children that are forked behave like those that `subprocess` starts."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.children import start

pytestmark = pytest.mark.slow
SCRIPT = """
import atexit, json, os, sys
atexit.register(print, "bye")
print(json.dumps([sys.argv, sys.path[0], os.getcwd(), os.environ["COLOUR"], __name__, os.getsid(0) == os.getpid()]))
sys.stdout.flush()
code = int(sys.stdin.readline())
print("error", file=sys.stderr)
sys.exit(code)
"""


@pytest.mark.parametrize("kind", ["code", "script", "module"])
def test_a_child_is_what_subprocess_starts(tmp_path: Path, kind: str) -> None:
    script = tmp_path / "child_module.py"
    script.write_text(SCRIPT, encoding="utf-8")
    arguments = {"code": ["-c", SCRIPT], "script": [str(script)], "module": ["-m", script.stem]}[kind]
    environment = os.environ | {"COLOUR": "red"}
    options: dict[str, Any] = {"cwd": tmp_path, "env": environment, "start_new_session": True}
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    told = []
    with (
        start(*arguments, "-x", "2", **options, **pipes) as forked,
        subprocess.Popen([sys.executable, *arguments, "-x", "2"], text=True, **options, **pipes) as started,
    ):
        for child in (forked, started):
            assert child.stdin is not None
            assert child.stdout is not None
            assert child.stderr is not None
            told.append([child.stdout.readline()])
            child.stdin.write("7\n")
            child.stdin.flush()
            told[-1] += [child.wait(30), child.stdout.read(), child.stderr.read()]
    assert told[0] == told[1]


def test_a_child_is_waited_for_and_ended_by_signals() -> None:
    with start("-c", "import time; time.sleep(100)") as child:
        assert child.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(0.01)
        child.kill()
        assert child.wait(30) == child.poll() == -signal.SIGKILL
        child.terminate()


def test_an_error_of_a_child_ends_it_with_1_and_a_traceback(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w+") as log, start("-c", "1 / 0", stdout=log, stderr=subprocess.STDOUT) as child:
        assert child.wait(30) == 1
        log.seek(0)
        assert "ZeroDivisionError" in log.read()
