"""`recis.bridge.sync`: folders that belong to somebody, damaged ones, and the bar on a terminal."""

import os
import pty
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path

import pytest

import recis.monitor
from recis.bridge.address import ServerAddress
from recis.bridge.spool import find_left_over
from recis.bridge.sync import send_folder
from recis.cli import main
from recis.monitor import Run
from tests.e2e.processes import COMMAND, RunningCommand, until
from tests.recis.bridge.conftest import Spooled

NOWHERE = "http://127.0.0.1:9"
Opener = Callable[..., Run]


def test_an_empty_folder_is_nothing_to_send(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["sync", str(tmp_path), "--url", NOWHERE]) == 0
    assert "nothing to send" in capsys.readouterr().out


def test_what_a_living_process_writes_is_left_to_it(
    open_offline: Opener, spooled: Spooled, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_offline(run_id="alive") as run:
        run.log({"a": 1.0}, 1)
        assert main(["sync", str(spooled.root), "--url", NOWHERE]) == 0
    assert "still being written" in capsys.readouterr().out


def test_without_a_server_everything_is_kept(open_offline: Opener, spooled: Spooled) -> None:
    with open_offline(run_id="kept") as run:
        run.log({"a": 1.0, "b": 2.0}, 1)
    [folder] = find_left_over(spooled.root)
    said: list[tuple[int, int]] = []
    progress = lambda done, total: said.append((done, total))  # noqa: E731
    assert send_folder(folder, ServerAddress.parse(NOWHERE), timeout_s=5, progress=progress) is False
    assert said[-1] == (0, 2)
    assert spooled.values() == {"a": [(1, 1.0)], "b": [(1, 2.0)]}


def test_a_spool_that_is_damaged_is_named_and_the_others_are_sent(
    open_offline: Opener, spooled: Spooled, capsys: pytest.CaptureFixture[str]
) -> None:
    open_offline(run_id="bad").finish()
    [folder] = find_left_over(spooled.root)
    (folder / "writer.json").write_text("{not json")
    assert main(["sync", str(spooled.root), "--url", NOWHERE]) == 1
    assert f"cannot read {folder}" in capsys.readouterr().err


@pytest.mark.slow
def test_a_spool_of_another_version_stays_on_disk_and_is_said_each_time(
    open_offline: Opener, spooled: Spooled, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("before", "now"):
        with open_offline(run_id=name) as run:
            run.log({"a": 1.0}, 1)
    before, now = find_left_over(spooled.root)
    [segment] = before.glob("*.seg")
    data = bytearray(segment.read_bytes())
    data[8:12] = (1).to_bytes(4, sys.byteorder)
    segment.write_bytes(data)
    with RunningCommand(tmp_path, "serve") as server:
        address = server.wait_for(r"Listening on (http://\S+)")
        for _ in range(2):
            command = [COMMAND, "sync", str(spooled.root), "--url", address]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 1
            assert f"{before.name}: NOT sent, kept" in done.stdout
            assert "expected spool layout 2, got 1" in done.stderr
            assert segment.read_bytes() == data
            assert not now.exists(), "what can be read is sent"
        # The next training in the same spool leaves it where it is, too.
        with recis.monitor.init(address, run_id="next", spool_dir=str(spooled.root)) as run:
            run.log({"a": 1.0}, 1)
            until(lambda: "expected spool layout 2, got 1" in caplog.text, 30, "a warning")
    assert segment.read_bytes() == data
    assert find_left_over(spooled.root) == [before]


@pytest.mark.slow
def test_a_terminal_sees_a_bar_that_fills_up(open_offline: Opener, spooled: Spooled, tmp_path: Path) -> None:
    with open_offline(run_id="bar") as run:
        for step in range(500):
            run.log({"a": 1.0, "b": 2.0}, step)
    with RunningCommand(tmp_path, "serve") as server:
        address = server.wait_for(r"Listening on (http://\S+)")
        terminal, end = pty.openpty()
        termios.tcsetwinsize(end, (24, 100))
        command = [COMMAND, "sync", str(spooled.root), "--url", address]
        with subprocess.Popen(command, stdout=end, stderr=subprocess.STDOUT) as process:
            os.close(end)
            output = b""
            try:
                while piece := os.read(terminal, 4096):
                    output += piece
            except OSError:  # how a pseudo-terminal says that nobody writes any more
                pass
            assert process.wait(30) == 0
        os.close(terminal)
    text = output.decode()
    assert "100%|" in text
    assert "1.00k/1.00k" in text
    assert ": sent" in text
