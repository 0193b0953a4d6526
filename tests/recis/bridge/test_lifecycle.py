"""`recis.bridge.lifecycle`: what happens to an open run at a fork, a signal and the end of a script."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from recis.monitor import Run
from recis.wire.messages import Status
from tests.recis.bridge.conftest import Spooled

Opener = Callable[..., Run]


@pytest.fixture
def run(open_offline: Opener) -> Iterator[Run]:
    with open_offline(run_id="r1") as run:
        yield run


def test_a_forked_child_touches_neither_spool_nor_sender(run: Run, spooled: Spooled) -> None:
    run.log({"parent": 1.0}, 1)
    child = os.fork()
    if child == 0:
        run.log({"child": 1.0}, 2)
        os._exit(0 if not run.is_open else 1)
    assert os.waitpid(child, 0)[1] == 0
    run.log({"parent": 2.0}, 3)
    run.finish()
    assert spooled.values() == {"parent": [(1, 1.0), (3, 2.0)]}


def test_sigterm_flushes_and_marks_the_run(spooled: Spooled) -> None:
    opening = f"import recis.monitor as m, time; m.init(mode='offline', spool_dir={str(spooled.root)!r})"
    code = f"{opening}\nm.log({{'a': 1.0}})\nprint('ready', flush=True)\ntime.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.terminate()
        assert process.wait(20) == 143
    last = spooled.of(Status)[-1]
    assert isinstance(last, Status)
    assert (last.state, last.message) == ("failed", "Terminated: SIGTERM")


def test_a_sigterm_handler_of_the_users_stays(open_offline: Opener) -> None:
    def mine(*_: object) -> None: ...

    before = signal.signal(signal.SIGTERM, mine)
    try:
        open_offline(run_id="r").finish()
        assert signal.getsignal(signal.SIGTERM) is mine
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize(
    ("ending", "state", "message"),
    [("", "finished", ""), ("raise RuntimeError('boom')", "failed", "RuntimeError: boom")],
)
def test_a_script_that_just_ends_is_marked(spooled: Spooled, ending: str, state: str, message: str) -> None:
    opening = f"import recis.monitor as m; m.init(mode='offline', spool_dir={str(spooled.root)!r})"
    code = f"{opening}\nm.log({{'a': 1.0}})\n{ending}"
    subprocess.run([sys.executable, "-c", code], check=False, stderr=subprocess.DEVNULL)
    last = spooled.of(Status)[-1]
    assert isinstance(last, Status)
    assert (last.state, last.message) == (state, message)
    assert spooled.values() == {"a": [(0, 1.0)]}
