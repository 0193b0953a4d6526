"""The records of an export with `format=columns`: a run's points for a program.

Owns the records and their framing: each is its length (4 bytes, little-endian) and so many bytes of MessagePack. One
`ExportHead`, any number of `ExportPart`, one `ExportEnd`: an answer without its end is incomplete.
Must not know HTTP, files or where points come from. Rules for change are those of `recis.wire.messages`.
"""

from collections.abc import Callable, Iterator

import msgspec

from recis.wire.messages import PROTOCOL_VERSION, Record

__all__ = ["MAX_EXPORT_BYTES", "ExportEnd", "ExportHead", "ExportPart", "pack", "unpack"]

MAX_EXPORT_BYTES = 64 << 20
"""Largest record; a longer one means that the answer is something else."""


class ExportHead(Record, frozen=True, tag="export"):
    """The header: the points of `run` follow; of `expired` further ones only buckets are left."""

    run: str
    expired: int = 0
    v: int = PROTOCOL_VERSION


class ExportPart(Record, frozen=True, tag="part"):
    """Points of one series on one rank, in order of step.

    Args:
        key: the series.
        rank: the rank.
        attempts: `(attempt, rows)` one after the other: so many of the n rows belong to that attempt.
        steps: n little-endian int64.
        times: n little-endian int64, nanoseconds since the Unix epoch.
        values: n little-endian float64.
        superseded: whether a later attempt supersedes them.
    """

    key: str
    rank: int
    attempts: tuple[tuple[int, int], ...]
    steps: bytes
    times: bytes
    values: bytes
    superseded: bool = False


class ExportEnd(Record, frozen=True, tag="end"):
    """The end: everything was sent, so many points."""

    points: int


_decoder = msgspec.msgpack.Decoder(ExportHead | ExportPart | ExportEnd)
_encoder = msgspec.msgpack.Encoder()


def pack(record: ExportHead | ExportPart | ExportEnd) -> bytes:
    """Return a record with its length in front."""
    data = _encoder.encode(record)
    return len(data).to_bytes(4, "little") + data


def unpack(read: Callable[[int], bytes]) -> Iterator[ExportHead | ExportPart]:
    """Yield the records up to the end, which is checked and left out.

    Args:
        read: returns so many bytes, fewer only at the end.

    Raises:
        ValueError: the answer is truncated, or not of this format.
    """
    points = 0
    while True:
        length = int.from_bytes(_exactly(read, 4), "little")
        if length > MAX_EXPORT_BYTES:
            raise ValueError(f"expected a record of at most {MAX_EXPORT_BYTES} bytes, got {length}")
        try:
            record = _decoder.decode(_exactly(read, length))
        except msgspec.MsgspecError as error:
            raise ValueError(f"expected columns of an export: {error}") from error
        if isinstance(record, ExportEnd):
            if record.points != points:
                raise ValueError(f"expected {record.points} points, got {points}")
            return
        if isinstance(record, ExportHead):
            if record.v != PROTOCOL_VERSION:
                raise ValueError(f"expected an export of version {PROTOCOL_VERSION}, got {record.v}")
        else:
            rows, uneven = divmod(len(record.steps), 8)
            sizes = {len(record.times), len(record.values), len(record.steps)}
            if uneven or len(sizes) > 1 or sum(count for _, count in record.attempts) != rows:
                raise ValueError(f"expected columns of equal length for {record.key!r:.80}, got {sorted(sizes)} bytes")
            points += rows
        yield record


def _exactly(read: Callable[[int], bytes], size: int) -> bytes:
    data = read(size)
    if len(data) < size:
        raise ValueError(f"the answer ends in the middle: expected {size} more bytes, got {len(data)}")
    return data
