"""`recis.bridge.segment`: kills, truncated files and machine crashes add no wrong data and lose no complete row."""

import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from recis.bridge import outbox_writer
from recis.bridge.frames import TIME_NS, read_frame
from recis.bridge.outbox import Outbox
from recis.bridge.records import COPIED_NAMES_BYTES, HEADER_BYTES, ROW, Header, items_of
from recis.bridge.recovery import find_layouts
from recis.bridge.segment import Segment
from recis.wire.codec import points_columns
from recis.wire.messages import Line, Points
from tests.effort import examples

SECTOR = 512
WIDE = tuple(f"w{number}" for number in range(71))
LAYOUTS = [("a",), ("a", "b"), ("c",), WIDE]


def segment_with(folder: Path, *payloads: bytes) -> Segment:
    segment = Segment.create(1, 4096, folder)
    for payload in payloads:
        segment.append(payload)
    return segment


def tail_of(path: Path) -> tuple[int, int]:
    """Return the number of records that a stopped process had not sealed, and where they end."""
    segment = Segment.recover(path)
    [span] = segment.frames
    return span.records, span.stop


def test_a_torn_tail_is_left_out(tmp_path: Path) -> None:
    segment = segment_with(tmp_path, b"one", b"two")
    assert segment.path is not None
    whole = segment.end
    segment.append(b"three")
    data = bytearray(segment.path.read_bytes())
    data[segment.end - 8] ^= 0xFF
    segment.path.write_bytes(data)
    assert tail_of(segment.path) == (2, whole)


def test_a_truncated_file_keeps_its_whole_records(tmp_path: Path) -> None:
    segment = segment_with(tmp_path, b"one", b"two")
    assert segment.path is not None
    segment.path.write_bytes(segment.path.read_bytes()[: segment.end - 6])
    assert tail_of(segment.path) == (1, HEADER_BYTES + 24)


