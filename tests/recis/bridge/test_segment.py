"""`recis.bridge.segment`: a kill, a cut file or a crash of the machine invents nothing and loses no whole row."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recis.bridge import outbox as outbox_module
from recis.bridge.outbox import TIME_NS, Outbox
from recis.bridge.segment import HEADER, RECORD, ROW, ROW_KEYS, WIDE_ROW, Segment, items_of
from recis.bridge.spool import SpoolFolder
from recis.wire.codec import points_columns
from recis.wire.messages import Line, Points

SECTOR = 512
WIDE = tuple(f"w{number}" for number in range(ROW_KEYS + 10))
LAYOUTS = [("a",), ("a", "b"), ("c",), WIDE]


def segment_with(folder: Path, *texts: bytes) -> Segment:
    segment = Segment.create(1, 4096, folder)
    for text in texts:
        segment.append(RECORD, text)
    return segment


def payloads(path: Path) -> int:
    return Segment.recover(path).end


def test_a_torn_tail_is_cut(tmp_path: Path) -> None:
    segment = segment_with(tmp_path, b"one", b"two")
    assert segment.path is not None
    whole = segment.end
    segment.append(RECORD, b"three")
    data = bytearray(segment.path.read_bytes())
    data[segment.end - 8] ^= 0xFF
    segment.path.write_bytes(data)
    assert payloads(segment.path) == whole


def test_a_truncated_file_keeps_its_whole_records(tmp_path: Path) -> None:
    segment = segment_with(tmp_path, b"one", b"two")
    assert segment.path is not None
    segment.path.write_bytes(segment.path.read_bytes()[: segment.end - 2])
    assert payloads(segment.path) == HEADER.size + 24


def test_nothing_is_left_when_there_is_no_room(tmp_path: Path) -> None:
    (tmp_path / "00000001.seg").touch()
    with pytest.raises(FileExistsError):
        Segment.create(1, 4096, tmp_path)
    with pytest.raises(OSError, match=r"No space left|File too large"):
        Segment.create(2, 1 << 60, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["00000001.seg"]


Row = tuple[int, str, float]


def write(folder: Path, rows: list[tuple[tuple[str, ...], float]], cuts: set[int], lines: set[int]) -> list[Row]:
    """One row a step, cuts and other records in between; returns what a reader has to find, in order."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outbox_module, "SEGMENT_BYTES", 32 << 10)
        outbox = Outbox(folder)
        outbox.append_row(("a",), [0.0], 0, TIME_NS)
    said: list[Row] = [(0, "a", 0.0)]
    for step, (keys, value) in enumerate(rows, 1):
        outbox.append_row(keys, [value] * len(keys), step, TIME_NS * (step + 1))
        said.extend((step, key, value) for key in keys)
        if step in cuts:
            outbox.cut()
        if step in lines:
            outbox.append(Line(time_ns=1, text=f"line {step}", step=step))
    return said


def read(folder: Path) -> list[Row]:
    """What the next process finds, by step."""
    outbox = Outbox(folder, segments=SpoolFolder(folder).segments())
    found: list[Row] = []
    after = 0
    while (frame := outbox.frame(after)) is not None:
        after = frame.n
        for record in frame.records:
            if isinstance(record, Points):
                steps, times, values = points_columns(record)
                assert (times == TIME_NS * (steps + 1)).all()
                for key, column in zip(record.keys, values, strict=True):
                    found.extend((int(step), key, float(value)) for step, value in zip(steps, column, strict=True))
            else:
                assert isinstance(record, Line)
                assert record.text == f"line {record.step}"
    return sorted(found, key=lambda row: (row[0], row[1]))


ROWS = st.lists(st.tuples(st.sampled_from(LAYOUTS), st.floats(allow_nan=False)), min_size=1, max_size=8)
PLACES = st.sets(st.integers(0, 7), max_size=3)


