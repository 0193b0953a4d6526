"""`recis.bridge.outbox`: rows become frames, numbers stay with their records, the oldest are dropped and counted."""

import contextlib
import errno
import os
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recis.bridge import frames as frames_module
from recis.bridge import outbox_writer as module
from recis.bridge.outbox import Outbox
from recis.bridge.records import ROW_VALUES, Item, items_of
from recis.bridge.spool import SpoolFolder
from recis.wire.codec import decode_client, encode, points_columns
from recis.wire.messages import Event, Frame, Line, Points
from tests.effort import examples

Row = tuple[int, str, float]


def rows_of(frame: Frame) -> list[Row]:
    """Return (step, key, value) of every value in the frame."""
    found: list[Row] = []
    for record in frame.records:
        if isinstance(record, Points):
            steps, _, values = points_columns(record)
            for key, line in zip(record.keys, values, strict=True):
                found.extend((int(step), key, float(value)) for step, value in zip(steps, line, strict=True))
    return found


def frames_of(outbox: Outbox) -> list[Frame]:
    frames, after = [], 0
    while (frame := outbox.reader.frame(after)) is not None:
        frames.append(frame)
        after = frame.n
    return frames


@pytest.fixture(params=["file", "memory"])
def outbox(request: pytest.FixtureRequest, tmp_path: Path) -> Outbox:
    return Outbox(tmp_path if request.param == "file" else None)


def test_rows_of_one_layout_become_columns_in_order(outbox: Outbox) -> None:
    for step in range(5):
        outbox.writer.append_report(("loss", "qps"), (step / 10, 100.0 + step), step, 5_000_999 + 1000 * step)
    assert outbox.reader.seal() == 1
    frame = outbox.reader.frame(0)
    assert frame is not None
    [points] = frame.records
    assert isinstance(points, Points)
    steps, times, values = points_columns(points)
    np.testing.assert_array_equal(steps, range(5))
    np.testing.assert_array_equal(times, range(5_000_000, 5_005_000, 1000))  # whole microseconds
    np.testing.assert_array_equal(values, [[0, 0.1, 0.2, 0.3, 0.4], [100, 101, 102, 103, 104]])


def test_other_records_travel_in_the_same_frame(outbox: Outbox) -> None:
    event = Event(kind="alert", time_ns=1, text="Loss is NaN", step=3)
    outbox.writer.append(event)
    outbox.writer.append_report(("loss",), (1.0,), 3, 2)
    outbox.reader.seal()
    frame = outbox.reader.frame(0)
    assert frame is not None
    assert event in frame.records
    assert rows_of(frame) == [(3, "loss", 1.0)]


def test_a_frame_keeps_its_records_whatever_comes_later(outbox: Outbox) -> None:
    outbox.writer.append_report(("a",), (1.0,), 1, 0)
    assert outbox.reader.seal() == 1
    before = outbox.reader.frame(0)
    outbox.writer.append_report(("a",), (2.0,), 2, 0)
    assert outbox.reader.seal() == 2
    assert outbox.reader.frame(0) == before
    assert outbox.reader.frame(2) is None


def test_an_empty_seal_makes_no_frame(outbox: Outbox) -> None:
    assert outbox.reader.seal() == 0
    outbox.writer.append_report(("a",), (1.0,), 1, 0)
    assert outbox.reader.seal() == 1
    assert outbox.reader.seal() == 1
    assert outbox.reader.pending() == (1, 1)


