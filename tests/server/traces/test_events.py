"""`recis_server.traces.events`: complete events are read, however they are written; damage is reported."""

import gzip
import json
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recis_server.traces import events as module
from recis_server.traces.events import Event, TraceFileError, TraceReader

from tests.server.traces.files import call, trace, write

FIELDS = Event.__struct_fields__
SCALARS = (
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats() | st.text(st.characters(), max_size=8)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
MEMBERS = st.dictionaries(st.sampled_from([*FIELDS, "args", 'a"b', "traceEvents"]), VALUES, max_size=6)
ONE = trace([call("aten::mm", 1.0, 2.0)])
NAMES = [call("aten::mm", 1.0, 2.0), call("aten::t", 4.0, 1.0)]


def read(path: Path) -> list[Event]:
    return [event for batch in TraceReader(path).batches() for event in batch]


def read_bytes(folder: Path, content: bytes) -> list[Event]:
    (folder / "trace").write_bytes(content)
    return read(folder / "trace")


def names(folder: Path, content: bytes) -> list[Any]:
    return [event.name for event in read_bytes(folder, content)]


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(MEMBERS | SCALARS, max_size=6),
    st.sampled_from([1, 2, 7, 64, 1 << 20]),
    st.booleans(),
    st.booleans(),
    st.sampled_from([None, 1]),
    st.booleans(),
)
def test_every_event_comes_out_of_pieces_of_any_size(
    tmp_path: Path, members: list[Any], size: int, packed: bool, array: bool, indent: int | None, ascii_only: bool
) -> None:
    whole: Any = members if array else {"a": members, "traceEvents": members}
    text = json.dumps(whole, indent=indent, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "_PIECE_BYTES", size)
        patched.setattr(module, "_PACKED_BYTES", max(2, size))
        found = read_bytes(tmp_path, gzip.compress(text) if packed else text)
    clean = json.loads(text.decode("utf-8", "replace"))
    wanted = [one for one in (clean if array else clean["traceEvents"]) if isinstance(one, dict)]
    assert [repr(msgspec.structs.astuple(one)) for one in found] == [
        repr(tuple(one.get(field) for field in FIELDS)) for one in wanted
    ]


LENIENT = {
    "a raw control character": ONE.replace(b"aten::mm", b"aten:\x01:mm"),
    "a tab and a line break in a name": ONE.replace(b"aten::mm", b"aten:\t\n:mm"),
    "a byte order mark": b"\xef\xbb\xbf" + ONE,
    "UTF-16": ONE.decode().encode("utf-16"),
    "half of a surrogate pair": ONE.replace(b"aten::mm", b"aten::mm\\ud800"),
    "another encoding": ONE.replace(b"aten::mm", b"aten::\xe9"),
    "a name that is none": ONE.replace(b'"aten::mm"', b'["aten::mm"]'),
    "white space around": b"\r\n\t " + ONE + b" \n",
    "no end of the array": trace([call("aten::mm", 1.0, 2.0)], array=True)[:-1],
    "a comma and no end of the array": trace([call("aten::mm", 1.0, 2.0)], array=True)[:-1] + b",\n",
    "no end of the array and of the object": ONE[: ONE.index(b"]", ONE.index(b"traceEvents"))],
    "an end in what follows the events": ONE[:-5],
    "two members of gzip": gzip.compress(ONE[:70]) + gzip.compress(ONE[70:]),
    "many members of gzip": b"".join(gzip.compress(ONE[at : at + 1]) for at in range(len(ONE))),
    "something after the gzip file": gzip.compress(ONE) + b"garbage",
    "zeros after the gzip file": gzip.compress(ONE) + bytes(5),
    "a member of 3 MiB before the events": b'{"x": ["' + b"\\\\]}" * (1 << 20) + b'"],' + ONE[1:],
    "a name of 5 MB": ONE.replace(b"aten::mm", b"x" * 5_000_000),
}


@pytest.mark.parametrize("what", LENIENT)
def test_what_profilers_write_is_read(tmp_path: Path, what: str) -> None:
    (event,) = read_bytes(tmp_path, LENIENT[what])
    assert (event.ph, event.ts, event.dur) == ("X", 1.0, 2.0)


