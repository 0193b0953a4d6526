"""`recis.bridge.spool`: data of a killed process is found again; damaged or foreign data is left out and reported."""

import json
import os
import random
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from recis.bridge.outbox import Outbox
from recis.bridge.segment import Segment
from recis.bridge.spool import SpoolFolder, find_left_over, is_local
from recis.wire.messages import Event

IDENTITY = {"run": "r", "writer": "w", "pid": 1, "host": "elsewhere", "started_ns": 5}


@pytest.mark.parametrize("size", [24, 1 << 10])
@pytest.mark.parametrize("version", [2, 99])
def test_a_segment_of_another_version_stays_where_it_is(
    tmp_path: Path, version: int, size: int, caplog: pytest.LogCaptureFixture
) -> None:
    data = struct.pack("=8sIIQ", b"RECISSPL", version, 1, 0).ljust(size, b"x")
    (tmp_path / "00000001.seg").write_bytes(data)
    folder = SpoolFolder(tmp_path)
    assert (folder.segments(), folder.num_kept, len(folder.set_aside)) == ([], 1, 0)
    assert f"expected spool format 3, got {version}" in caplog.text
    assert (tmp_path / "00000001.seg").read_bytes() == data


@pytest.fixture
def writer(tmp_path: Path) -> Path:
    """A folder with three segments of one frame each, as a killed process leaves it."""
    place = tmp_path / "spool" / "r-0-0123abcd"
    with SpoolFolder(place) as folder:
        folder.create(IDENTITY)
        for number in (1, 2, 3):
            segment = Segment.create(number, 4096, place, "w")
            segment.begin(number - 1, 0)
            segment.append_row(struct.pack("=qdq", number, 0.5, 1), segment.add_layout(("a",)))
            segment.close(number, 0, is_final=True)
    return place


def numbers(writer: Path) -> tuple[list[int], int]:
    """Check the reported damage; return the numbers of the frames that can be sent, and the number of losses."""
    folder = SpoolFolder(writer)
    outbox = Outbox(writer, segments=folder.segments(), writer="w", set_aside=folder.set_aside)
    found, after = [], 0
    while (frame := outbox.reader.frame(after)) is not None:
        after = frame.n
        if not any(isinstance(record, Event) and record.kind == "not_sent" for record in frame.records):
            found.append(after)
    return found, len(folder.set_aside)


def exchanged(writer: Path) -> None:
    (writer / "00000001.seg").rename(writer / "x.seg")
    (writer / "00000002.seg").rename(writer / "00000001.seg")
    (writer / "x.seg").rename(writer / "00000002.seg")


def in_place_of_the_second(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def change(writer: Path) -> None:
        (writer / "00000002.seg").unlink()
        make(writer / "00000002.seg")

    return change


def of_another_writer(path: Path) -> None:
    segment = Segment.create(2, 4096, path.parent, "somebody else")
    segment.begin(1, 0)
    segment.append_row(struct.pack("=qdq", 2, 666.0, 1), segment.add_layout(("a",)))
    segment.close(2, 0, is_final=True)


GONE = 1
"""Also that a frame is missing between two others is noted."""


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda _: None, ([1, 2, 3], 0)),
        (exchanged, ([1, 2, 3], 0)),
        (lambda writer: (writer / "00000002.seg").rename(writer / "any name.seg"), ([1, 2, 3], 0)),
        (lambda writer: (writer / "00000002.seg").rename(writer / os.fsdecode(b"\xff\xfe.seg")), ([1, 2, 3], 0)),
        (lambda writer: shutil.copy(writer / "00000002.seg", writer / "00000009.seg"), ([1, 2, 3], 1)),
        (lambda writer: shutil.copy(writer / "00000002.seg", writer / os.fsdecode(b"\xff.seg")), ([1, 2, 3], 1)),
        (lambda writer: (writer / "00000009.seg").symlink_to(writer / "00000002.seg"), ([1, 2, 3], 1)),
        (lambda writer: (writer / "00000009.seg").write_bytes(b"PK\x03\x04 something else entirely"), ([1, 2, 3], 1)),
        (lambda writer: (writer / "notes.txt").write_text("mine"), ([1, 2, 3], 0)),
        (in_place_of_the_second(lambda _: None), ([1, 3], GONE)),
        (in_place_of_the_second(Path.touch), ([1, 3], GONE)),
        (in_place_of_the_second(lambda path: path.write_bytes(bytes(4096))), ([1, 3], GONE)),
        (in_place_of_the_second(Path.mkdir), ([1, 3], 1 + GONE)),
        (in_place_of_the_second(os.mkfifo), ([1, 3], 1 + GONE)),
        (in_place_of_the_second(lambda path: path.symlink_to("/no/such/file")), ([1, 3], 1 + GONE)),
        (in_place_of_the_second(lambda path: path.symlink_to(path)), ([1, 3], GONE)),
        (in_place_of_the_second(lambda path: path.write_bytes(random.Random(1).randbytes(4096))), ([1, 3], 1 + GONE)),
        (in_place_of_the_second(lambda path: os.truncate(path.parent / "00000003.seg", 1 << 40)), ([1], 1)),
        (in_place_of_the_second(of_another_writer), ([1, 3], 1 + GONE)),
    ],
)
def test_whatever_lies_in_a_folder_what_is_right_is_sent_and_nothing_else(
    writer: Path, change: Callable[[Path], None], expected: tuple[list[int], int]
) -> None:
    change(writer)
    assert numbers(writer) == expected
    assert numbers(writer) == expected, "noted once"


