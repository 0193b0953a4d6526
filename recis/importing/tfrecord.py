"""Read the records of a TFRecord file: length, checksum, bytes, checksum.

Owns the framing and its checks; must not know what a record means.
"""

import struct
from collections.abc import Iterator
from typing import BinaryIO

import google_crc32c

__all__ = ["DamagedError", "read_records"]

MAX_RECORD_BYTES = 256 << 20
_HEAD = struct.Struct("<QI")
_FOOT = struct.Struct("<I")


class DamagedError(ValueError):
    """A record that is complete but invalid; `offset` is where it begins."""

    def __init__(self, offset: int, why: str) -> None:
        super().__init__(f"at byte {offset}: {why}")
        self.offset = offset


def read_records(file: BinaryIO, offset: int = 0) -> Iterator[tuple[bytes, int]]:
    """Yield the records from `offset` on, each with the offset after it; end before an incomplete record.

    Args:
        file: open for reading; another process may be appending to it.
        offset: the beginning of a record.

    Raises:
        DamagedError: a checksum does not match.
    """
    file.seek(offset)
    while len(head := file.read(_HEAD.size)) == _HEAD.size:
        length, checksum = _HEAD.unpack(head)
        if _masked(head[:8]) != checksum or length > MAX_RECORD_BYTES:
            raise DamagedError(offset, f"expected a record's length, got {head.hex()}")
        body = file.read(length + _FOOT.size)
        if len(body) < length + _FOOT.size:
            return
        data = body[:length]
        if (_masked(data),) != _FOOT.unpack_from(body, length):
            raise DamagedError(offset, f"the checksum of a record of {length} bytes does not match")
        offset += _HEAD.size + len(body)
        yield data, offset


def _masked(data: bytes) -> int:
    # Masked as the format requires, because of checksums of data that contains checksums.
    checksum: int = google_crc32c.value(data)
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF
