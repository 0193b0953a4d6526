"""`recis-monitor export`: files that are complete or absent, the progress bar on a terminal, and bounded memory."""

import asyncio
import os
import pty
import signal
import stat
import subprocess
import sys
import termios
from pathlib import Path

import httpx
import numpy as np
import pyarrow.parquet as pq
import pytest
from recis_server.cli import main
from recis_server.store.engines.sqlite import SqliteEngine
from recis_server.store.sql import SqlStore
from recis_server.store.values import StoredFrame

from recis.wire.codec import column
from recis.wire.messages import Frame, Hello, Points
from tests.e2e.processes import until
from tests.server.httpserver import serve

FORMS = ["csv", "jsonl", "parquet", "columns"]


def fill(folder: Path, num_points: int, *, per_frame: int = 20_000, run: str = "r") -> None:
    """Create a run with two series in two attempts, the second of which goes back to the middle."""

    async def scenario() -> None:
        store = SqlStore(SqliteEngine(folder / "recis.db"))
        await store.open()
        values = np.random.default_rng(1)
        for attempt, first in (("a", 0), ("b", num_points // 8)):
            row = await store.register(Hello(run=run, writer=attempt, attempt=attempt), 1)
            for number in range(num_points // 4 // per_frame):
                steps = np.arange(first + number * per_frame, first + (number + 1) * per_frame)
                record = Points(
                    ("loss", "auc"),
                    column(steps, "<i8"),
                    column(steps * 10**6, "<i8"),
                    column(values.normal(size=2 * per_frame), "<f8"),
                )
                await store.append(StoredFrame(row, Frame(n=number + 1, records=(record,)), 1))
        await store.close()

    asyncio.run(scenario())


def export(folder: Path, *arguments: str) -> int:
    return main(["export", "r", "--data", str(folder), *arguments])


def test_a_file_is_replaced_when_it_is_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(tmp_path, 800, per_frame=100)
    file = tmp_path / "out.parquet"
    file.write_text("old")
    link = tmp_path / "link"
    link.symlink_to(file)
    assert export(tmp_path, "--format", "parquet", "--key", "auc", "--no-superseded", "-o", str(link)) == 0
    assert link.is_symlink()
    assert pq.read_table(file).num_rows == 300
    assert {path.name for path in tmp_path.iterdir()} >= {"out.parquet", "link"}
    assert not list(tmp_path.glob("*.part")) + list(tmp_path.glob(".*.part"))
    assert capsys.readouterr() == ("", "")


def test_what_cannot_be_written_leaves_the_old_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(tmp_path, 800, per_frame=100)
    file = tmp_path / "out"
    file.write_text("old")
    assert main(["export", "nobody", "--data", str(tmp_path), "--format", "csv", "-o", str(file)]) == 2
    assert export(tmp_path, "--format", "csv", "-o", str(tmp_path / "no" / "out")) == 2
    assert "--output: expected a file that can be written, got" in capsys.readouterr().err
    # A device is written, not replaced; this one is always full.
    assert export(tmp_path, "--format", "csv", "-o", "/dev/full") == 2
    assert "No space left on device" in capsys.readouterr().err
    assert stat.S_ISCHR(Path("/dev/full").stat().st_mode)
    assert file.read_text() == "old"


@pytest.mark.slow
def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    fill(tmp_path, 80_000)
    code = (
        "import resource, signal, sys; from recis_server.cli import main\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (3 << 20, 3 << 20))\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    command = ["export", "r", "--data", str(tmp_path), "--format", "csv", "-o", str(tmp_path / "out.csv")]
    done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--output: expected a file that can be written" in done.stderr
    assert not [path for path in tmp_path.iterdir() if "out.csv" in path.name]


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_export_that_is_interrupted_leaves_no_half_file(tmp_path: Path, how: signal.Signals) -> None:
    fill(tmp_path, 2_000_000)
    out = tmp_path / "out"
    out.mkdir()
    (out / "r.jsonl").write_text("old")
    command = ["export", "r", "--data", str(tmp_path), "--format", "jsonl", "-o", str(out / "r.jsonl")]
    with subprocess.Popen([sys.executable, "-m", "recis_server", *command], stderr=subprocess.PIPE) as process:
        until(lambda: any(part.stat().st_size for part in out.glob(".*.part")), 60, "some of it is written")
        process.send_signal(how)
        said = process.communicate(timeout=30)[1]
        assert process.returncode in (130, -how)
    assert b"Traceback" not in said
    assert (out / "r.jsonl").read_text() == "old"
    # Only SIGKILL leaves a partial file, under a temporary name.
    assert [path.name for path in out.iterdir() if how != signal.SIGKILL or path.suffix != ".part"] == ["r.jsonl"]


@pytest.mark.slow
def test_what_is_no_text_does_not_go_to_a_terminal_and_the_bar_does(tmp_path: Path) -> None:
    fill(tmp_path, 800, per_frame=100)
    outputs = []
    for arguments in (["--format", "csv", "-o", str(tmp_path / "out.csv")], ["--format", "parquet"]):
        terminal, end = pty.openpty()
        termios.tcsetwinsize(end, (24, 100))
        command = [sys.executable, "-m", "recis_server", "export", "r", "--data", str(tmp_path), *arguments]
        with subprocess.Popen(command, stdout=end, stderr=end) as process:
            os.close(end)
            output = b""
            try:
                while piece := os.read(terminal, 4096):
                    output += piece
            except OSError:  # the end of a pseudo-terminal whose writers have closed it
                pass
            outputs.append((process.wait(30), output.decode()))
        os.close(terminal)
    (code, text), (refused, said) = outputs
    assert code == 0
    assert "r: 100%|" in text
    assert "800/800" in text
    assert refused == 2
    assert "--format parquet: expected -o FILE, got a terminal" in said


def peak_bytes(command: list[str]) -> int:
    """Return the peak memory of a process."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_maxrss * 1024


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_the_command_needs_as_much_memory_for_millions_of_hot_points_as_for_few(tmp_path: Path, form: str) -> None:
    num_points = 4_000_000
    fill(tmp_path / "small", 800_000)
    fill(tmp_path / "large", num_points)
    small, large = (
        peak_bytes(
            [sys.executable, "-m", "recis_server", "export", "r", "--format", form, "--data", str(tmp_path / name)]
        )
        for name in ("small", "large")
    )
    assert large - small < num_points * 24 / 2


@pytest.mark.slow
def test_the_server_needs_as_much_memory_for_millions_of_points_as_for_few(tmp_path: Path) -> None:
    num_points = 4_000_000
    fill(tmp_path / "data", num_points)
    fill(tmp_path / "data", num_points // 5, run="few")
    with serve(tmp_path / "data") as server:

        def peak(run: str, form: str) -> int:
            received = 0
            url = f"{server.url}/api/v1/runs/{run}/export?format={form}"
            with httpx.stream("GET", url, timeout=60) as answer:
                for piece in answer.iter_raw():
                    received += len(piece)
            assert received > 6 * (num_points if run == "r" else num_points // 5)
            status = Path(f"/proc/{server.child.pid}/status").read_text()
            return int(status.split("VmHWM:")[1].split()[0]) * 1024

        for form in FORMS:
            before = peak("few", form)
            assert peak("r", form) - before < num_points * 24 / 2, form