def test_a_file_that_cannot_be_read_now_stays_for_a_later_time(writer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = os.open

    def denied(path: Path, *arguments: int) -> int:
        if str(path).endswith("00000002.seg"):
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *arguments)

    monkeypatch.setattr(os, "open", denied)
    folder = SpoolFolder(writer)
    assert [segment.number for segment in folder.segments()] == [1, 3]
    assert (folder.num_kept, len(folder.set_aside)) == (1, 0)


def test_a_writer_file_with_any_other_byte_says_nothing(writer: Path) -> None:
    data = (writer / "writer.json").read_bytes()
    chance = random.Random(3)
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= 1 << chance.randrange(8)
        (writer / "writer.json").write_bytes(changed)
        with pytest.raises(ValueError, match="matches its checksum"):
            SpoolFolder(writer).identity()
    for other in (b"", data[:-1], data + b"\n", data[:40], bytes(len(data)), json.dumps(IDENTITY).encode()):
        (writer / "writer.json").write_bytes(other)
        with pytest.raises(ValueError, match="matches its checksum"):
            SpoolFolder(writer).identity()
    (writer / "writer.json").write_bytes(data)
    assert SpoolFolder(writer).identity() == IDENTITY


def test_segments_without_a_writer_file_are_found_and_said(writer: Path) -> None:
    (writer / "writer.json").unlink()
    for root in (writer, writer.parent):
        assert find_left_over(root) == [writer]
    other = writer.parent / "of another program"
    other.mkdir()
    (other / "00000001.seg").touch()
    assert find_left_over(writer.parent) == [writer]
    assert find_left_over(other) == find_left_over(writer / "none") == []
    with pytest.raises(ValueError, match="the run of the segments"):
        SpoolFolder(writer).identity()


def test_a_folder_without_its_lock_is_taken_unless_its_writer_lives(writer: Path) -> None:
    (writer / "lock").unlink()
    with SpoolFolder(writer) as folder:
        assert folder.acquire()
        assert not SpoolFolder(writer).acquire()
    alive = writer.parent / "alive"
    with SpoolFolder(alive) as folder:
        folder.create({**IDENTITY, "pid": os.getpid(), "host": os.uname().nodename})
        (alive / "lock").unlink()
        assert not SpoolFolder(alive).acquire()


def test_what_is_set_aside_stays_and_is_found_no_more(writer: Path) -> None:
    (writer / "00000009.seg").write_bytes(b"no segment")
    with SpoolFolder(writer) as folder:
        assert folder.acquire()
        outbox = Outbox(writer, segments=folder.segments(), writer="w", set_aside=folder.set_aside)
        outbox.reader.seal()
        outbox.reader.ack(outbox.reader.newest_frame)
        assert outbox.close()
        folder.remove()
    assert sorted(path.name for path in writer.iterdir()) == ["set-aside"]
    kept = writer / "set-aside"
    assert sorted(path.name for path in kept.iterdir()) == ["00000009.seg", "lost.json", "writer.json"]
    assert (kept / "00000009.seg").read_bytes() == b"no segment"
    assert find_left_over(writer.parent) == find_left_over(writer) == []


@pytest.mark.parametrize("size", [0, 4096])
def test_a_segment_that_a_kill_left_unbegun_is_empty_and_nothing_to_report(
    tmp_path: Path, size: int, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "00000001.seg").write_bytes(bytes(size))
    folder = SpoolFolder(tmp_path)
    outbox = Outbox(tmp_path, segments=folder.segments())
    assert (outbox.reader.pending(), outbox.reader.frame(0), folder.num_kept, caplog.text) == ((0, 0), None, 0, "")
    outbox.writer.append_report(("a",), (1.0,), 1, 1)
    assert outbox.reader.seal() == 1
    outbox.reader.ack(1)
    assert outbox.close()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("size", [0, 4096])
def test_a_run_whose_only_segment_is_empty_has_lost_it(tmp_path: Path, size: int) -> None:
    with SpoolFolder(tmp_path / "r-0-0123abcd") as folder:
        folder.create(IDENTITY)
        (folder.path / "00000001.seg").write_bytes(bytes(size))
        assert len(folder.segments()) == len(folder.set_aside) == 1


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
    (tmp_path / "file").touch()
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
    outbox.writer.append_report(("a", "b"), (1.0, 2.0), 1, 0)
    outbox.reader.seal()
    outbox.writer.append_report(("c",), (3.0,), 2, 0)
    outbox.writer.append_report(("a", "b"), (4.0, 5.0), 2, 0)
    outbox.reader.seal()
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