def test_nothing_is_left_when_there_is_no_room(tmp_path: Path) -> None:
    (tmp_path / "00000001.seg").touch()
    with pytest.raises(FileExistsError):
        Segment.create(1, 4096, tmp_path)
    with pytest.raises(OSError, match=r"No space left|File too large"):
        Segment.create(2, 1 << 60, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["00000001.seg"]


Row = tuple[int, str, float]


def write(folder: Path, rows: list[tuple[tuple[str, ...], float]], seals: set[int], lines: set[int]) -> list[Row]:
    """Write one row per step, with seals and other records in between; return what a reader must find, in order."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outbox_writer, "SEGMENT_BYTES", 32 << 10)
        outbox = Outbox(folder)
        outbox.writer.append_report(("a",), [0.0], 0, TIME_NS)
    said: list[Row] = [(0, "a", 0.0)]
    for step, (keys, value) in enumerate(rows, 1):
        outbox.writer.append_report(keys, [value] * len(keys), step, TIME_NS * (step + 1))
        said.extend((step, key, value) for key in keys)
        if step in seals:
            outbox.reader.seal()
        if step in lines:
            outbox.writer.append(Line(time_ns=1, text=f"line {step}", step=step))
    return in_order(said)


def in_order(rows: list[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: (row[0], row[1]))


def read(path: Path) -> list[Row]:
    """Return what the next process finds, by step."""
    segment, data = Segment.recover(path), path.read_bytes()
    layouts = find_layouts(data, segment.seed)
    found: list[Row] = []
    for span in segment.frames:
        for record in read_frame(data[span.start : span.stop], span, layouts, segment.seed).records:
            if isinstance(record, Points):
                steps, times, values = points_columns(record)
                assert (times == TIME_NS * (steps + 1)).all()
                for key, column in zip(record.keys, values, strict=True):
                    found.extend((int(step), key, float(value)) for step, value in zip(steps, column, strict=True))
            else:
                assert isinstance(record, Line)
                assert record.text == f"line {record.step}"
    return in_order(found)


def places_of_rows(data: bytes) -> dict[int, slice]:
    """Return the position of the row of each step, from the documented layout."""
    view = memoryview(data)
    return {
        int.from_bytes(data[start + 8 : start + 16], sys.byteorder): slice(start, start + item.width)
        for item in items_of(view, HEADER_BYTES, len(data))
        if item.kind == ROW
        for start in range(item.start, item.stop, item.width)
    }


ROWS = st.lists(st.tuples(st.sampled_from(LAYOUTS), st.floats(allow_nan=False)), min_size=1, max_size=8)
PLACES = st.sets(st.integers(0, 7), max_size=3)


@pytest.mark.slow
@settings(max_examples=examples(25), deadline=None)
@given(ROWS, PLACES, PLACES)
def test_a_file_truncated_anywhere_yields_its_whole_rows_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Any], seals: set[int], lines: set[int]
) -> None:
    folder = tmp_path_factory.mktemp("spool")
    said = write(folder, rows, seals, lines)
    [path] = folder.glob("*.seg")
    data = path.read_bytes()
    places = places_of_rows(data)
    stop = max(place.stop for place in places.values()) + 100
    for length in [*range(HEADER_BYTES, stop - 300, 61), *range(max(HEADER_BYTES, stop - 300), stop + 1, 3)]:
        path.write_bytes(data[:length])
        whole = {step for step, place in places.items() if place.stop <= length}
        assert read(path) == [row for row in said if row[0] in whole]
    assert len(whole) == len(rows) + 1


@settings(max_examples=examples(100), deadline=None)
@given(ROWS, PLACES, PLACES, st.sets(st.integers(0, 40), max_size=4), st.integers(0, SECTOR // 8 - 1))
def test_sectors_that_never_reached_the_disk_cost_what_was_in_them_and_invent_nothing(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[Any],
    seals: set[int],
    lines: set[int],
    lost: set[int],
    shift: int,
) -> None:
    """After a crash of the machine, each sector is either written or still zero; they may begin anywhere."""
    folder = tmp_path_factory.mktemp("spool")
    said = write(folder, rows, seals, lines)
    [path] = folder.glob("*.seg")
    before = path.read_bytes()
    data = bytearray(before)
    for sector in lost:
        start = max(HEADER_BYTES, (sector - 1) * SECTOR + 8 * shift)
        stop = sector * SECTOR + 8 * shift
        data[start:stop] = bytes(max(0, stop - start))
    path.write_bytes(data)
    whole = {step for step, place in places_of_rows(before).items() if data[place] == before[place]}
    assert read(path) == [row for row in said if row[0] in whole]


@settings(max_examples=examples(100), deadline=None)
@given(ROWS, st.floats(), st.integers(-(1 << 63), (1 << 63) - 1), st.integers(1, (1 << 63) - 1), st.integers(1, 4))
def test_what_a_killed_process_had_written_of_a_row_is_never_read_nor_missed(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Any], value: float, step: int, time_ns: int, stores: int
) -> None:
    """All writes of a row in their order except the last: step, values and time, but not the head."""
    folder = tmp_path_factory.mktemp("spool")
    said = write(folder, [*rows, (WIDE, 0.5)], set(), set())  # names are written before their first row
    [path] = folder.glob("*.seg")
    data = bytearray(path.read_bytes())
    first = max(place.stop for place in places_of_rows(bytes(data)).values()) + 8
    words = memoryview(data)[first : first + 40]
    for place, store in enumerate([step, value, value, value, time_ns][: stores + 1]):
        words.cast("d" if isinstance(store, float) else "q")[place] = store
    # A step such as 2^34 looks like the head of a lost row, and is counted as one in the estimate.
    heads = {layout.head >> 32 for layout in find_layouts(bytes(data), Segment.recover(path).seed).values()}
    assume(heads.isdisjoint(word >> 32 for word in words.cast("Q")))
    path.write_bytes(data)
    assert read(path) == said
    assert not Segment.recover(path).damage


@pytest.mark.parametrize("kept", [slice(16, -8), slice(64, None), slice(-64, None), slice(8, 16)])
@pytest.mark.parametrize("original", ["names", "seal"])
def test_a_copy_that_a_kill_cut_short_is_no_damage(tmp_path: Path, original: str, kept: slice) -> None:
    """The bytes of a copy, but for its head, arrive in any order: copying memory need not begin at the first one."""
    segment = Segment.create(1, 1 << 18, tmp_path)
    first = segment.add_layout(("a",))
    segment.append_row(b"".join(number.to_bytes(8, sys.byteorder) for number in (1, 2, 3)), first)
    top = segment.top
    if original == "names":
        keys = tuple(f"metric/{number}" for number in range(2000))
        segment.add_layout(keys)
        top = segment.top
        segment.add_layout(keys)  # names can be written again
    else:
        segment.seal(1, 0)
    assert segment.path is not None
    data = bytearray(segment.path.read_bytes())
    copy = bytes(data[segment.top : top])
    arrived = bytearray(len(copy))
    arrived[kept] = copy[kept]
    data[segment.top : top] = arrived
    segment.path.write_bytes(data)
    found = Segment.recover(segment.path)
    assert found.damage == []
    assert sum(span.points for span in found.frames) == 1


def test_names_are_there_twice_unless_they_are_very_long(tmp_path: Path) -> None:
    segment = Segment.create(1, 1 << 20, tmp_path)
    for keys in (("a", "b"), tuple(f"{number:05d}" for number in range(COPIED_NAMES_BYTES // 5))):
        room, top = segment.room(), segment.top
        segment.add_layout(keys)
        assert room - Segment.room_for_names(keys) <= segment.room() < room
        assert (segment.top < top) == (len(keys) <= 2)
    assert segment.path is not None
    assert segment.path.read_bytes().count(b"\xa1a\xa1b") == 2


def test_a_segment_that_its_last_seal_has_filled_has_no_pages_ahead(tmp_path: Path) -> None:
    segment = Segment.create(1, 4096, tmp_path)
    segment.append(bytes(segment.room()))
    segment.seal(1, 0)
    assert segment.end <= segment.top < segment.end + 16
    segment.prefault()
    assert [span.n for span in Segment.recover(tmp_path / "00000001.seg").frames] == [1]


def test_preparing_pages_changes_nothing(tmp_path: Path) -> None:
    segment = segment_with(tmp_path, b"one")
    assert segment.path is not None
    before = segment.path.read_bytes()
    segment.prefault()
    assert segment.path.read_bytes() == before
    segment.close(1, 0, is_final=True)
    segment.prefault()


@pytest.mark.parametrize("moment", range(4))
def test_a_kill_while_headers_are_written_leaves_one_of_them(tmp_path: Path, moment: int) -> None:
    """Of the two headers, none, a part of one, one, or one and a part of the other are new."""
    segment = segment_with(tmp_path, b"one")
    assert segment.path is not None
    before = segment.path.read_bytes()
    segment.seal(1, 5)
    sealed = segment.path.read_bytes()
    segment.close(2, 5, is_final=True)
    data, end = bytearray(segment.path.read_bytes()), len(before) - HEADER_BYTES
    assert Header.unpack(bytes(data), 0) == Header.unpack(bytes(data), end) != Header.unpack(before, 0)
    if moment < 3:
        data[end:] = sealed[end:]
    else:
        data[-20:] = sealed[-20:]
    if moment < 2:
        data[20 * moment : HEADER_BYTES] = sealed[20 * moment : HEADER_BYTES]
    segment.path.write_bytes(data)
    left = Segment.recover(segment.path)
    assert ([span.n for span in left.frames], left.last_frame, left.dropped, left.damage) == ([1], 1, 5, [])
