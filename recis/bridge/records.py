"""The binary format of a spool segment, and the checksums that verify each of its records.

Owns header, records and seals; must not know files (`segment`) or what a record means (`frames`).

A segment is a sequence of 8-byte words in native byte order. Each record starts with a head word: checksum in bits 0 to
31, number of words of a row (0 for other records) in bits 32 to 47, row layout in bits 48 to 62.

- Row: step (int64), one float64 per name, time (int64). The checksum is (the words after the head as one integer + the
  layout's salt + the row's position) modulo `PRIME`.
- Other records: payload length (bits 0 to 31) and kind (bits 32 to 63) in one word, the payload, zero padding. The
  checksum is the CRC-32 of all of that, with the segment's seed + the record's position as its initial value.

The seed depends on the writer and the segment, the salt on the seed and the names; a position is a word index. A record
is therefore valid only where it was written, and a row only under its own names.
"""

import hashlib
import struct
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple, Self
from zlib import crc32

import numpy as np
import numpy.typing as npt

__all__ = [
    "COPIED_NAMES_BYTES",
    "HEADER_BYTES",
    "MAGIC",
    "MOST_LAYOUTS",
    "NAMES",
    "NAMES_COPY",
    "PRIME",
    "RECORD",
    "ROW",
    "ROW_VALUES",
    "SEAL",
    "SEAL_BYTES",
    "SEAL_COPY",
    "VERSION",
    "FrameSpan",
    "Header",
    "Item",
    "RowLayout",
    "VerifiedRows",
    "head_of",
    "heads_in",
    "items_of",
    "record_bytes",
    "row_head",
    "seed_of",
    "tag_of",
    "verified_records",
    "verified_rows",
]

MAGIC = b"RECISSPL"
VERSION = 3
ROW, NAMES, RECORD, SEAL, NAMES_COPY, SEAL_COPY = range(6)
"""Kinds of records in a segment: rows of one layout, the names of a layout, an encoded wire record, the seal of a
frame. Names and seals are stored twice because whole frames depend on them.
"""
PRIME = 1_000_000_007
"""Below 2^30, a single digit of Python's integers, which keeps the remainder cheap in the plain writer. Detects every
change of one or two bits (no power of two up to 2^131200 is 1 or -1 modulo this number), and a random change with a
probability of 1 - 1e-9."""
MOST_LAYOUTS = 1 << 15
ROW_VALUES = 2048
"""Most values in one row; a wider report has several rows. The names of a row, of 512 characters each, fit into a
segment, and its words have few enough bits for the guarantee of `PRIME`.
"""

_WORD = struct.Struct("=Q")
_TWO_WORDS = struct.Struct("=QQ")
_HEADER = struct.Struct("=8sIIQQQQIIIIIIII")
_CRC = struct.Struct("=Ixxxx")
HEADER_BYTES = _HEADER.size + _CRC.size
_SEAL = struct.Struct("=QQIIIIIxxxx")
SEAL_BYTES = _TWO_WORDS.size + _SEAL.size
COPIED_NAMES_BYTES = 64 << 10
"""Names longer than this are stored once: two copies of the longest would not fit into a segment."""
_LOW = 0xFFFFFFFF
_FEW_ROWS = 8
"""Number of rows to compare one by one before using numpy: cheaper where layouts alternate."""
_ROWS_AT_ONCE = 1 << 16
"""Words of rows to verify per numpy call, which bounds the memory that a damaged segment can take."""


class Header(NamedTuple):
    """The first bytes of a segment, repeated at its end. All fields after `size` are 0 until the segment is closed.

    Attributes:
        number: sequence number of the segment.
        writer: `tag_of` the writer.
        last_before: number of the last frame before this segment, so that numbering survives without older segments.
        dropped: points that the writer had dropped at its bound before this segment.
        last_frame: number of the last frame in this segment.
        size: size of the segment in bytes.
        end: offset of the end of the records.
        unsealed: offset of the records after the last seal.
        points: number of values after the last seal.
        records: number of records other than rows after the last seal.
        all_points: number of values in the segment.
        all_records: number of records other than rows in the segment.
        is_final: 1 if the writer ended with this segment, 0 if another one follows.
    """

    number: int
    writer: int
    last_before: int
    dropped: int
    last_frame: int
    size: int
    end: int = 0
    unsealed: int = 0
    points: int = 0
    records: int = 0
    all_points: int = 0
    all_records: int = 0
    is_final: int = 0

    def pack(self) -> bytes:
        """Return the header's bytes, checksum included."""
        data = _HEADER.pack(MAGIC, VERSION, *self)
        return data + _CRC.pack(crc32(data))

    @classmethod
    def unpack(cls, data: bytes, start: int) -> Self | None:
        """Return the header at `start`, or None if it is damaged or of another version."""
        if not 0 <= start <= len(data) - HEADER_BYTES:
            return None
        magic, version, *fields = _HEADER.unpack_from(data, start)
        (crc,) = _CRC.unpack_from(data, start + _HEADER.size)
        is_whole = (magic, version, crc) == (MAGIC, VERSION, crc32(data[start : start + _HEADER.size]))
        return cls(*fields) if is_whole else None


