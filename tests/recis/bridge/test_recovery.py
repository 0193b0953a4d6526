"""`recis.bridge.recovery`: from a damaged segment, undamaged records are sent, and the others are counted."""

import random
from collections import defaultdict
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import pytest

from recis.bridge import outbox_writer
from recis.bridge.frames import read_frame
from recis.bridge.outbox import Outbox
from recis.bridge.records import (
    NAMES,
    NAMES_COPY,
    SEAL,
    SEAL_COPY,
    FrameSpan,
    Item,
    RowLayout,
    seed_of,
    verified_records,
)
from recis.bridge.recovery import Damage, find_header, find_layouts, recover
from recis.bridge.segment import Segment
from recis.wire.codec import points_columns
from recis.wire.messages import Line, Points
from tests.recis.bridge.damages import DAMAGES

SIZE = 4 << 10
LAYOUTS = [("a",), ("a", "b"), tuple(f"m{number}" for number in range(10)), ("c", "d", "e")]
Value = tuple[int, str, float]


class Read(NamedTuple):
    """The frames and damage found in some bytes."""

    values: list[Value]
    lines: list[int]
    frames: list[FrameSpan]
    damage: list[Damage]

    def lost(self) -> tuple[int, int]:
        return sum(loss.values for loss in self.damage), sum(loss.records for loss in self.damage)


class Sample(NamedTuple):
    """Bytes of a segment, their content, and the positions of names by layout and of seals by frame number."""

    number: int
    data: bytes
    read: Read
    names: dict[int, list[Item]]
    seals: dict[int, list[Item]]

    def has_one(self, data: bytes, items: list[Item]) -> bool:
        """Return whether one of these ranges is unchanged in `data`."""
        return any(data[item.start : item.stop] == self.data[item.start : item.stop] for item in items)

    def has_frame(self, data: bytes, span: FrameSpan) -> bool:
        """Return whether the bytes of a frame, its seal and all names are unchanged."""
        is_whole = data[span.start : span.stop] == self.data[span.start : span.stop]
        kept = [self.seals.get(span.n, []), *self.names.values()]
        return is_whole and all(self.has_one(data, items) for items in kept)


def sample_of(number: int, data: bytes) -> Sample:
    found, header = read(data, number), find_header(data)
    assert found is not None
    assert header is not None
    assert not found.damage
    names, seals = defaultdict(list), defaultdict(list)
    for item in verified_records(data, seed_of(header.writer, header.number)):
        if item.kind in (NAMES, NAMES_COPY):
            names[item.layout].append(item)
        elif item.kind in (SEAL, SEAL_COPY):
            span = FrameSpan.unpack(item.payload(memoryview(data)))
            assert span is not None
            seals[span.n].append(item)
    assert {len(items) for items in (*names.values(), *seals.values())} == {2}
    return Sample(number, data, found, names, seals)


@lru_cache
def said(data: bytes, span: FrameSpan, layouts: tuple[RowLayout, ...], seed: int) -> tuple[list[Value], list[int]]:
    """Return the values and lines of a frame."""
    content = read_frame(data, span, {layout.number: layout for layout in layouts}, seed)
    assert (content.lost_values, content.lost_records) == (0, 0), "more than was found at first"
    values: list[Value] = []
    lines: list[int] = []
    for record in content.records:
        if isinstance(record, Points):
            steps, times, columns = points_columns(record)
            assert (times == 1000 * steps).all()
            for key, column in zip(record.keys, columns.tolist(), strict=True):
                values += [(step, key, value) for step, value in zip(steps.tolist(), column, strict=True)]
        else:
            assert isinstance(record, Line)
            assert record.text == f"line {record.time_ns}"
            lines.append(record.time_ns)
    return values, lines


