"""`recis.bridge.records`: a record is valid only unchanged and where it was written."""

import struct
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recis.bridge.records import (
    HEADER_BYTES,
    PRIME,
    RECORD,
    SEAL,
    FrameSpan,
    Header,
    RowLayout,
    items_of,
    record_bytes,
    row_head,
    seed_of,
    tag_of,
    verified_records,
    verified_rows,
)
from tests.effort import examples

LAYOUT = RowLayout(3, ("a", "b"), 0xFFFFFFF1)
SEED = seed_of(tag_of("w"), 1)
PLACE = 5
ROW = struct.pack("=qddq", 7, 0.5, float("nan"), 1_700_000_000_000_000_000)


def row_bytes(row: bytes, layout: RowLayout, place: int) -> bytes:
    return struct.pack("=Q", row_head(row, layout, place)) + row


def proved(data: bytes, layout: RowLayout = LAYOUT) -> list[int]:
    """Return the offsets of valid rows in bytes that begin at `PLACE`."""
    base = 8 * PLACE
    return [
        int(place)
        for _, places, _ in verified_rows(data, base, {layout.number: layout}, base, base + len(data))
        for place in places
    ]


def test_the_prime_is_one_and_no_two_bits_of_the_longest_row_cancel_out() -> None:
    assert all(PRIME % divisor for divisor in range(2, int(PRIME**0.5) + 1))
    assert PRIME < 1 << 30
    power = 1
    for _ in range(64 * (2048 + 2)):
        power = 2 * power % PRIME
        assert power not in (1, PRIME - 1)


@given(st.data())
@settings(max_examples=examples(100), deadline=None)
def test_a_row_proves_itself_only_as_it_is(data: st.DataObject) -> None:
    row = row_bytes(ROW, LAYOUT, PLACE)
    assert proved(row) == [8 * PLACE]
    bits = data.draw(st.sets(st.integers(0, 8 * len(row) - 1), min_size=1, max_size=2))
    number = int.from_bytes(row, "little") ^ sum(1 << bit for bit in bits)
    assert proved(number.to_bytes(len(row), "little")) == []


@pytest.mark.parametrize(
    "other",
    [
        row_bytes(ROW, LAYOUT, PLACE + 1),
        row_bytes(ROW, replace(LAYOUT, salt=1), PLACE),
        row_bytes(ROW, replace(LAYOUT, number=2), PLACE),
        row_bytes(ROW, replace(LAYOUT, keys=("a",)), PLACE),
        row_bytes(ROW, LAYOUT, PLACE)[:-1],
        b"",
    ],
    ids=["place", "names", "layout", "width", "torn", "nothing"],
)
def test_a_row_proves_itself_only_where_it_was_written_and_under_its_names(other: bytes) -> None:
    assert proved(other) == []


@given(st.lists(st.tuples(st.integers(0, 3), st.binary(max_size=40)), max_size=12), st.integers(0, 200))
@settings(max_examples=examples(100), deadline=None)
def test_rows_are_found_between_anything(rows: list[tuple[int, bytes]], seed: int) -> None:
    layouts = {number: RowLayout(number, tuple("abcdef"[: number + 1]), seed * number) for number in range(3)}
    data, expected = b"", set()
    for number, garbage in rows:
        data += garbage + bytes(-len(garbage) % 8)
        if number in layouts:
            expected.add(PLACE * 8 + len(data))
            step = (number + seed).to_bytes(8, "little")
            data += row_bytes(step * (len(layouts[number].keys) + 2), layouts[number], PLACE + len(data) // 8)
    base = 8 * PLACE
    found = {
        int(place) for _, places, _ in verified_rows(data, base, layouts, base, base + len(data)) for place in places
    }
    assert found == expected


@given(st.binary(max_size=64), st.data())
@settings(max_examples=examples(100), deadline=None)
def test_a_record_proves_itself_only_as_and_where_it_was_written(payload: bytes, data: st.DataObject) -> None:
    record = record_bytes(RECORD, payload, SEED, PLACE, 4)
    [item] = verified_records(record, SEED, 8 * PLACE)
    assert (item.kind, item.layout, bytes(item.payload(memoryview(record)))) == (RECORD, 4, payload)
    assert not list(verified_records(record, SEED, 8 * PLACE + 8))
    assert not list(verified_records(record, SEED + 1, 8 * PLACE))
    changed = bytearray(record)
    changed[data.draw(st.integers(0, 15 + len(payload)))] ^= data.draw(st.integers(1, 255))
    assert not list(verified_records(bytes(changed), SEED, 8 * PLACE))


def test_what_somebody_has_said_is_no_record() -> None:
    inner = record_bytes(RECORD, b"inner", SEED, PLACE + 2)
    record = record_bytes(RECORD, inner, SEED, PLACE)
    assert [item.start for item in verified_records(record, SEED, 8 * PLACE)] == [0]


@pytest.mark.parametrize(
    "unpack",
    [lambda data: Header.unpack(data, 0), lambda data: Header.unpack(bytes(8) + data, 8)],
    ids=["first", "last"],
)
def test_a_header_with_any_other_bit_is_none(unpack: Callable[[bytes], Header | None]) -> None:
    header = Header(1, tag_of("w"), 5, 6, 9, 4096, 2048, 1024, 3, 4, 30, 40)
    data = header.pack()
    assert len(data) == HEADER_BYTES
    assert unpack(data) == header
    for bit in range(8 * (HEADER_BYTES - 4)):
        changed = (int.from_bytes(data, "little") ^ 1 << bit).to_bytes(len(data), "little")
        assert unpack(changed) is None or (changed[:-8] == data[:-8] and changed[-8:-4] == data[-8:-4])
    assert unpack(data[:-1]) is None
    assert Header.unpack(data, -1) is None


def test_a_seal_that_says_nothing_is_none() -> None:
    span = FrameSpan(3, 1, 88, 200, 10, 2, 0xFFFFFFFF)
    assert FrameSpan.unpack(memoryview(span.pack())) == span
    assert FrameSpan.unpack(memoryview(span._replace(n=0).pack())) is None
    assert FrameSpan.unpack(memoryview(span._replace(stop=88).pack())) is None
    assert FrameSpan.unpack(memoryview(span.pack())[:-8]) is None
    [item] = verified_records(record_bytes(SEAL, span.pack(), SEED, 0), SEED)
    assert item.kind == SEAL


def test_neighbouring_rows_of_one_layout_are_one_item() -> None:
    other = replace(LAYOUT, number=1)
    data = b"".join(row_bytes(ROW, LAYOUT if place < 30 else other, 5 * place) for place in range(33))
    data += record_bytes(RECORD, b"x", SEED, 0) + bytes(64)
    items = list(items_of(memoryview(data), 0, len(data)))
    assert [(item.layout, (item.stop - item.start) // item.width) for item in items] == [(3, 30), (1, 3), (0, 1)]
    assert np.frombuffer(data, np.int64)[1] == 7
