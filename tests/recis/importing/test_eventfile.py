"""Files as streams of frames: whatever was acknowledged, the rest is sent once."""

import math
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tensorboardX.proto.event_pb2 import Event

from recis.importing import eventfile
from recis.importing.attempts import Extent
from recis.importing.eventfile import EventFile, find_files
from recis.wire.codec import decode_client, encode, points_columns
from recis.wire.messages import Frame, Points, Status
from tests.recis.importing.writing import scalar_event, write_events

Row = tuple[str, int, int, float]


def rows(frames: list[Frame]) -> list[Row]:
    """Return tag, step, time and value, in order of arrival for each tag."""
    found: list[Row] = []
    for frame in frames:
        assert decode_client(encode(frame)) == frame
        for record in frame.records:
            if isinstance(record, Points):
                steps, times, values = points_columns(record)
                for key, column in zip(record.keys, values, strict=True):
                    found += [(key, *row) for row in zip(steps.tolist(), times.tolist(), column.tolist(), strict=True)]
    return sorted(found, key=lambda row: row[0])


def check_numbers(frames: list[Frame], acked: int, end: int) -> None:
    """Check that frames cover all numbers after the acknowledged one, each once, and that the last one ends the run."""
    for frame in frames:
        assert frame.n - frame.span == acked
        acked = frame.n
    assert acked == end
    ends = [any(isinstance(record, Status) for record in frame.records) for frame in frames]
    assert ends == [False] * (len(frames) - 1) + [True]


EVENTS = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(-3, 20), st.floats(width=32, allow_nan=False)), max_size=25
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(EVENTS, min_size=1, max_size=4), st.integers(1, 8), st.data())
def test_imports_that_are_cut_and_repeated_while_the_file_grows(
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    growth: list[list[tuple[str, int, float]]],
    most: int,
    data: st.DataObject,
) -> None:
    monkeypatch.setattr(eventfile, "FRAME_POINTS", most)
    root = tmp_path_factory.mktemp("logs")
    path = root / "events.out.tfevents.1"
    expected: list[Row] = []
    stored: list[Frame] = []
    acked = 0
    for number, events in enumerate(growth):
        records = []
        for place, (tag, step, value) in enumerate(events):
            time_ns = 1_700_000_000 * 10**9 + (number * 100 + place) * 2**20
            records.append(scalar_event(tag, value, step, time_ns / 1e9))
            expected.append((tag, step, time_ns, value))
        write_events(path, records)
        size = path.stat().st_size
        for last in (False, True):
            frames = list(EventFile(path, root, "p").frames(acked))
            if frames:
                check_numbers(frames, acked, size)
            # The connection breaks after some of them; the next attempt succeeds.
            kept = frames if last else frames[: data.draw(st.integers(0, len(frames)))]
            stored += kept
            acked = kept[-1].n if kept else acked
        assert list(EventFile(path, root, "p").frames(acked)) == []
    got = [(tag, step, round(time / 2**20), value) for tag, step, time, value in rows(stored)]
    assert got == [
        (tag, step, round(time / 2**20), value) for tag, step, time, value in sorted(expected, key=lambda row: row[0])
    ]


def test_a_frame_is_bounded_in_bytes_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eventfile, "FRAME_BYTES", 5000)
    path = tmp_path / "events.out.tfevents.1"
    write_events(path, [scalar_event(f"{number:04d}" + "x" * 600, 1.0, 1, 1.0) for number in range(100)])
    frames = list(EventFile(path, tmp_path, "p").frames(0))
    assert len(frames) > 10
    assert max(len(encode(frame)) for frame in frames) < 10_000
    assert len({row[0] for row in rows(frames)}) == 100


def test_values_of_one_event_share_their_steps(tmp_path: Path) -> None:
    path = tmp_path / "events.out.tfevents.1"
    event = Event(wall_time=1.5, step=3)
    event.summary.value.add(tag="a", simple_value=1.0)
    event.summary.value.add(tag="b", simple_value=2.0)
    write_events(path, [event.SerializeToString()])
    (frame,) = EventFile(path, tmp_path, "p").frames(0)
    together, _ = frame.records
    assert isinstance(together, Points)
    assert together.keys == ("a", "b")
    assert rows([frame]) == [("a", 3, 1_500_000_000, 1.0), ("b", 3, 1_500_000_000, 2.0)]


