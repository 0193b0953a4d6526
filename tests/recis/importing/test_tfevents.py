"""Compared with records of tensorboardX (the encoder of protobuf), and files written by TensorFlow."""

import math
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorboardX.proto.event_pb2 import Event, SessionLog

from recis.importing.tfevents import EventReader
from recis.importing.tfrecord import read_records
from tests.recis.importing.writing import scalar_event

GOLDEN = Path(__file__).parent / "golden"
TAGS = st.text(max_size=130).filter(lambda tag: tag.isprintable())
FLOATS = st.floats(width=32)
STEPS = st.integers(-(2**63), 2**63 - 1)
TIMES = st.floats(0, 4e9)


def bits(value: float) -> bytes:
    return struct.pack("<d", math.nan if math.isnan(value) else value)


@given(TIMES, STEPS, st.lists(st.tuples(TAGS, FLOATS), max_size=4))
def test_what_was_written_is_read(time_s: float, step: int, scalars: list[tuple[str, float]]) -> None:
    event = Event(wall_time=time_s, step=step)
    for tag, value in scalars:
        event.summary.value.add(tag=tag, simple_value=value)
    read = EventReader().read(event.SerializeToString())
    assert (read.time_s, read.step) == (time_s, step)
    assert [(tag, bits(value)) for tag, value in read.scalars] == [(tag, bits(value)) for tag, value in scalars]


@given(TIMES, STEPS, TAGS, FLOATS)
def test_the_quick_way_is_the_long_way(time_s: float, step: int, tag: str, value: float) -> None:
    record = scalar_event(tag, value, step, time_s)
    # With an unknown field, every field is read.
    slow = EventReader().read(record + b"\x78\x01")
    quick = EventReader().read(record)
    assert (quick.time_s, quick.step, quick.scalars[0][0]) == (slow.time_s, slow.step, slow.scalars[0][0])
    assert bits(quick.scalars[0][1]) == bits(slow.scalars[0][1])


@given(st.binary(max_size=60))
def test_bytes_that_are_no_event_are_ignored(record: bytes) -> None:
    reader = EventReader()
    event = reader.read(record)
    assert reader.ignored["unreadable"] == 0 or event.scalars == []


def test_other_kinds_are_counted() -> None:
    reader = EventReader()
    event = Event(wall_time=1.0, step=1)
    event.summary.value.add(tag="a").image.height = 1
    event.summary.value.add(tag="b").histo.min = 0.0
    event.summary.value.add(tag="c").audio.sample_rate = 1.0
    text = event.summary.value.add(tag="d")
    text.metadata.plugin_data.plugin_name = "text"
    text.tensor.dtype = 7
    # Later values need not state their plugin again, and a number may come in between.
    event.summary.value.add(tag="d").tensor.dtype = 1
    event.summary.value.add(tag="e", simple_value=1.0)
    assert reader.read(event.SerializeToString()).scalars == [("e", 1.0)]
    assert dict(reader.ignored) == {"images": 1, "histograms": 1, "audio": 1, "text": 2}
    assert reader.read(Event(session_log=SessionLog(status=1)).SerializeToString()).scalars == []
    assert reader.read(Event(graph_def=b"x").SerializeToString()).scalars == []
    assert reader.ignored["graphs"] == 1


def test_kinds_that_files_make_up_are_counted_together() -> None:
    reader = EventReader()
    for number in range(100):
        event = Event()
        value = event.summary.value.add(tag=str(number))
        value.metadata.plugin_data.plugin_name = f"plugin {number}"
        reader.read(event.SerializeToString())
    assert len(reader.ignored) <= 65
    assert sum(reader.ignored.values()) == 100


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "events.out.tfevents.1700000000.tf2.v2",
            {
                "epoch_loss": [(0, 0.5), (1, 0.25), (2, 0.1666666716337204)],
                "odd": [(0, math.nan), (1, math.inf), (2, -math.inf), (3, -0.0)],
                "double": [(7, 0.1), (8, 1.7976931348623157e308)],
                "half": [(7, 1.5)],
                "brain": [(7, -2.5)],
                "int": [(7, -3.0)],
                "long": [(7, 2.0**40)],
                "zero": [(2**40, -0.0)],  # TensorFlow's cache of constants
                "back": [(-5, 1.0)],
            },
        ),
        (
            "events.out.tfevents.1700000000.listed",
            {
                "float": [(1, 0.25)],
                "double": [(1, 0.1)],
                "half": [(1, 1.5)],
                "brain": [(1, -2.5)],
                "int": [(1, -3.0)],
                "long": [(1, 2.0**40)],
                "nothing": [(1, 0.0)],
            },
        ),
    ],
)
def test_tensors_of_tensorflow_2(name: str, expected: dict[str, list[tuple[int, float]]]) -> None:
    reader = EventReader()
    found: dict[str, list[tuple[int, bytes]]] = {}
    with (GOLDEN / name).open("rb") as file:
        for record, _ in read_records(file):
            event = reader.read(record)
            for tag, value in event.scalars:
                found.setdefault(tag, []).append((event.step, bits(value)))
    assert found == {tag: [(step, bits(value)) for step, value in rows] for tag, rows in expected.items()}
    others = {"tensors": 1, "text": 1, "histograms": 1, "images": 1} if "tf2" in name else {}
    assert dict(reader.ignored) == others
