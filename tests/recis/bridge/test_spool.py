"""`recis.bridge.spool`: what a killed process left is found again; what is foreign is left aside."""

import subprocess
import sys
from pathlib import Path

import pytest

from recis.bridge.outbox import Outbox
from recis.bridge.segment import HEADER
from recis.bridge.spool import SpoolFolder, find_left_over, is_local


@pytest.mark.parametrize("data", [b"PK\x03\x04 something else entirely", HEADER.pack(b"RECISSPL", 99, 1, 0)])
def test_a_foreign_file_is_left_aside_with_a_warning(
    tmp_path: Path, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "00000001.seg").write_bytes(data)
    folder = SpoolFolder(tmp_path)
    assert (folder.segments(), folder.aside) == ([], 1)
    assert "expected" in caplog.text
    assert (tmp_path / "00000001.seg").read_bytes() == data


@pytest.mark.parametrize("size", [0, 4096])
def test_a_segment_that_a_kill_left_unbegun_is_empty_and_nothing_to_report(
    tmp_path: Path, size: int, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "00000001.seg").write_bytes(bytes(size))
    folder = SpoolFolder(tmp_path)
    outbox = Outbox(tmp_path, segments=folder.segments())
    assert (outbox.pending(), outbox.frame(0), folder.aside, caplog.text) == ((0, 0), None, 0, "")
    outbox.append_row(("a",), (1.0,), 1, 1)
    assert outbox.cut() == 1
    outbox.ack(1)
    assert outbox.close()
    assert not list(tmp_path.iterdir())


def test_a_living_writer_keeps_its_folder_and_a_dead_one_gives_it_up(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from recis.bridge.spool import SpoolFolder\n"
        "folder = SpoolFolder(Path(sys.argv[1])); folder.create({'run': 'r'})\n"
        "print('ready', flush=True); sys.stdin.read()"
    )
    place = tmp_path / "writer"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(place)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        assert not SpoolFolder(place).acquire()
        process.kill()
    with SpoolFolder(place) as folder:
        assert folder.acquire()
        assert folder.identity() == {"run": "r"}


def test_left_over_folders_are_found_by_their_root_or_by_themselves(tmp_path: Path) -> None:
    for name in ("a", "b"):
        with SpoolFolder(tmp_path / name) as folder:
            folder.create({})
    (tmp_path / "unfinished").mkdir()
    assert find_left_over(tmp_path) == [tmp_path / "a", tmp_path / "b"]
    assert find_left_over(tmp_path / "a") == [tmp_path / "a"]


def test_removing_the_last_folder_removes_the_root(tmp_path: Path) -> None:
    root = tmp_path / "recis-spool"
    with SpoolFolder(root / "a") as first, SpoolFolder(root / "b") as second:
        first.create({})
        second.create({})
        first.remove()
        assert root.exists()
        second.remove()
        assert not root.exists()


def test_recovered_frames_have_their_numbers_points_and_drops(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    outbox.append_row(("a", "b"), (1.0, 2.0), 1, 0)
    outbox.cut()
    outbox.append_row(("c",), (3.0,), 2, 0)
    outbox.append_row(("a", "b"), (4.0, 5.0), 2, 0)
    outbox.cut()
    [segment] = SpoolFolder(tmp_path).segments()
    assert [(span.n, span.points) for span in segment.frames] == [(1, 2), (2, 3)]


def test_network_file_systems_are_recognised(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(
        "/dev/vda / ext4 rw 0 0\n"
        f"server:/export {tmp_path}/share nfs4 rw 0 0\n"
        f"/dev/b {tmp_path}/share/local xfs rw 0 0\n"
    )
    assert is_local(tmp_path, mounts)
    assert not is_local(tmp_path / "share" / "deep", mounts)
    assert is_local(tmp_path / "share" / "local" / "x", mounts)
    assert is_local(tmp_path, tmp_path / "no such list")
