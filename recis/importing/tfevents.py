"""Read the scalars of one event record of TensorBoard from the wire format of protocol buffers.

Knows the fields of `Event`, `SessionLog`, `Summary`, `SummaryMetadata` and `TensorProto` that lead to a scalar or mark
a restart, and skips all others: see docs/decisions/0008. Must not know files or series.
"""

import re
import struct
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

__all__ = ["Event", "EventReader"]

MAX_KINDS = 64
"""Kinds of ignored values that are counted separately."""
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_START = 1
"""Status of a session start, as `SummaryWriter(purge_step=…)` writes it."""
_SCALARS = "scalars"
_KINDS = {4: "images", 5: "histograms", 6: "audio"}
"""Fields of a value that hold no scalar."""
# Type of a tensor: numpy's, the field that lists its values where `tensor_content` is empty, and whether as varints.
_TENSORS = {
    1: ("<f4", 5, False),
    2: ("<f8", 6, False),
    3: ("<i4", 7, True),
    9: ("<i8", 10, True),
    14: ("bfloat16", 13, True),
    19: ("<f2", 13, True),
}


# Time, step and one value: a tag and a number. All three lengths fit into one byte.
_is_plain = re.compile(
    rb"\x09(.{8})(?:\x10([\x80-\xff]{0,9}[\x00-\x7f]))?\x2a(.)\x0a(.)\x0a(.)(.*)\x15(.{4})", re.DOTALL
).fullmatch
_MOST_PLAIN = 0x7F - 9
_double, _float = struct.Struct("<d").unpack, struct.Struct("<f").unpack


class Event(NamedTuple):
    """One record: `time_s` since 1970, the step, and the scalars by their tags.

    `starts` is whether the writer asked to discard earlier events from this step on.
    """

    time_s: float
    step: int
    scalars: list[tuple[str, float]]
    starts: bool = False


class EventReader:
    """Reader of the records of one file, in order.

    Attributes:
        ignored: number of values that are not scalars, by kind.
    """

    def __init__(self) -> None:
        self.ignored: Counter[str] = Counter()
        self._plugins: dict[str, str] = {}

    def read(self, record: bytes) -> Event:
        """Read one record; one that is not an event has no scalars and counts as ignored."""
        plain = _plain(record)
        if plain is not None:
            return plain
        time_s, step, starts = 0.0, 0, False
        scalars: list[tuple[str, float]] = []
        try:
            for field, kind, number, content in _fields(record):
                if field == 1 and kind == _FIXED64:
                    (time_s,) = struct.unpack("<d", content)
                elif field == 2 and kind == _VARINT:
                    step = _signed(number)
                elif field == 5 and kind == _BYTES:
                    for value in _messages(content, 1):
                        scalars.extend(self._value(value))
                elif field == 7 and kind == _BYTES:
                    starts = any(member == 1 and status == _START for member, _, status, _ in _fields(content))
                elif field in (4, 9):
                    self._ignore("graphs")
        except (ValueError, IndexError, struct.error):
            self._ignore("unreadable")
            scalars.clear()
        return Event(time_s, step, scalars, starts)

    def _value(self, data: bytes) -> Iterator[tuple[str, float]]:
        tag, plugin, ignored = "", "", ""
        found: float | None = None
        tensor: bytes | None = None
        for field, kind, _, content in _fields(data):
            if field == 1 and kind == _BYTES:
                tag = content.decode("utf-8", "replace")
            elif field == 2 and kind == _FIXED32:
                (found,) = struct.unpack("<f", content)
            elif field == 8 and kind == _BYTES:
                tensor = content
            elif field == 9 and kind == _BYTES:
                plugin = _plugin(content)
            elif field in _KINDS:
                ignored = _KINDS[field]
        # Writers state the plugin of a tag only once.
        if plugin:
            self._plugins[tag] = plugin
        plugin = self._plugins.get(tag, _SCALARS)
        if found is None and tensor is not None and plugin == _SCALARS:
            found = _scalar(tensor)
        if found is None:
            self._ignore(ignored or (plugin if plugin != _SCALARS else "tensors"))
        else:
            yield tag, found

    def _ignore(self, kind: str) -> None:
        self.ignored[kind if kind in self.ignored or len(self.ignored) < MAX_KINDS else "others"] += 1