@dataclass(frozen=True, slots=True)
class RowLayout:
    """The names of rows that were reported together.

    Attributes:
        number: identifies the layout within its segment.
        keys: the names, in the order of the values.
        salt: added to the checksum of each row.
        words: size of a row in words: head, step, values, time.
        head: the head word of a row without its checksum.
    """

    number: int
    keys: tuple[str, ...]
    salt: int
    words: int = field(init=False)
    head: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "words", len(self.keys) + 3)
        object.__setattr__(self, "head", len(self.keys) + 3 << 32 | self.number << 48)


class FrameSpan(NamedTuple):
    """A frame in a segment.

    Attributes:
        n: the frame's number.
        dropped: points that the writer had dropped at its bound when the frame was sealed.
        start: offset of its first record.
        stop: offset of its end, where the seal follows.
        points: number of values in its rows.
        records: number of other records.
        crc: CRC-32 of its bytes with the segment's seed as initial value; None if each record must be verified.
    """

    n: int
    dropped: int
    start: int
    stop: int
    points: int
    records: int
    crc: int | None

    def pack(self) -> bytes:
        """Return the payload of the frame's seal."""
        return _SEAL.pack(*self)

    @classmethod
    def unpack(cls, payload: memoryview) -> Self | None:
        """Return the frame that a seal describes, or None if the payload is not a seal's."""
        span = cls(*_SEAL.unpack(payload)) if len(payload) == _SEAL.size else None
        return span if span is not None and span.n > 0 and span.start < span.stop else None


class Item(NamedTuple):
    """A record, or adjacent rows of one layout, from offset `start` to `stop`; each takes `width` bytes."""

    kind: int
    layout: int
    start: int
    stop: int
    width: int

    def payload(self, data: memoryview) -> memoryview:
        """Return the payload of a record that is not a row."""
        *_, length = head_of(data, self.start)
        return data[self.start + 16 : self.start + 16 + length]


def tag_of(writer: str) -> int:
    """Return a 64-bit digest of a writer's identifier."""
    return int.from_bytes(hashlib.blake2b(writer.encode(), digest_size=8).digest(), "little")


def seed_of(writer: int, number: int) -> int:
    """Return the seed of a segment's checksums; `writer` is the writer's tag."""
    return crc32(_TWO_WORDS.pack(writer, number))


def row_head(row: bytes, layout: RowLayout, place: int) -> int:
    """Return the head word for the other words of a row; `place` is the row's position in words."""
    return layout.head | (int.from_bytes(row, sys.byteorder) + layout.salt + place) % PRIME


def record_bytes(kind: int, payload: bytes | memoryview, seed: int, place: int, layout: int = 0) -> bytes:
    """Return the bytes of a record that is not a row; `place` is its position in words."""
    head, size = layout << 48, len(payload) | kind << 32
    return b"".join(
        (_TWO_WORDS.pack(head | _check(head, size, payload, seed, place), size), payload, bytes(-len(payload) % 8))
    )


def _check(head: int, size: int, payload: bytes | memoryview, seed: int, place: int) -> int:
    return crc32(payload, crc32(_TWO_WORDS.pack(head, size), seed + place & _LOW))


def head_of(data: bytes | memoryview, start: int) -> tuple[int, int, int]:
    """Return the head word at `start`, and the kind and payload length in the word after it."""
    head, size = _TWO_WORDS.unpack_from(data, start)
    return head, size >> 32, size & _LOW


def items_of(data: memoryview, start: int, stop: int) -> Iterator[Item]:
    """Yield the records in `data[start:stop]` without verifying them, adjacent rows of one layout as one item.

    A Python loop over every row would hold the interpreter lock, which the training thread needs.
    """
    while start + 16 <= stop:
        head, kind, length = head_of(data, start)
        width, layout = (head >> 32 & 0xFFFF) * 8, head >> 48
        if width:
            end = start + width * _count_alike(data, start, stop, width)
            yield Item(ROW, layout, start, end, width)
        else:
            width = 16 + length + -length % 8
            end = start + width
            if kind == 0 or end > stop:
                return
            yield Item(kind, layout, start, end, width)
        if end == start:
            return
        start = end


