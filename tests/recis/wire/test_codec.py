"""`recis.wire.codec`: every record is decoded as encoded; everything else is refused with a reason and a position."""

import contextlib
import math
import typing
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recis.wire import codec
from recis.wire import messages as m
from recis.wire.codec import (
    WireError,
    as_record,
    column,
    decode_client,
    decode_server,
    decode_trace,
    encode,
    is_id,
    points_columns,
)

INT64 = st.integers(-(1 << 63), (1 << 63) - 1)
COUNT = st.integers(0, m.MAX_COUNT)
TEXT = st.text(max_size=40)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 53), 1 << 53) | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
KEY = st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=20)
ID = st.from_regex(m.ID_PATTERN, fullmatch=True)


@st.composite
def points(draw: st.DrawFn) -> m.Points:
    keys = tuple(draw(st.lists(KEY, min_size=1, max_size=4, unique=True)))
    rows = draw(st.integers(1, 5))
    steps = draw(st.lists(INT64, min_size=rows, max_size=rows))
    times = draw(st.lists(INT64, min_size=rows, max_size=rows))
    values = draw(st.lists(st.floats(), min_size=rows * len(keys), max_size=rows * len(keys)))
    return m.Points(keys=keys, steps=column(steps, "<i8"), times=column(times, "<i8"), values=column(values, "<f8"))


PASSES = st.builds(
    m.Pass,
    table=TEXT,
    step=INT64,
    time_ns=INT64,
    interval=st.none() | INT64,
    rows_before=COUNT,
    evicted=COUNT,
    rows_after=COUNT,
    admitted=COUNT,
    milliseconds=st.floats(allow_nan=False),
    bytes=COUNT,
)
RECORDS = (
    points()
    | PASSES
    | st.builds(m.Line, time_ns=INT64, text=TEXT, level=TEXT, step=st.none() | INT64)
    | st.builds(m.Event, kind=TEXT, time_ns=INT64, text=TEXT, data=st.dictionaries(TEXT, JSON, max_size=3))
    | st.builds(m.Declare, control=ID, type=st.sampled_from(["int", "profile"]), value=JSON)
    | st.builds(
        m.Result, command=ID, control=ID, state=st.just("applied"), step=INT64, time_ns=INT64, old=JSON, new=JSON
    )
    | st.builds(m.Status, state=st.sampled_from(["running", "failed"]), time_ns=INT64, message=TEXT)
)
HELLO = m.Hello(run="r", writer="w", attempt="a")


@given(st.builds(m.Frame, n=st.integers(1, 1 << 40), records=st.lists(RECORDS, max_size=4).map(tuple)))
def test_every_frame_comes_back_equal(frame: m.Frame) -> None:
    assert decode_client(encode(frame)) == frame


@given(points())
def test_columns_come_back_with_their_shape_and_every_bit(record: m.Points) -> None:
    steps, times, values = points_columns(record)
    assert values.shape == (len(record.keys), len(steps))
    assert len(times) == len(steps)
    assert values.tobytes() == record.values


def test_nan_and_infinities_are_values() -> None:
    record = m.Points(
        keys=("loss",),
        steps=column([1, 2, 3], "<i8"),
        times=column([0, 0, 0], "<i8"),
        values=column([math.nan, math.inf, -math.inf], "<f8"),
    )
    frame = decode_client(encode(m.Frame(n=1, records=(record,))))
    assert isinstance(frame, m.Frame)
    [item] = frame.records
    assert isinstance(item, m.Points)
    np.testing.assert_array_equal(points_columns(item)[2], [[math.nan, math.inf, -math.inf]])


@pytest.mark.parametrize(
    "record",
    [
        HELLO,
        m.Seen(command="c"),
        m.Hello(run="r", writer="w", attempt="a", rank=3, world_size=4, config={"lr": 0.1}, tags=("x",)),
    ],
)
def test_client_records_come_back_equal(record: m.ClientRecord) -> None:
    assert decode_client(encode(record)) == record


@pytest.mark.parametrize(
    "record",
    [
        m.Welcome(acked=7),
        m.Ack(n=1),
        m.Command(id="c", control="filter_interval", value=200, apply_at_step=5),
        m.Refuse(code="version", message="no", retry=True),
    ],
)
def test_server_records_come_back_equal(record: m.ServerRecord) -> None:
    assert decode_server(encode(record)) == record