def test_odd_times_and_names_are_mended(tmp_path: Path) -> None:
    path = tmp_path / "events.out.tfevents.1"
    write_events(path, [scalar_event("a\nb", 1.0, 1, math.nan), scalar_event("", 2.0, 1, 1e300)], began_s=math.inf)
    file = EventFile(path, tmp_path, "p")
    assert file.extent() == Extent(1, 0, {"a\nb": (1, 1), "": (1, 1)})
    assert rows(list(file.frames(0))) == [
        ("(empty)~e3b0c442", 1, 0, 2.0),
        ("a\N{REPLACEMENT CHARACTER}b~7e18f737", 1, 0, 1.0),
    ]


def test_what_a_file_covers(tmp_path: Path) -> None:
    path = tmp_path / "events.out.tfevents.1"
    start = Event(wall_time=5.0, step=7)
    start.session_log.status = 1
    points = [("a", 7, 6.0), ("b", 2, 9.0), ("a", 3, 8.0), ("a", 5, 7.0)]
    write_events(
        path,
        [start.SerializeToString(), *(scalar_event(tag, 1.0, step, time_s) for tag, step, time_s in points)],
        began_s=4.0,
    )
    file = EventFile(path, tmp_path, "p")
    second = 10**9
    assert file.extent() == Extent(4 * second, 9 * second, {"a": (3, 7), "b": (2, 2)}, purges_from=7)
    assert file.extent(alone=True) == Extent(4 * second, 6 * second, {"a": (7, 7)}, purges_from=7)


def test_names_that_are_no_utf8_are_mended_and_stay_apart(tmp_path: Path) -> None:
    root = tmp_path / os.fsdecode(b"caf\xe9")
    names = [b"m\xfcller", b"m\xf6ller", b"new\nline", b"new\tline"]
    for name in names:
        write_events(root / os.fsdecode(name) / os.fsdecode(b"x.tfevents.\xff"), [scalar_event("a", 1.0, 1, 1.0)])
    write_events(root / "x.tfevents", [])
    files = [EventFile(path, root, "pro\udcff") for path in find_files(root)]
    assert all(decode_client(encode(file.hello)) == file.hello for file in files)
    for of_each in ("run", "name", "writer"):
        assert len({getattr(file.hello, of_each) for file in files}) == 5
    assert all(file.hello.name.isprintable() for file in files)
    assert files[0].hello.config["tensorboard"].endswith("caf\\xe9")


def test_a_file_that_has_become_shorter_is_another_file(tmp_path: Path) -> None:
    path = tmp_path / "events.out.tfevents.1"
    write_events(path, [scalar_event("a", 1.0, 1, 1.0)])
    with pytest.raises(ValueError, match="expected more than the 1000 bytes imported earlier"):
        list(EventFile(path, tmp_path, "p").frames(1000))


def test_what_is_damaged_ends_the_file(tmp_path: Path) -> None:
    path = tmp_path / "events.out.tfevents.1"
    write_events(path, [scalar_event("a", 1.0, 1, 1.0)])
    whole = path.stat().st_size
    path.write_bytes(path.read_bytes() + b"\xff" * 20)
    file = EventFile(path, tmp_path, "p")
    frames = list(file.frames(0))
    check_numbers(frames, 0, whole)
    assert file.damage is not None
    assert file.damage.offset == whole


def test_folders_are_runs_and_files_are_attempts(tmp_path: Path) -> None:
    root = tmp_path / "my logs"
    for name in ("events.out.tfevents.1", "deep/er/events.out.tfevents.2", "deep/er/x.tfevents.3", "ä/e.tfevents"):
        write_events(root / name, [])
    (root / "deep" / "notes.txt").write_text("")
    (root / "deep" / "back").symlink_to(root)
    files = [EventFile(path, root, "p") for path in find_files(root)]
    assert [file.hello.name for file in files] == ["my logs", "deep/er", "deep/er", "ä"]
    runs = [file.hello.run for file in files]
    assert runs[1] == runs[2]
    assert len(set(runs)) == 3
    assert runs[0].startswith("my-logs-")
    assert runs[1].startswith("deep-er-")
    assert len({file.hello.writer for file in files}) == 4
    assert len({file.hello.attempt for file in files}) == 4
    again = [EventFile(path, root, "p").hello for path in find_files(root)]
    assert again == [file.hello for file in files]
    assert EventFile(find_files(root)[0], root, "other").hello.run != runs[0]
    assert all(decode_client(encode(file.hello)) == file.hello for file in files)
    assert files[0].extent() is None
