"""`recis.bridge.frames`: rows become columns, and fewer records of a refused frame are sent each time."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recis.bridge import frames as module
from recis.bridge.frames import MOST_TRIES, leave_out
from recis.wire.codec import column
from recis.wire.messages import FrameRecord, Line, Points
from tests.effort import examples

TIMES = st.integers(-(1 << 62), (1 << 63) - 1)
INT64 = st.integers(-(1 << 63), (1 << 63) - 1)


@given(st.sampled_from([1, 2, 5, 61, 62, 200]), st.data())
@settings(max_examples=examples(200), deadline=None)
def test_few_rows_become_the_same_columns_as_many(num_values: int, data: st.DataObject) -> None:
    rows = b""
    for _ in range(data.draw(st.integers(1, 20))):
        head, step = data.draw(INT64), data.draw(INT64)
        values = data.draw(st.lists(st.floats(width=64), min_size=num_values, max_size=num_values))
        rows += struct.pack(f"<2q{num_values}dq", head, step, *values, data.draw(TIMES))
    keys = tuple(f"key {number}" for number in range(num_values))
    assert module._points(keys, rows) == module._points_of_many(keys, rows)


def points(*keys: str) -> Points:
    return Points(
        keys=keys, steps=column([1], "<i8"), times=column([1], "<i8"), values=column([0.5] * len(keys), "<f8")
    )


LINE = Line(time_ns=1, text="x")
ODD = Line(time_ns=1, text="x", level=5)  # type: ignore[arg-type]
TWICE = points("a", "a")
RIGHT = points("a", "b")


@pytest.mark.parametrize(
    ("records", "out", "refusal", "expected"),
    [
        ([RIGHT, TWICE, LINE, ODD], [], "at `$.records[0]`", [1, 3]),  # our own rules come first
        ([RIGHT, LINE, LINE, LINE], [], "no - at `$.records[2].text`", [2]),
        ([RIGHT, LINE, LINE, LINE], [1], "no - at `$.records[2].text`", [1, 3]),  # of those that were sent
        ([RIGHT, LINE, LINE], [], "no - at `$.records[9]`", [1, 2]),
        ([RIGHT, LINE, LINE], [], "no", [1, 2]),
        ([RIGHT, LINE, LINE], [1, 2], "no", [0, 1, 2]),
        ([RIGHT], [], "at `$.records[0]`", [0]),
        ([LINE], [], "", [0]),
    ],
)
def test_what_is_left_out_after_a_refusal(
    records: list[FrameRecord], out: list[int], refusal: str, expected: list[int]
) -> None:
    assert leave_out(records, frozenset(out), refusal) == frozenset(expected)


def test_a_frame_is_given_up_after_so_many_records_that_were_named() -> None:
    records: list[FrameRecord] = [RIGHT, *[LINE] * 1000]
    out: frozenset[int] = frozenset()
    turns = 0
    while len(out) < len(records):
        turns += 1
        more = leave_out(records, out, "no - at `$.records[1]`")
        assert more > out
        out = more
    assert turns == MOST_TRIES + 2
