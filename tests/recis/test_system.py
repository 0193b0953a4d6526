"""`recis.system`: the implementations for each system, and runs of the bridge without the modules of POSIX."""

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from recis import system
from tests.e2e.processes import COMMAND, RunningCommand
from tests.faults.reports import address_of, counts, raw_series, serve

pytestmark = pytest.mark.timeout(300)  # a run in a separate process takes long on a busy machine

WINDOWS = Path(__file__).parent / "windows"
ROWS = """
import sys
import recis.monitor
address, spool, run_id, *how = sys.argv[1:]
run = recis.monitor.init(address or None, mode="online" if address else "offline", spool_dir=spool, run_id=run_id)
for step in range(30_000):
    run.log({"a": step, "b": -step, "c": 0.5}, step)
assert run.dropped == 0
if how:
    import os
    os._exit(9)  # as a kill does
assert run.finish(timeout_s=60) == bool(address)
"""
"""Several segments."""


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restrict child processes to what Windows has."""
    monkeypatch.setenv("PYTHONPATH", str(WINDOWS))


def run_script(*arguments: str) -> int:
    command = [sys.executable, "-W", "error", "-c", ROWS, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 9), done.stderr
    assert "Traceback" not in done.stderr
    return done.returncode


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCommand]:
    with serve(tmp_path_factory.mktemp("server")) as running:
        address_of(running)
        yield running


@pytest.mark.slow
def test_a_run_and_what_others_have_left_arrive_from_windows(
    server: RunningCommand, tmp_path: Path, bare: None
) -> None:
    address, spool = address_of(server), tmp_path / "spool"
    assert run_script("", str(spool), "offline") == 0
    assert run_script("", str(spool), "killed", "kill") == 9
    assert len(list(spool.iterdir())) == 2
    done = subprocess.run([COMMAND, "sync", str(spool), "--url", address], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not spool.exists(), "expected the files to go when they were closed"
    assert run_script(address, str(spool), "online") == 0
    assert not spool.exists()
    for run in ("offline", "killed", "online"):
        assert {key: number for key, number in counts(address, run).items() if len(key) == 1} == {
            "a": 30_000,
            "b": 30_000,
            "c": 30_000,
        }
        [series] = raw_series(address, run, "b")
        assert series["last"] == [-float(step) for step in range(30_000)]


@pytest.mark.slow
def test_on_windows_a_folder_belongs_to_one_process(tmp_path: Path, bare: None) -> None:
    script = """
import subprocess, sys
from pathlib import Path
from recis.bridge.spool import SpoolFolder, writer_lives
path, is_other = Path(sys.argv[1]), len(sys.argv) > 2
if is_other:
    folder = SpoolFolder(path)
    print(folder.acquire(), writer_lives(path))
else:
    with SpoolFolder(path) as folder:
        import os, socket
        folder.create({"run": "r", "writer": "w", "pid": os.getpid(), "host": socket.gethostname(), "started_ns": 5})
        assert writer_lives(path)
        answer = subprocess.run([sys.executable, "-c", CODE, str(path), "other"], capture_output=True, text=True)
        assert answer.stdout.split() == ["False", "True"], answer
        folder.remove()
    assert not path.exists()
"""
    script = f"CODE = {script!r}\n{script}"
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "r-0-w")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", ["serve", "export r --format csv"])
def test_on_windows_the_server_says_in_one_line_that_it_does_not_run(command: str, bare: None) -> None:
    done = subprocess.run([COMMAND, *command.split()], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == (
        "recis-monitor: the server runs on Linux and macOS; on Windows, run it in WSL or in a container\n"
    )


def test_without_an_own_call_room_is_taken_by_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "posix_fallocate", raising=False)
    place = tmp_path / "room"
    with place.open("wb") as file:
        system.allocate(file.fileno(), (3 << 20) + 5)
    assert place.read_bytes() == bytes((3 << 20) + 5)
    assert place.stat().st_blocks * 512 >= 3 << 20

    def full(descriptor: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "write", full)
    with place.open("wb") as file, pytest.raises(OSError, match="full"):
        system.allocate(file.fileno(), 1)


def test_a_locked_file_is_locked_for_all_others_until_it_is_closed(tmp_path: Path) -> None:
    place = tmp_path / "lock"
    with place.open("a+b") as first, place.open("a+b") as second:
        assert system.try_lock(first)
        assert not system.try_lock(second)
        first.close()
        assert system.try_lock(second)


def test_living_processes_are_told_from_ended_ones() -> None:
    assert system.is_process_alive(os.getpid())
    assert system.is_process_alive(1), "expected another user's process to be one"
    child = subprocess.Popen([sys.executable, "-c", ""])
    assert child.wait() == 0
    assert not system.is_process_alive(child.pid)
    assert not system.is_process_alive(1 << 70)


def test_a_forked_child_calls_what_it_was_told(capfd: pytest.CaptureFixture[str]) -> None:
    script = """
import os
from recis.system import after_fork_in_child
after_fork_in_child(lambda: print("in the child", os.getpid() != parent, flush=True))
parent = os.getpid()
pid = os.fork()
if pid == 0:
    os._exit(0)
os.waitpid(pid, 0)
"""
    subprocess.run([sys.executable, "-c", script], check=True)
    assert capfd.readouterr().out == "in the child True\n"


def test_a_synced_folder_is_closed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    system.sync_folder(tmp_path)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(synced[0])