def read(data: bytes, number: int) -> Read | None:
    """Read it as the next process does; return None if nothing can be verified."""
    header = find_header(data, f"{number:08d}")
    if header is None:
        return None
    found, seed = recover(data, header), seed_of(header.writer, header.number)
    layouts = tuple(find_layouts(data, seed).values())
    frames = [said(data[span.start : span.stop], span, layouts, seed) for span in found.frames]
    values = [value for values, _ in frames for value in values]
    lines = [line for _, lines in frames for line in lines]
    return Read(values, lines, found.frames, found.damage)


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    """A spool of three segments: with sealed frames and an unsealed one, with one frame, and of a killed process."""
    folder = tmp_path_factory.mktemp("spool")
    chance = random.Random(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outbox_writer, "SEGMENT_BYTES", SIZE)
        outbox = Outbox(folder, writer="w")
        step = 0
        while (segment := outbox._queue.current) is None or segment.number < 3 or segment.end < SIZE // 2:
            step += 1
            keys = LAYOUTS[chance.randrange(len(LAYOUTS))]
            outbox.writer.append_report(keys, [step + place / 16 for place in range(len(keys))], step, 1000 * step)
            if step % 11 == 0:
                outbox.writer.append(Line(time_ns=step, text=f"line {step}"))
            if step % 13 == 0 and outbox._queue.current is not None and outbox._queue.current.number != 2:
                outbox.reader.seal()
    made = [sample_of(number, path.read_bytes()) for number, path in enumerate(sorted(folder.glob("*.seg")), 1)]
    assert {value[0] for sample in made for value in sample.read.values} == set(range(1, step + 1))
    assert [len(sample.read.frames) > 1 for sample in made] == [True, False, True]
    return made


# --- random damage


def ends_earlier(sample: Sample, data: bytes) -> bool:
    """Return whether this looks like an earlier kill, perhaps in the middle of a row: the missing part is undetectable
    then.
    """
    end = max(span.stop for span in sample.read.frames)
    first = next(place for place in range(0, end, 8) if data[place : place + 8] != sample.data[place : place + 8])
    words = [data[place : place + 8] for place in range(first, end, 8)]
    return words[0] == bytes(8) and len(words) - words.count(bytes(8)) <= max(map(len, LAYOUTS)) + 2


def check(sample: Sample, data: bytes) -> None:
    """Check that nothing is wrong, duplicated or renumbered, and that losses are reported, and counted if possible."""
    found, before = read(data, sample.number), sample.read
    if found is None:
        return
    assert set(found.values) <= set(before.values)
    assert set(found.lines) <= set(before.lines)
    assert len(found.values) == len(set(found.values))
    assert len(found.lines) == len(set(found.lines))
    missing = len(before.values) - len(found.values), len(before.lines) - len(found.lines)
    if not found.damage and any(missing):
        assert sample.number == 3, "lost without a word"
        assert ends_earlier(sample, data), "lost without a word"
    if sample.number != 3:  # has the totals at its end
        assert found.lost() == missing
    numbers = {span.n for span in found.frames}
    assert numbers <= {span.n for span in before.frames}
    for span in before.frames:
        assert span.n in numbers or not sample.has_frame(data, span), "a frame that was not hit"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("number_of_damages", [500, pytest.param(10_000, marks=pytest.mark.slow)])
def test_of_random_damages_none_makes_a_wrong_value_or_loses_one_without_a_word(
    samples: list[Sample], number_of_damages: int
) -> None:
    chance = random.Random(number_of_damages)
    for turn in range(number_of_damages):
        sample = samples[turn % 3]
        damaging = DAMAGES[turn // 3 % len(DAMAGES)]
        data = damaging(chance, sample.data, [other.data for other in samples if other is not sample])
        try:
            check(sample, data)
        except Exception as error:
            raise AssertionError(f"turn {turn}: {damaging.__name__} on segment {sample.number}") from error


def test_what_a_killed_process_has_left_whole_is_no_damage(tmp_path: Path) -> None:
    """For each kind of record: alone, sealed and not, and after others."""
    outbox = Outbox(tmp_path, writer="w")
    for step in range(1, 40):
        if step % 3:
            outbox.writer.append(Line(time_ns=step, text="x" * step))
        else:
            outbox.writer.append_report(LAYOUTS[step % 4], [0.0] * len(LAYOUTS[step % 4]), 0, 0)
        if step % 5 == 0:
            outbox.reader.seal()
        [path] = tmp_path.glob("*.seg")
        left = Segment.recover(path)
        assert not left.damage
        assert sum(span.records for span in left.frames) == step - step // 3
