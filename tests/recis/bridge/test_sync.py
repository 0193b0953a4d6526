"""`recis.bridge.sync`: folders in use, damaged ones, and the progress bar on a terminal."""

import json
import os
import pty
import struct
import subprocess
import termios
from collections.abc import Callable
from pathlib import Path

import pytest

import recis.monitor
from recis.bridge.address import ServerAddress
from recis.bridge.outbox import Outbox
from recis.bridge.spool import SpoolFolder, find_left_over
from recis.bridge.sync import Outcome, send_folder
from recis.cli import main
from recis.monitor import Run
from tests.e2e.processes import COMMAND, RunningCommand, get_json, until
from tests.faults.reports import events, received, stored, sync
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
    assert send_folder(folder, ServerAddress.parse(NOWHERE), timeout_s=5, progress=progress) is Outcome.LEFT
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


@pytest.mark.parametrize("change", [lambda path: path.chmod(0), lambda path: (path / "writer.json").unlink()])
def test_a_folder_that_cannot_be_read_is_no_success(
    open_offline: Opener, spooled: Spooled, capsys: pytest.CaptureFixture[str], change: Callable[[Path], None]
) -> None:
    with open_offline(run_id="closed") as run:
        run.log({"a": 1.0}, 1)
    [folder] = find_left_over(spooled.root)
    change(folder)
    try:
        assert main(["sync", str(spooled.root), "--url", NOWHERE]) == 1
    finally:
        folder.chmod(0o700)
    assert "NOT sent, kept" in capsys.readouterr().out