def test_unknown_fields_are_ignored() -> None:
    data = msgspec.msgpack.encode({"t": "ack", "n": 4, "from_the_future": [1, 2]})
    assert decode_server(data) == m.Ack(n=4)


def frame_with(**changes: Any) -> bytes:
    fields: dict[str, Any] = {
        "t": "points",
        "keys": ["a", "b"],
        "steps": column([1, 2], "<i8"),
        "times": column([1, 2], "<i8"),
        "values": column([1, 2, 3, 4], "<f8"),
    }
    return msgspec.msgpack.encode({"t": "frame", "n": 1, "records": [fields | changes]})


@pytest.mark.parametrize(
    ("data", "code", "path"),
    [
        (b"", "malformed", "$"),
        (b"\xc1 no MessagePack", "malformed", "$"),
        (encode(HELLO)[:-3], "malformed", "$"),
        (msgspec.msgpack.encode([1, 2]), "malformed", "$"),
        (msgspec.msgpack.encode({"t": "surprise"}), "malformed", "$.t"),
        (msgspec.msgpack.encode({"t": "frame", "n": "one", "records": []}), "malformed", "$.n"),
        (msgspec.msgpack.encode({"t": "frame", "n": 0, "records": []}), "malformed", "$.n"),
        (msgspec.msgpack.encode({"t": "hello", "v": 99, "run": 1}), "version", "$.v"),
        (msgspec.msgpack.encode({"t": "seen", "v": 2, "command": "c"}), "version", "$.v"),
        (encode(m.Hello(run="../x", writer="w", attempt="a")), "malformed", "$.run"),
        (encode(m.Hello(run="r", writer="\0", attempt="a")), "malformed", "$.writer"),
        (encode(m.Hello(run="r", writer="w", attempt="a", rank=2, world_size=2)), "malformed", "$.rank"),
        (frame_with(steps=b"1234567"), "malformed", "$.records[0].steps"),
        (frame_with(keys=[]), "malformed", "$.records[0].steps"),
        (frame_with(times=column([1], "<i8")), "malformed", "$.records[0].times"),
        (frame_with(values=column([1, 2, 3], "<f8")), "malformed", "$.records[0].values"),
        (frame_with(keys=["a", "a"]), "malformed", "$.records[0].keys"),
        (frame_with(keys=["a", "b" * 513]), "malformed", "$.records[0].keys"),
        (frame_with(keys=["a", "nul\0"]), "malformed", "$.records[0].keys"),
        (b"x" * (m.MAX_FRAME_BYTES + 1), "too_large", "$"),
    ],
)
def test_what_is_no_record_is_refused_with_code_and_place(data: bytes, code: str, path: str) -> None:
    with pytest.raises(WireError) as caught:
        decode_client(data)
    assert (caught.value.code, caught.value.path) == (code, path)


RECORDS_WITH_NUMBERS: dict[str, dict[str, Any]] = {
    "frame": {"n": 9, "records": []},
    "hello": {"run": "r", "writer": "w", "attempt": "a"},
    "trace_open": {"run": "r", "attempt": "a", "rank": 0, "name": "x", "step": 1, "size": 1, "sha256": "0" * 64},
    "trace_chunk": {"offset": 0, "data": b"x"},
    "trace_ack": {"offset": 0},
    "welcome": {"acked": 0},
    "ack": {"n": 1},
    "command": {"id": "c", "control": "x"},
}
IN_FRAMES: dict[str, dict[str, Any]] = {
    "pass": dict.fromkeys(("step", "time_ns", "rows_before", "evicted", "rows_after", "admitted", "bytes"), 1)
    | {"table": "t", "interval": None, "milliseconds": 0.5},
    "line": {"time_ns": 1, "text": "x"},
    "event": {"kind": "k", "time_ns": 1, "text": "x"},
    "declare": {"control": "c", "type": "int"},
    "result": {"command": "c", "control": "c", "state": "applied", "step": 1, "time_ns": 1},
    "status": {"state": "running", "time_ns": 1},
}