BAD = {
    "an empty file": (b"", "got an empty file"),
    "white space": (b"   ", "got the end of the file|got an empty file"),
    "HTML": (b"<!DOCTYPE html>", "got '<!DOCTYPE html>'"),
    "a number": (b"3", "got '3'"),
    "an archive": (b"PK\x03\x04" + bytes(40), "got 'PK"),
    "an object without events": (b"{}", "traceEvents"),
    "other members only": (b'{"a": [1, {"traceEvents": []}]}', 'expected a member "traceEvents"'),
    "events that are none": (b'{"traceEvents": 5}', r"expected '\['"),
    "a key without a value": (b'{"a" 1}', "expected ':'"),
    "a missing comma": (b"[{} {}]", r"expected ',' or '\]'"),
    "an end before the events": (ONE[:70], "ends before its events"),
    "an end in an event": (ONE[:-60], "ends in the middle of a value"),
    "an end in a string": (b'[{"a": "b', "ends in the middle of a value"),
    "an end after a backslash": (b'[{"a": "\\', "ends in the middle of a value"),
    "an end in another member": (b'{"a": {"b": [', "ends in the middle of a value"),
    "brackets": (b"[" * 61_440, "ends in the middle of a value"),
    "a broken gzip file": (b"\x1f\x8bbroken", "damaged"),
    "a gzip file that is cut": (gzip.compress(ONE)[:-20], "cut off"),
    "a gzip file without its check sum": (gzip.compress(ONE)[:-8], "cut off"),
    "a gzip file with a wrong check sum": (gzip.compress(ONE)[:-8] + bytes(8), "damaged"),
    "a second member that is cut": (gzip.compress(ONE[:70]) + gzip.compress(ONE[70:])[:-9], "cut off"),
}


@pytest.mark.parametrize("what", BAD)
def test_what_is_wrong_with_a_file_is_said(tmp_path: Path, what: str) -> None:
    content, said = BAD[what]
    with pytest.raises(TraceFileError, match=said):
        read_bytes(tmp_path, content)


def test_an_event_that_is_no_json_is_passed_over_and_counted(tmp_path: Path) -> None:
    deep = b'{"ph": "X", "args": ' + b"[" * 60_000 + b"]" * 60_000 + b"}"
    (tmp_path / "trace").write_bytes(
        b"[%b, %b, %b, %b]"
        % (json.dumps(NAMES[0]).encode(), deep, b'{"name": "C:\\Users"}', json.dumps(NAMES[1]).encode())
    )
    reader = TraceReader(tmp_path / "trace")
    assert [event.name for batch in reader.batches() for event in batch] == ["aten::mm", "aten::t"]
    assert reader.unreadable == 2
    assert "recursion" in reader.problem


def test_an_event_or_a_text_beyond_the_bounds_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_EVENT_BYTES", 2 << 20)
    with pytest.raises(TraceFileError, match="events of at most 2 MiB"):
        read_bytes(tmp_path, b'[{"name": "' + b"x" * (5 << 20) + b'"}]')
    monkeypatch.setattr(module, "MAX_JSON_BYTES", 32 << 20)
    packer = zlib.compressobj(1, wbits=31)
    bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(33)) + packer.flush()
    for content in (bomb, gzip.compress(ONE) + bomb):
        with pytest.raises(TraceFileError, match="at most 32 MiB"):
            read_bytes(tmp_path, content)


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    with gzip.open(path, "wt", compresslevel=1) as file:
        file.write('{"other": ["' + "[{" * 6_000_000 + '"], "traceEvents": [')
        for number in range(8_000):
            file.write(("," if number else "") + json.dumps(call("op", number * 10.0, 8.0, args={"stack": "x" * 500})))
        file.write("]}")
    tracemalloc.start()
    num_events = sum(len(batch) for batch in TraceReader(path).batches())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert num_events == 8_000
    assert peak < 10 << 20  # the file is 17 MB of JSON


def test_a_missing_file_is_the_systems_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "nothing")
    assert read(write(tmp_path / "trace", NAMES))[1].name == "aten::t"