def _count_alike(data: memoryview, start: int, stop: int, size: int) -> int:
    """Return the number of adjacent rows from `start` on that have the layout of the first."""
    most, width = (stop - start) // size, size // 8
    alike = _WORD.unpack_from(data, start)[0] >> 32
    for count in range(min(most, _FEW_ROWS)):
        if _WORD.unpack_from(data, start + count * size)[0] >> 32 != alike:
            return count
    count, window = min(most, _FEW_ROWS), 8 * _FEW_ROWS
    while count < most:
        length = min(window, most - count)
        heads = np.frombuffer(data, np.uint64, length * width, start + count * size)[::width]
        others = heads >> np.uint64(32) != alike
        if others.any():
            return count + int(others.argmax())
        count += length
        window *= 8
    return count


def verified_records(data: bytes, seed: int, base: int = 0) -> Iterator[Item]:
    """Yield all records except rows whose checksum matches, in the part of a segment that starts at offset `base`."""
    words = np.frombuffer(data, np.uint64, len(data) // 8)
    heads, sizes = words[:-1], words[1:]
    kinds = sizes >> np.uint64(32)
    may_be = (heads & np.uint64(0xFFFF << 32) == 0) & (kinds >= NAMES) & (kinds <= SEAL_COPY)
    view, reach = memoryview(data), 0
    for place in np.flatnonzero(may_be).tolist():
        start = 8 * place
        head, kind, length = head_of(data, start)
        stop = start + 16 + length
        # Whatever a payload contains, it is not a record.
        if start < reach or stop > len(data):
            continue
        if _check(head & ~_LOW, length | kind << 32, view[start + 16 : stop], seed, base // 8 + place) == head & _LOW:
            reach = stop + -stop % 8
            yield Item(kind, head >> 48, start, reach, reach - start)


class VerifiedRows(NamedTuple):
    """Rows of one layout: their offsets in the segment, and their words as a matrix with one row per line."""

    layout: RowLayout
    places: npt.NDArray[np.int64]
    rows: npt.NDArray[np.uint64]


def verified_rows(
    data: bytes, base: int, layouts: Mapping[int, RowLayout], start: int, stop: int
) -> Iterator[VerifiedRows]:
    """Yield all rows between two offsets whose checksum matches, whatever lies between them.

    Args:
        data: the segment, or a part of it.
        base: offset of `data` in the segment.
        layouts: the layouts of the segment, by number.
        start: first offset, a multiple of 8 and at least `base`.
        stop: end, at most that of `data`.
    """
    if stop - start < 8 or not layouts:
        return
    words = np.frombuffer(data, np.uint64, (stop - start) // 8, start - base)
    for layout, places in heads_in(words, layouts):
        yield _verify_rows(layout, words, places[places <= len(words) - layout.words], start)


def heads_in(
    words: npt.NDArray[np.uint64], layouts: Mapping[int, RowLayout]
) -> Iterator[tuple[RowLayout, npt.NDArray[np.int64]]]:
    """Yield for each layout the indices of the words that could be heads of its rows.

    One pass for all layouts, of which there can be thousands.
    """
    heads = (words >> np.uint64(32)).astype(np.uint32)
    known = np.sort(np.array([layout.head >> 32 for layout in list(layouts.values())], np.uint32))
    may_be = np.flatnonzero(known[np.searchsorted(known[:-1], heads)] == heads)
    may_be = may_be[np.argsort(heads[may_be], kind="stable")]
    _, firsts = np.unique(heads[may_be], return_index=True)
    for places in np.split(may_be, firsts[1:]):
        if len(places):
            yield layouts[int(heads[places[0]]) >> 16], places


def _verify_rows(
    layout: RowLayout, words: npt.NDArray[np.uint64], may_be: npt.NDArray[np.int64], start: int
) -> VerifiedRows:
    width = layout.words
    weights = _weights(width - 1)
    places, found = [np.empty(0, np.int64)], [np.empty((0, width), np.uint64)]
    for first in range(0, len(may_be), max(1, _ROWS_AT_ONCE // width)):
        at = may_be[first : first + max(1, _ROWS_AT_ONCE // width)]
        rows = words[at[:, None] + np.arange(width)]
        halves = np.concatenate((rows[:, 1:] & np.uint64(_LOW), rows[:, 1:] >> np.uint64(32)), axis=1)
        numbers = (halves % np.uint64(PRIME) * weights % np.uint64(PRIME)).sum(axis=1)
        numbers += (at + start // 8).astype(np.uint64) + np.uint64(layout.salt)
        right = numbers % np.uint64(PRIME) == rows[:, 0] & np.uint64(_LOW)
        places.append(start + 8 * at[right])
        found.append(rows[right])
    return VerifiedRows(layout, np.concatenate(places), np.concatenate(found))


@lru_cache(maxsize=64)
def _weights(width: int) -> npt.NDArray[np.uint64]:
    """Return the weights modulo `PRIME` of the lower halves of `width` words, then of the upper halves."""
    order = range(width) if sys.byteorder == "little" else range(width - 1, -1, -1)
    return np.array([pow(2, 64 * place + high, PRIME) for high in (0, 32) for place in order], np.uint64)