def numbers_of(tag: str) -> list[tuple[str, int, int]]:
    """Return every integer of a record, with the minimum and maximum of its type."""
    (kind,) = [
        one
        for one in vars(m).values()
        if isinstance(one, type) and issubclass(one, m.Record) and one.__struct_config__.tag == tag
    ]
    found = []
    for field in msgspec.structs.fields(kind):
        kinds = [one for one in (field.type, *typing.get_args(field.type)) if one in BOUNDS]
        if kinds:
            found.append((field.name, *BOUNDS[kinds[0]]))
        assert field.type is not int or field.name == "v", f"{tag}.{field.name} is not bounded"
    return found


BOUNDS: dict[Any, tuple[int, int]] = {
    m.Int64: (-(2**63), 2**63 - 1),
    m.Number: (0, 2**63 - 1),
    m.Count: (0, 2**53 - 1),
    m.Rank: (0, 2**31 - 1),
    m.WorldSize: (1, 2**31),
}
NUMBERS = [(tag, *one) for tag in (*RECORDS_WITH_NUMBERS, *IN_FRAMES) for one in numbers_of(tag)]


def with_number(tag: str, name: str, value: int) -> tuple[Any, bytes, str]:
    """Return a decoder, a record with this number, and the position of the number in it."""
    if tag in IN_FRAMES:
        record = {"t": tag, **IN_FRAMES[tag], name: value}
        return (
            decode_client,
            msgspec.msgpack.encode({"t": "frame", "n": 1, "records": [record]}),
            f"$.records[0].{name}",
        )
    decode = decode_trace if tag.startswith("trace") else decode_client if tag in ("frame", "hello") else decode_server
    fields = {"t": tag, **RECORDS_WITH_NUMBERS[tag], name: value}
    if name == "rank":
        fields["world_size"] = 2**31
    if (tag, name) == ("frame", "span"):
        fields["n"] = value
    return decode, msgspec.msgpack.encode(fields), f"$.{name}"


@pytest.mark.parametrize(("tag", "name", "least", "most"), NUMBERS)
def test_a_number_is_taken_within_its_bounds_and_refused_outside(tag: str, name: str, least: int, most: int) -> None:
    for value in (max(least, 1), most):
        decode, data, _ = with_number(tag, name, value)
        assert decode(data) is not None
    for value in (least - 1, most + 1, 2**64 - 1):
        if -(2**63) <= value < 2**64 and (tag, name) != ("frame", "span"):
            decode, data, path = with_number(tag, name, value)
            with pytest.raises(WireError, match=rf"expected `int` .*, got {value}") as caught:
                decode(data)
            assert (caught.value.code, caught.value.path) == ("malformed", path)


@given(st.binary(max_size=200))
def test_noise_never_raises_anything_else(data: bytes) -> None:
    for decode in (decode_client, decode_server, decode_trace):
        with contextlib.suppress(WireError):
            decode(data)


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"sha256": "nope"}, "$.sha256"),
        ({"run": "a/b"}, "$.run"),
        ({"size": -1}, "$.size"),
        ({"rank": -1}, "$.rank"),
        ({"step": -1}, "$.step"),
        ({"step": 1 << 63}, "$.step"),
        ({"time_ns": 1 << 63}, "$.time_ns"),
        *(({"name": name}, "$.name") for name in ("", ".", "..", "a/b", "a\\b", "a\0b", "a\nb", "\x1b[2J", "x" * 257)),
    ],
)
def test_a_trace_announcement_is_checked(change: dict[str, Any], path: str) -> None:
    fields: dict[str, Any] = {
        "t": "trace_open",
        "run": "r",
        "attempt": "a",
        "rank": 0,
        "name": "x.json",
        "step": 1,
        "size": 3,
        "sha256": "0" * 64,
    }
    assert decode_trace(msgspec.msgpack.encode(fields)) == m.TraceOpen(**{k: v for k, v in fields.items() if k != "t"})
    with pytest.raises(WireError) as caught:
        decode_trace(msgspec.msgpack.encode(fields | change))
    assert caught.value.path == path


@pytest.mark.parametrize(
    ("chunk", "path"),
    [
        (m.TraceChunk(offset=0, data=b""), "$.data"),
        (m.TraceChunk(offset=0, data=b"x" * (m.MAX_TRACE_CHUNK_BYTES + 1)), "$.data"),
        (m.TraceChunk(offset=-1, data=b"x"), "$.offset"),
        (m.TraceChunk(offset=1 << 63, data=b"x"), "$.offset"),
    ],
    ids=["empty", "large", "negative", "far"],
)
def test_a_trace_chunk_is_checked(chunk: m.TraceChunk, path: str) -> None:
    with pytest.raises(WireError) as caught:
        decode_trace(encode(chunk))
    assert caught.value.path == path


