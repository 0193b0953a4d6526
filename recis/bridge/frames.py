"""Turn the bytes of a frame into wire records: rows of one layout become columns.

Owns which records of a frame can be sent: all if the frame's checksum matches, otherwise those whose own checksum does.
Must not know files or the sender.
"""

import re
import sys
from array import array
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from zlib import crc32

import msgspec
import numpy as np

from recis.bridge.records import RECORD, ROW, FrameSpan, RowLayout, items_of, verified_records, verified_rows
from recis.wire.codec import WireError, decode_client, encode
from recis.wire.messages import Frame, FrameRecord, Points

__all__ = ["TIME_NS", "FrameContent", "leave_out", "num_values", "read_frame"]

TIME_NS = 1000
"""Times are sent in whole microseconds: the remaining digits are noise, and would take half of a time's bytes in the
store.
"""
FEW_WORDS = 4096
"""Up to this many words of one layout are converted without numpy. At four calls a second its code is never in the
processor's cache, and loading it would cost the training a tenth of a millisecond.
"""
MOST_TRIES = 16
"""Most records of one frame that are left out one by one, each after another refusal."""

_records = msgspec.msgpack.Decoder(FrameRecord)
_position_in = re.compile(r"\brecords\[(\d+)\]").search


class FrameContent(NamedTuple):
    """The records of a frame that can be sent, and the number of values and other records that cannot."""

    records: tuple[FrameRecord, ...]
    lost_values: int
    lost_records: int


def read_frame(data: bytes, span: FrameSpan, layouts: Mapping[int, RowLayout], seed: int) -> FrameContent:
    """Read a frame.

    Args:
        data: the bytes from `span.start` to `span.stop`; fewer if the file is truncated.
        span: the frame.
        layouts: the layouts of its segment, by number.
        seed: the seed of its segment.
    """
    is_whole = span.crc is not None and crc32(data, seed) == span.crc
    rows, payloads = _all_of(data) if is_whole else _verified_of(data, span, layouts, seed)
    points = [_points(layouts[number].keys, b"".join(parts)) for number, parts in rows.items() if number in layouts]
    records = [record for payload in payloads if (record := _decoded(payload)) is not None]
    lost = span.points - sum(map(num_values, points)), span.records - len(records)
    return FrameContent((*points, *records), *lost)


def _all_of(data: bytes) -> tuple[dict[int, list[memoryview]], list[memoryview]]:
    """Return the rows by layout, and the payloads of the other records."""
    rows: dict[int, list[memoryview]] = {}
    payloads = []
    view = memoryview(data)
    for item in items_of(view, 0, len(data)):
        if item.kind == ROW:
            rows.setdefault(item.layout, []).append(view[item.start : item.stop])
        elif item.kind == RECORD:
            payloads.append(item.payload(view))
    return rows, payloads


def _verified_of(
    data: bytes, span: FrameSpan, layouts: Mapping[int, RowLayout], seed: int
) -> tuple[dict[int, list[memoryview]], list[memoryview]]:
    """Return the same for the records whose own checksum matches."""
    verified = verified_rows(data, span.start, layouts, span.start, span.start + len(data))
    rows = {layout.number: [memoryview(found.tobytes())] for layout, _, found in verified if len(found)}
    view = memoryview(data)
    items = verified_records(data, seed, span.start)
    return rows, [item.payload(view) for item in items if item.kind == RECORD]


def _decoded(payload: memoryview) -> FrameRecord | None:
    """Decode a record; return None if this version cannot."""
    try:
        record: FrameRecord = _records.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return record


def num_values(record: FrameRecord) -> int:
    """Return the number of values in a record."""
    return len(record.values) // 8 if isinstance(record, Points) else 0


def leave_out(records: Sequence[FrameRecord], out: frozenset[int], refusal: str) -> frozenset[int]:
    """Choose more records to leave out of a frame that the server has refused.

    In this order: records that violate the protocol, the record that the refusal names, everything but values, all.

    Args:
        records: all records of the frame.
        out: positions of the records that were left out before.
        refusal: the server's message.

    Returns:
        A larger set of positions.
    """
    kept = [position for position in range(len(records)) if position not in out]
    wrong = [position for position in kept if not _is_right(records[position])]
    named = _position_in(refusal)
    if not wrong and named is not None and len(out) < MOST_TRIES and int(named[1]) < len(kept):
        wrong = [kept[int(named[1])]]
    wrong = wrong or [position for position in kept if not isinstance(records[position], Points)]
    return out | frozenset(wrong or kept)


def _is_right(record: FrameRecord) -> bool:
    try:
        decode_client(encode(Frame(n=1, records=(record,))))
    except (WireError, ValueError, TypeError, OverflowError, RecursionError):
        return False
    return True


def _points(keys: tuple[str, ...], rows: bytes) -> Points:
    """Convert rows of one layout (head, step, values, time) to columns."""
    width = len(keys) + 3
    if len(rows) <= 8 * FEW_WORDS and sys.byteorder == "little":
        words = memoryview(rows).cast("q")
        _, step, *values, time = (words[place::width] for place in range(width))
        return Points(
            keys=keys,
            steps=step.tobytes(),
            times=array("q", [moment // TIME_NS * TIME_NS for moment in time]).tobytes(),
            values=b"".join([column.tobytes() for column in values]),
        )
    return _points_of_many(keys, rows)


def _points_of_many(keys: tuple[str, ...], rows: bytes) -> Points:
    """Do the same as `_points`, with numpy."""
    words = np.frombuffer(rows, np.int64).reshape(-1, len(keys) + 3)
    return Points(
        keys=keys,
        steps=words[:, 1].astype("<i8").tobytes(),
        times=(words[:, -1] // TIME_NS * TIME_NS).astype("<i8").tobytes(),
        values=words[:, 2:-1].view(np.float64).T.astype("<f8", order="C").tobytes(),
    )