def _plain(record: bytes) -> Event | None:
    """Read a record in the most common form, several times faster than field by field; return None for others."""
    match = _is_plain(record)
    if match is None:
        return None
    time, step, summary_size, value_size, tag_size, tag, number = match.groups()
    size = len(tag)
    if (tag_size[0], value_size[0], summary_size[0]) != (size, size + 7, size + 9) or size > _MOST_PLAIN:
        return None
    count = _signed(_varint(step, 0)[0]) if step else 0
    (time_s,), (value,) = _double(time), _float(number)
    return Event(time_s, count, [(tag.decode("utf-8", "replace"), value)])


def _plugin(metadata: bytes) -> str:
    """Return the name of the TensorBoard plugin that a value is for."""
    for data in _messages(metadata, 1):
        for name in _messages(data, 1):
            return name.decode("utf-8", "replace")
    return ""


def _scalar(tensor: bytes) -> float | None:
    """Return the number in a tensor that has exactly one; None for any other tensor."""
    dtype, size = 0, 1
    content = b""
    packed: dict[int, bytes] = {}
    numbers: dict[int, int] = {}
    for field, kind, number, data in _fields(tensor):
        if field == 1 and kind == _VARINT:
            dtype = number
        elif field == 2 and kind == _BYTES:
            for dimension in _messages(data, 2):
                size *= sum(_signed(extent) for member, _, extent, _ in _fields(dimension) if member == 1)
        elif field == 4 and kind == _BYTES:
            content = data
        elif kind == _VARINT:
            numbers[field] = number
        else:
            packed[field] = data
    if dtype not in _TENSORS or size != 1:
        return None
    name, field, as_varint = _TENSORS[dtype]
    if not content:
        content = packed.get(field, b"")
        if as_varint:
            value = _varint(content, 0)[0] if content else numbers.get(field, 0)
            content = value.to_bytes(8, "little")
        # A missing field is 0.
        content = content or bytes(8)
    if name == "bfloat16":
        return float(np.frombuffer(b"\0\0" + content[:2], "<f4")[0])
    return float(np.frombuffer(content[: np.dtype(name).itemsize], name)[0])


def _messages(data: bytes, wanted: int) -> Iterator[bytes]:
    """Return the contents of one field of a message."""
    for field, kind, _, content in _fields(data):
        if field == wanted and kind == _BYTES:
            yield content


def _fields(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Yield a message's fields: number, wire type, and either the value of a varint or the bytes.

    Raises:
        ValueError, IndexError: not a message.
    """
    position, end = 0, len(data)
    while position < end:
        key, position = _varint(data, position)
        kind = key & 7
        if kind == _VARINT:
            value, position = _varint(data, position)
            yield key >> 3, kind, value, b""
            continue
        if kind == _BYTES:
            size, position = _varint(data, position)
        elif kind in (_FIXED64, _FIXED32):
            size = 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"expected a wire type of a message, got {kind}")
        if position + size > end:
            raise ValueError(f"expected {size} more bytes, got {end - position}")
        yield key >> 3, kind, 0, data[position : position + size]
        position += size


def _varint(data: bytes, position: int) -> tuple[int, int]:
    byte = data[position]
    if byte < 0x80:
        return byte, position + 1
    value, shift = byte & 0x7F, 7
    while shift <= 63:
        position += 1
        byte = data[position]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, position + 1
        shift += 7
    raise ValueError("expected a number of at most 10 bytes")


def _signed(number: int) -> int:
    return number - 2**64 if number >= 2**63 else number