@pytest.mark.parametrize("text", ["a", "2026-11-23.x_1", "A" * 128])
def test_identifiers(text: str) -> None:
    assert is_id(text)


@pytest.mark.parametrize("text", ["", "-a", ".", "a/b", "a b", "ä", "a\n", "A" * 129])
def test_what_is_no_identifier(text: str) -> None:
    assert not is_id(text)


@pytest.mark.parametrize("span", [0, 6, -1])
def test_a_frame_stands_for_numbers_from_one_on(span: int) -> None:
    assert decode_client(encode(m.Frame(n=5, records=(), span=5))) == m.Frame(n=5, records=(), span=5)
    with pytest.raises(WireError) as error:
        decode_client(encode(m.Frame(n=5, records=(), span=span)))
    assert error.value.path == "$.span"


def test_names_are_shared_and_wrong_ones_are_not_kept() -> None:
    def reported(*keys: str) -> bytes:
        record = m.Points(keys=keys, steps=bytes(8), times=bytes(8), values=bytes(8 * len(keys)))
        return encode(m.Frame(n=1, records=(record,)))

    first, second = (decode_client(reported("shared/one", "shared/two")) for _ in range(2))
    assert isinstance(first, m.Frame)
    assert isinstance(second, m.Frame)
    assert first.records[0].keys is second.records[0].keys  # type: ignore[union-attr]
    kept = codec._checked_keys.cache_info().currsize
    for keys in (("x" * 1_000_000,), ("twice", "twice"), tuple(f"many/{number}" for number in range(65))):
        with contextlib.suppress(WireError):
            decode_client(reported(*keys))
    assert codec._checked_keys.cache_info().currsize == kept


def test_a_record_is_what_its_receiver_reads() -> None:
    numbers: dict[str, Any] = {
        "step": np.int64(5),
        "time_ns": 1,
        "interval": None,
        "rows_before": 9,
        "evicted": np.uint8(4),
    }
    numbers |= {"rows_after": torch.tensor(5), "admitted": True + 2, "milliseconds": np.float32(0.5), "bytes": 1}
    taken = as_record(m.Pass(table=np.str_("user"), **numbers))
    assert msgspec.structs.astuple(taken) == ("user", 5, 1, None, 9, 4, 5, 3, 0.5, 1)
    assert {type(value) for value in msgspec.structs.astuple(taken)} == {str, int, type(None), float}
    event = m.Event(kind="alert", time_ns=1, text="\udcff" + "x" * 9000, data={"\udcfe": [float("nan"), "😀"]})
    mended = as_record(event)
    assert isinstance(mended, m.Event)
    assert len(mended.text) == m.MAX_TEXT_CHARS
    assert mended.data["\N{REPLACEMENT CHARACTER}"][1] == "😀"
    assert decode_client(encode(m.Frame(n=1, records=(mended,)))).n == 1  # type: ignore[union-attr]


ENDLESS: dict[str, Any] = {}
ENDLESS["me"] = ENDLESS


@pytest.mark.parametrize(
    ("record", "path"),
    [
        (m.Line(time_ns=1, text=3), "$.text"),  # type: ignore[arg-type]
        (m.Line(time_ns=1 << 63, text=""), "$"),
        (m.Line(time_ns=1, text="", step=1.5), "$.step"),  # type: ignore[arg-type]
        (m.Event(kind="alert", time_ns=1, text="", level="loud"), "$.level"),  # type: ignore[arg-type]
        (m.Event(kind="alert", time_ns=1, text="", data=ENDLESS), "$"),
        (m.Event(kind="alert", time_ns=1, text="", data={"a": object()}), "$"),
        (m.Declare(control="c", type="colour"), "$.type"),  # type: ignore[arg-type]
        (m.Declare(control="c", type="int", minimum="x"), "$.minimum"),  # type: ignore[arg-type]
        (m.Seen(command="c"), "$.t"),
        (None, "$"),
    ],
)
def test_a_record_that_its_receiver_refuses_is_refused_here(record: Any, path: str) -> None:
    with pytest.raises(WireError) as error:
        as_record(record)
    assert error.value.path == path