def test_names_that_are_no_text_can_be_printed(
    open_offline: Opener, spooled: Spooled, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_offline(run_id="named") as run:
        run.log({"a": 1.0}, 1)
    [folder] = find_left_over(spooled.root)
    folder.rename(folder.with_name(os.fsdecode(b"\xff\x1b[2J")))
    assert main(["sync", str(spooled.root), "--url", NOWHERE]) == 1
    assert "1/1 \N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}[2J: NOT sent, kept" in capsys.readouterr().out


@pytest.mark.slow
def test_a_damaged_spool_is_sent_but_for_the_damage_which_is_counted_and_kept(
    open_offline: Opener, spooled: Spooled, tmp_path: Path
) -> None:
    """The spool of an ended run is damaged in a row, in names, in an alert, and another one in `writer.json`."""
    for name in ("hit", "unknown"):
        with open_offline(run_id=name) as run:
            for step in range(1000):
                run.log({"a": step / 7, "b": -step / 7}, step)
            run.alert("mind the gap")
    hit, unknown = find_left_over(spooled.root)
    [segment] = hit.glob("*.seg")
    data = bytearray(segment.read_bytes())
    for piece in (struct.pack("d", 500 / 7), b"\xa1a\xa1b", b"mind the gap"):
        data[data.index(piece) + 1] ^= 16
    segment.write_bytes(data)
    writer = unknown / "writer.json"
    writer.write_bytes(writer.read_bytes().replace(b"unknown", b"unkmown", 1))
    with RunningCommand(tmp_path, "serve") as server:
        address = server.wait_for(r"Listening on (http://\S+)").rstrip("/")
        done = sync(spooled.root, address)
        assert done.returncode == 1, "the other writer's is left"
        assert (
            f"{hit.name}: sent, except for data that was set aside\n  lost 2 values and 1 other record; see"
            in done.stdout
        )
        assert f"cannot read {unknown}" in done.stderr
        steps = [step for step in range(1000) if step != 500]
        assert stored(address, "hit", "a") == [(step, step / 7) for step in steps]
        assert stored(address, "hit", "b") == [(step, -step / 7) for step in steps]
        assert received(address, "hit") == {"points": 1998, "missing": 0, "dropped": 2}
        [event] = events(address, "hit", "not_sent")
        assert "lost 2 values and 1 other record (" in event["text"]
        assert not events(address, "hit", "alert")
        assert [row["id"] for row in get_json(f"{address}/api/v1/runs")["runs"]] == ["hit"]
        kept = {path.name: path.read_bytes() for path in (hit / "set-aside").iterdir()}
        assert kept["00000001.seg"] == data
        assert set(kept) == {"00000001.seg", "lost.json", "writer.json"}
        # Sent data is not reported again; remaining data is.
        again = sync(spooled.root, address)
        assert (again.returncode, again.stdout) == (1, f"1/1 {unknown.name}: NOT sent, kept\n")
        assert sync(hit, address).returncode == 0
        # With its `writer.json` restored, the other one is sent as well.
        writer.write_bytes(writer.read_bytes().replace(b"unkmown", b"unknown", 1))
        assert sync(spooled.root, address).returncode == 0
        assert received(address, "unknown") == {"points": 2000, "missing": 0, "dropped": 0}


@pytest.mark.slow
def test_a_record_that_is_none_and_names_that_are_wrong_keep_nothing_else_from_being_sent(
    open_offline: Opener, spooled: Spooled, tmp_path: Path
) -> None:
    with open_offline(run_id="odd") as run:
        outbox: Outbox = run._outbox  # type: ignore[assignment]
        for step in range(10):
            run.log({"a": float(step)}, step)
            outbox.writer.append_report(("twice", "twice"), (1.0, 2.0), step, 1)
            assert outbox._queue.current is not None
            outbox._queue.current.append(b"\x81\xa1t\xa7declare")
            outbox.reader.seal()
    with RunningCommand(tmp_path, "serve") as server:
        address = server.wait_for(r"Listening on (http://\S+)").rstrip("/")
        done = sync(spooled.root, address)
        assert done.returncode == 3, done.stderr
        assert stored(address, "odd", "a") == [(step, float(step)) for step in range(10)]
        assert received(address, "odd")["dropped"] == 20
        assert get_json(f"{address}/api/v1/runs/odd")["state"] == "finished"
    assert "lost 20 values and 10 other records; see" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("has_old_writer", [True, False])
def test_a_spool_of_another_version_stays_on_disk_and_is_said_each_time(
    open_offline: Opener, spooled: Spooled, tmp_path: Path, caplog: pytest.LogCaptureFixture, has_old_writer: bool
) -> None:
    """A spool as 0.1.0 wrote it, without checksums; and such a segment beside others."""
    for name in ("before", "now"):
        with open_offline(run_id=name) as run:
            run.log({"a": 1.0}, 1)
    before, now = find_left_over(spooled.root)
    segment, said = before / "00000002.seg", "expected spool format 3, got 2"
    if has_old_writer:
        said = "written by another version of recis-monitor"
        (before / "writer.json").write_text(json.dumps(SpoolFolder(before).identity()))
    data = struct.pack("=8sIIQ", b"RECISSPL", 2, 2, 0).ljust(4096, b"\0")
    segment.write_bytes(data)
    with RunningCommand(tmp_path, "serve") as server:
        address = server.wait_for(r"Listening on (http://\S+)")
        for _ in range(2):
            done = sync(spooled.root, address)
            assert done.returncode == 1
            assert f"{before.name}: NOT sent, kept" in done.stdout
            assert said in done.stderr
            assert segment.read_bytes() == data
            assert not now.exists(), "what can be read is sent"
        # The next training in the same spool leaves it in place, too.
        with recis.monitor.init(address, run_id="next", spool_dir=str(spooled.root)) as run:
            run.log({"a": 1.0}, 1)
            until(lambda: said in caplog.text, 30, "a warning")
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
            except OSError:  # the end of a pseudo-terminal whose writers have closed it
                pass
            assert process.wait(30) == 0
        os.close(terminal)
    text = output.decode()
    assert "100%|" in text
    assert "1.00k/1.00k" in text
    assert ": sent" in text