def whole_rows(data: bytes) -> int:
    """How many rows lie in these bytes, by the layout as it is described."""
    end = len(data)
    return sum(
        (item.stop - item.start) // item.width
        for item in items_of(memoryview(data), HEADER.size, end)
        if item.kind in (ROW, WIDE_ROW)
    )


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(ROWS, PLACES, PLACES)
def test_a_file_cut_anywhere_yields_its_whole_rows_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Any], cuts: set[int], lines: set[int]
) -> None:
    folder = tmp_path_factory.mktemp("spool")
    said = write(folder, rows, cuts, lines)
    [path] = folder.glob("*.seg")
    data = path.read_bytes()
    stop = Segment.recover(path).end
    rows_before = 0
    for length in [*range(HEADER.size, stop - 200, 61), *range(max(HEADER.size, stop - 200), stop + 1)]:
        path.write_bytes(data[:length])
        assert whole_rows(data[:length]) >= rows_before, "a longer file has fewer rows"
        rows_before = whole_rows(data[:length])
        found = read(folder)
        steps = {step for step, _, _ in found}
        assert steps == set(range(rows_before))
        assert found == sorted((row for row in said if row[0] in steps), key=lambda row: (row[0], row[1]))
    assert rows_before == len(rows) + 1


@settings(max_examples=100, deadline=None)
@given(ROWS, PLACES, PLACES, st.sets(st.integers(0, 40), max_size=4), st.integers(0, SECTOR // 8 - 1))
def test_sectors_that_never_reached_the_disk_cost_what_is_behind_them_and_invent_nothing(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[Any],
    cuts: set[int],
    lines: set[int],
    lost: set[int],
    shift: int,
) -> None:
    """A crash of the machine: sectors are there or still zero, in any combination; they may begin anywhere."""
    folder = tmp_path_factory.mktemp("spool")
    said = write(folder, rows, cuts, lines)
    [path] = folder.glob("*.seg")
    data = bytearray(path.read_bytes())
    for sector in lost:
        start = max(HEADER.size, (sector - 1) * SECTOR + 8 * shift)
        stop = sector * SECTOR + 8 * shift
        data[start:stop] = bytes(max(0, stop - start))
    path.write_bytes(data)
    found = read(folder)
    steps = {step for step, _, _ in found}
    assert steps == set(range(len(steps)))
    assert found == sorted((row for row in said if row[0] in steps), key=lambda row: (row[0], row[1]))


@settings(max_examples=100, deadline=None)
@given(ROWS, st.floats(), st.integers(-(1 << 63), (1 << 63) - 1), st.integers(1, (1 << 63) - 1), st.integers(1, 4))
def test_what_a_killed_process_had_written_of_a_row_is_never_read(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Any], value: float, step: int, time_ns: int, stores: int
) -> None:
    """The stores of a row in their order, all but the last: step, values, time, and then its head would have come.

    What is left must not be read as a record behind the cut that the next process makes, whatever numbers they were.
    """
    folder = tmp_path_factory.mktemp("spool")
    said = write(folder, rows, set(), set())
    [path] = folder.glob("*.seg")
    end = Segment.recover(path).end
    data = path.read_bytes()
    segment = Segment.create(99, len(data), None)
    assert segment.words is not None
    assert segment.reals is not None
    assert segment.view is not None
    segment.view[:] = data
    first = end // 8
    for place, store in enumerate([step, value, value, value, time_ns][: stores + 1]):
        if isinstance(store, float):
            segment.reals[first + 1 + place] = store
        else:
            segment.words[first + 1 + place] = store
    path.write_bytes(bytes(segment.view))
    expected = sorted(said, key=lambda row: (row[0], row[1]))
    assert read(folder) == expected
    assert read(folder) == expected, "after the cut of the process that recovered it"


def test_a_row_is_not_longer_than_a_sector(tmp_path: Path) -> None:
    segment = Segment.create(1, 4096, tmp_path)
    assert int.from_bytes(segment.row_head(0, ROW_KEYS).to_bytes(8, "little")[:4], "little") == SECTOR


def test_a_segment_that_its_last_cut_has_filled_has_no_pages_ahead(tmp_path: Path) -> None:
    segment = Segment.create(1, 4096, tmp_path)
    segment.append(RECORD, bytes(segment.room()))
    segment.cut(1, 0)
    assert segment.end == segment.size
    segment.prefault()
    assert [span.n for span in Segment.recover(tmp_path / "00000001.seg").frames] == [1]


def test_preparing_pages_changes_nothing(tmp_path: Path) -> None:
    segment = segment_with(tmp_path, b"one")
    assert segment.path is not None
    before = segment.path.read_bytes()
    segment.prefault()
    assert segment.path.read_bytes() == before
    segment.unmap()
    segment.prefault()