def test_acknowledged_segments_go_and_numbering_goes_on(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    for step in range(60_000):
        outbox.writer.append_report(("a", "b", "c"), (1.0, 2.0, 3.0), step, 0)
    last = outbox.reader.seal()
    files = len(list(tmp_path.glob("*.seg")))
    assert files >= 2
    outbox.reader.ack(last)
    assert outbox.reader.first_frame() == last + 1
    assert len(list(tmp_path.glob("*.seg"))) == 1
    outbox.writer.append_report(("a", "b", "c"), (1.0, 2.0, 3.0), 60_000, 0)
    assert outbox.reader.seal() == last + 1
    outbox.reader.ack(last + 1)
    assert outbox.close()
    assert not list(tmp_path.glob("*.seg"))


@pytest.mark.parametrize("bad", [("x", 1.0), (10**400, 1.0), (1.0,), (1.0, 2.0, 3.0)])
def test_a_row_that_is_none_leaves_no_trace(outbox: Outbox, bad: tuple[Any, ...]) -> None:
    outbox.writer.append_report(("a", "b"), (1.0, 2.0), 1, 0)
    with pytest.raises((struct.error, TypeError, OverflowError)):
        outbox.writer.append_report(("a", "b"), bad, 2, 0)
    outbox.writer.append_report(("a", "b"), (3.0, 4.0), 3, 0)
    outbox.reader.seal()
    frame = outbox.reader.frame(0)
    assert frame is not None
    assert rows_of(frame) == [(1, "a", 1.0), (3, "a", 3.0), (1, "b", 2.0), (3, "b", 4.0)]


def test_a_record_larger_than_a_segment_is_refused(outbox: Outbox) -> None:
    with pytest.raises(ValueError, match="expected a record of at most"):
        outbox.writer.append(Line(time_ns=0, text="x" * (2 << 20)))


def test_the_bound_drops_the_oldest_and_counts_the_points(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path, max_bytes=3 * module.SEGMENT_BYTES)
    total = 150_000
    for step in range(total):
        outbox.writer.append_report(("a", "b", "c"), (1.0, 2.0, 3.0), step, 0)
    outbox.reader.seal()
    kept = [row for frame in frames_of(outbox) for row in rows_of(frame)]
    assert outbox.dropped > 0
    assert len(kept) + outbox.dropped == 3 * total
    assert max(step for step, _, _ in kept) == total - 1
    assert sum(path.stat().st_size for path in tmp_path.glob("*.seg")) <= 3 * module.SEGMENT_BYTES
    newest = frames_of(outbox)[-1]
    assert newest.dropped == outbox.dropped


def test_a_process_killed_after_a_drop_has_the_count_in_its_spool(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path, max_bytes=2 * module.SEGMENT_BYTES)
    steps = count()
    while not outbox.dropped:
        outbox.writer.append_report(("a", "b", "c"), (1.0, 2.0, 3.0), next(steps), 0)
    # As after a SIGKILL: only the files remain.
    left = Outbox(tmp_path, segments=SpoolFolder(tmp_path).segments())
    kept = sum(len(rows_of(frame)) for frame in frames_of(left))
    assert left.dropped == outbox.dropped
    assert frames_of(left)[-1].dropped == outbox.dropped
    assert kept + left.dropped == 3 * next(steps)


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Take all disk space from now on; undone by `monkeypatch.undo`."""

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    return lambda: monkeypatch.setattr(os, "posix_fallocate", full)


@pytest.mark.slow
def test_without_room_on_disk_everything_goes_through_memory(
    tmp_path: Path, full_disk: Callable[[], None], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    outbox = Outbox(tmp_path)
    full_disk()
    for step in range(200_000):
        outbox.writer.append_report(("a",), (1.0,), step, 0)
    monkeypatch.undo()
    for step in range(200_000, 300_000):
        outbox.writer.append_report(("a",), (1.0,), step, 0)
    outbox.reader.seal()
    assert [step for frame in frames_of(outbox) for step, _, _ in rows_of(frame)] == list(range(300_000))
    assert outbox.dropped == 0
    assert caplog.text.count("continuing in memory") == 1
    assert not outbox.close()
    assert "are lost" in caplog.text


@pytest.mark.slow
def test_memory_is_bounded_too_when_the_disk_stays_full(tmp_path: Path, full_disk: Callable[[], None]) -> None:
    outbox = Outbox(tmp_path)
    outbox.writer.append_report(("a", "b"), (1.0, 2.0), 0, 0)
    full_disk()
    total = (module.MEMORY_SEGMENTS + 3) * module.SEGMENT_BYTES // 40
    for step in range(1, total):
        outbox.writer.append_report(("a", "b"), (1.0, 2.0), step, 0)
    outbox.reader.seal()
    frames = frames_of(outbox)
    steps = [step for frame in frames for step, key, _ in rows_of(frame) if key == "a"]
    assert outbox.dropped > 0
    assert frames[-1].dropped == outbox.dropped
    assert 2 * len(steps) + outbox.dropped == 2 * total
    assert steps == list(range(steps[0], total)), "the oldest goes first"


@pytest.mark.parametrize(
    ("width", "chars"),
    [(ROW_VALUES, 512), (ROW_VALUES + 1, 512), (2 * ROW_VALUES, 12), (2 * ROW_VALUES + 1, 12), (20_000, 100)],
)
def test_a_report_of_any_width_is_there_whole_and_once(outbox: Outbox, width: int, chars: int) -> None:
    """Its names fit into a row, into a segment, or only into several segments."""
    keys = tuple(f"{number:06d}".ljust(chars, "x") for number in range(width))
    for step in range(3):
        outbox.writer.append_report(keys, [step + number / 8 for number in range(width)], step, 0)
    outbox.reader.seal()
    assert outbox.reader.pending()[1] == 3 * width
    frames = frames_of(outbox)
    assert all(len(encode(frame)) <= 4 << 20 and decode_client(encode(frame)) == frame for frame in frames)
    found = sorted(row for frame in frames for row in rows_of(frame))
    assert found == [(step, key, step + number / 8) for step in range(3) for number, key in enumerate(keys)]


@pytest.mark.parametrize("width", [ROW_VALUES, 2 * ROW_VALUES + 1])
@pytest.mark.parametrize("change", ["missing", "too many", "last is none"])
def test_a_wide_report_that_is_none_leaves_no_trace(outbox: Outbox, width: int, change: str) -> None:
    keys = tuple(f"m{number}" for number in range(width))
    values: list[Any] = [0.5] * width
    if change == "missing":
        del values[-1]
    else:
        values[-1:] = ["x"] if change == "last is none" else [0.5, 0.5]
    with pytest.raises((struct.error, TypeError)):
        outbox.writer.append_report(keys, values, 1, 0)
    assert outbox.reader.seal() == 0


REPORTS = [
    *(("a",), ("a", "b"), ("b", "a"), ("c",)),
    *(tuple(f"w{number}" for number in range(width)) for width in (3, 4, 6, 7)),
    tuple(f"{number}".ljust(100, "x") for number in range(50)),
]
"""Of one row and of several, with the property test's bounds; and one that does not fit a segment."""
OPERATIONS = st.lists(
    st.tuples(st.just("report"), st.sampled_from(REPORTS), st.floats(allow_nan=False))
    | st.tuples(st.just("seal"))
    | st.tuples(st.just("ack"), st.integers(0, 6))
    | st.tuples(st.just("restart")),
    max_size=40,
)


@settings(max_examples=examples(150), deadline=None)
@given(OPERATIONS)
def test_whatever_happens_every_value_is_in_exactly_one_frame(
    tmp_path_factory: pytest.TempPathFactory, operations: list[tuple[Any, ...]]
) -> None:
    """Compare with a model: reports, seals, acknowledgements and kills in any order lose or duplicate nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "ROW_VALUES", 3)
        patch.setattr(module, "SEGMENT_BYTES", 4096)
        check_operations(tmp_path_factory.mktemp("spool"), operations)


def check_operations(folder: Path, operations: list[tuple[Any, ...]]) -> None:
    outbox = Outbox(folder)
    written: list[Row] = []
    server: dict[int, list[Row]] = {}
    for step, operation in enumerate(operations):
        if operation[0] == "report":
            keys, value = operation[1], operation[2]
            outbox.writer.append_report(keys, [value] * len(keys), step, 0)
            written.extend((step, key, value) for key in keys)
        elif operation[0] == "seal":
            outbox.reader.seal()
        elif operation[0] == "ack":
            for frame in frames_of(outbox):
                if frame.n <= operation[1]:
                    assert server.setdefault(frame.n, rows_of(frame)) == rows_of(frame)
            outbox.reader.ack(min(operation[1], max(server, default=0)))
        else:  # a kill: mapped data stays in the files, and nothing is closed
            outbox = Outbox(folder, segments=SpoolFolder(folder).segments())
            outbox.reader.ack(max(server, default=0))
    outbox.reader.seal()
    for frame in frames_of(outbox):
        assert server.setdefault(frame.n, rows_of(frame)) == rows_of(frame)
    assert sorted(row for rows in server.values() for row in rows) == sorted(written)


WRITER = """
import sys, time
from pathlib import Path
from types import FrameType
from recis.bridge.outbox import Outbox
outbox = Outbox(Path(sys.argv[1]))
step = 0
while True:
    outbox.writer.append_report(("a", "b"), (float(step), -float(step)), step, 0)
    sys.stdout.write(f"{step}\\n")
    sys.stdout.flush()
    step += 1
    if step % 1000 == 0:
        outbox.reader.seal()
"""


def test_a_killed_writer_loses_nothing_for_which_the_call_returned(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) >= 5000:
                break
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read().splitlines()
    last_said = int(rest[-1]) if rest and rest[-1] else 5000
    outbox = Outbox(tmp_path, segments=SpoolFolder(tmp_path).segments())
    steps = sorted(step for frame in frames_of(outbox) for step, key, _ in rows_of(frame) if key == "a")
    assert steps == list(range(len(steps)))
    assert steps[-1] >= last_said - 1


def test_many_threads_lose_nothing(outbox: Outbox) -> None:
    def work(number: int) -> None:
        for step in range(500):
            outbox.writer.append_report((f"thread{number}",), (float(step),), step, 0)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        outbox.reader.seal()
    for thread in threads:
        thread.join()
    outbox.reader.seal()
    rows = [row for frame in frames_of(outbox) for row in rows_of(frame)]
    assert len(rows) == len(set(rows)) == 2000


def test_a_frame_costs_what_is_in_it_however_many_are_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox = Outbox(tmp_path)
    looked_at = 0

    def counting(data: memoryview, start: int, stop: int) -> Iterator[Item]:
        nonlocal looked_at
        for item in items_of(data, start, stop):
            looked_at += 1
            yield item

    monkeypatch.setattr(frames_module, "items_of", counting)
    for step in range(500):
        outbox.writer.append_report(("a", "b"), (step, -step), step, 0)
        frame = outbox.reader.frame(outbox.reader.seal() - 1)
        assert frame is not None
        assert rows_of(frame) == [(step, "a", step), (step, "b", -step)]
    assert looked_at <= 3 * 500, "rows and names of earlier frames were read again"


def test_rows_of_mixed_layouts_come_back_in_their_order(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    layouts = [("a",), ("a", "b"), ("c",), ("a", "b")]
    said: dict[tuple[str, ...], list[tuple[int, float]]] = {keys: [] for keys in layouts}
    for step in range(3000):
        # Alone, in pairs, and in runs longer than the number compared at a time.
        keys = layouts[step % 2 if step < 100 else step // 7 % 4 if step < 1000 else step // 900 % 4]
        outbox.writer.append_report(keys, [step / (place + 2) for place in range(len(keys))], step, 1000 * step + 1)
        said[keys].append((step, step / 2))
    frame = outbox.reader.frame(outbox.reader.seal() - 1)
    assert frame is not None
    for points in frame.records:
        assert isinstance(points, Points)
        steps, times, values = points_columns(points)
        assert list(zip(steps.tolist(), values[0].tolist(), strict=True)) == said.pop(points.keys)
        assert (times == 1000 * steps).all()
        assert (values[-1] == steps / (len(points.keys) + 1)).all()
    assert not said


def spool_in(folder: Path, num_segments: int) -> tuple[Outbox, int]:
    """Fill this many segments and begin another, with a frame every hundred rows; return the outbox and the number of
    rows.
    """
    steps = count()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SEGMENT_BYTES", 64 << 10)
        outbox = Outbox(folder, writer="w")
        while len(outbox._queue.closed) < num_segments:
            step = next(steps)
            outbox.writer.append_report(("a", "b"), (step, -step), step, 1000)
            if step % 100 == 99:
                outbox.reader.seal()
    outbox.reader.seal()
    return outbox, next(steps)


def bit_flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "rows_lost"),
    [
        (Path.unlink, range(1400, 1700)),
        (lambda path: os.truncate(path, 0), range(1400, 1700)),
        (lambda path: os.truncate(path, path.stat().st_size // 2), range(700, 850)),
        (bit_flipped, range(1, 2)),
        (lambda path: (path.unlink(), path.mkdir()), range(1400, 1700)),
    ],
)
def test_a_file_that_is_changed_behind_a_living_process_costs_what_was_in_it_and_is_counted(
    tmp_path: Path, damage: Callable[[Path], None], rows_lost: range
) -> None:
    outbox, total = spool_in(tmp_path, 3)
    damage(tmp_path / "00000002.seg")
    found = [step for frame in frames_of(outbox) for step, key, _ in rows_of(frame) if key == "a"]
    assert total - len(found) in rows_lost
    assert sorted(set(found)) == found
    assert {0, total - 1} <= set(found)
    assert outbox.dropped == outbox.set_aside.values == 2 * (total - len(found))
    assert frames_of(outbox)[-1].dropped == outbox.dropped, "counted once"
    outbox.reader.seal()
    [event] = [record for record in frames_of(outbox)[-1].records if isinstance(record, Event)]
    assert event.kind == "not_sent"
    outbox.reader.ack(outbox.reader.newest_frame)
    assert outbox.close()
    # The next process counts the same losses, once.
    assert Outbox(tmp_path).dropped == 2 * (total - len(found))


@pytest.mark.parametrize("how", ["deleted", "emptied", "zeroed"])
@pytest.mark.parametrize("has_ended", [True, False])
@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_whole_file_that_is_gone_is_noticed_wherever_that_can_be_known(
    tmp_path: Path, how: str, has_ended: bool, number: int
) -> None:
    outbox, _ = spool_in(tmp_path, 2)
    outbox.writer.prepare()
    if has_ended:
        outbox.close()
    path = tmp_path / f"{number:08d}.seg"
    if how == "deleted":
        path.unlink()
    else:
        path.write_bytes(b"" if how == "emptied" else bytes(path.stat().st_size))
    left = Outbox(tmp_path, segments=SpoolFolder(tmp_path).segments())
    # The first one may have been acknowledged and therefore deleted.
    assert len(left.set_aside) == (number > 1 or how != "deleted")
    assert Outbox(tmp_path, segments=SpoolFolder(tmp_path).segments()).set_aside.values == 0


def test_a_file_that_cannot_be_opened_for_the_moment_is_read_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox, total = spool_in(tmp_path, 1)

    def none_left(*_: Any) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", none_left)
        with pytest.raises(OSError, match="Too many"):
            outbox.reader.frame(0)
    assert sum(len(rows_of(frame)) for frame in frames_of(outbox)) == 2 * total
    assert outbox.dropped == 0


def test_a_record_that_could_not_be_sent_is_refused_where_it_is_given(outbox: Outbox) -> None:
    for bad in (
        Line(time_ns="now", text="x"),  # type: ignore[arg-type]
        Event(kind="alert", time_ns=1, text="x", level="fatal"),  # type: ignore[arg-type]
        Line(time_ns=1 << 70, text="x"),
        Line(time_ns=1, text="\ud800"),
    ):
        with pytest.raises((ValueError, OverflowError)):
            outbox.writer.append(bad)
    outbox.writer.append(Line(time_ns=1, text="right"))
    outbox.reader.seal()
    [frame] = frames_of(outbox)
    assert frame.records == (Line(time_ns=1, text="right"),)


def test_a_new_segment_that_is_interrupted_at_any_line_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The interruption is an exception from a signal handler, such as KeyboardInterrupt."""
    monkeypatch.setattr(module, "SEGMENT_BYTES", 1 << 16)
    outbox = Outbox(tmp_path)
    here = str(Path(module.__file__).parent)
    lines_left = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal lines_left
        if not frame.f_code.co_filename.startswith(here):
            return None
        if event == "line":
            lines_left -= 1
            if lines_left == 0:
                raise KeyboardInterrupt
        return trace

    for step in range(400):
        outbox.writer.append_report(("a",), (float(step),), step, 0)
        lines_left = step + 1
        before = sys.gettrace()
        sys.settrace(trace)
        with contextlib.suppress(KeyboardInterrupt):
            outbox.writer._roll()
        sys.settrace(before)
        if lines_left > 0:
            break
        outbox.writer._roll()
    assert 40 < step < 399
    outbox.reader.seal()
    rows = [row for frame in frames_of(outbox) for row in rows_of(frame)]
    assert sorted(rows) == [(number, "a", float(number)) for number in range(step + 1)]
    outbox.writer.close()
