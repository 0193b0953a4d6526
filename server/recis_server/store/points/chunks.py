"""Encoding of cold columns: the content of chunks, axes and pyramids.

Owns the codecs, identified by the first byte of a column so that old chunks remain readable; must not know SQL. Columns
are byte-shuffled (bytes of equal significance together, as in HDF5's shuffle filter) and compressed with Zstandard.
"""

import threading
from typing import Any

import numpy as np
import numpy.typing as npt
import zstandard

from recis_server.store.points.buckets import Points, coarsen, unfold
from recis_server.store.values import Buckets

__all__ = [
    "CELL_BYTES",
    "CHUNK_ROWS",
    "FIRST_LEVEL",
    "LEVEL_STEP",
    "decode_cells",
    "decode_steps",
    "decode_values",
    "encode_cells",
    "encode_steps",
    "encode_values",
    "expand_cells",
    "make_cells",
]

CHUNK_ROWS = 16_384
CELL_BYTES = 64
FIRST_LEVEL, LEVEL_STEP, LAST_LEVEL = 6, 3, 60
"""Cells of a pyramid cover 2^6, 2^9, … steps; bit i of a chunk's `levels` says that level 6 + 3 i exists."""
_WORTH = 8
"""A level is kept if it has at most an eighth as many cells as the chunk has rows."""
_LOOSE_CELLS = 8
"""Up to this many cells of one chunk are not compressed: charts of thousands of chunks read few of each, and fast."""
_DELTAS, _FLOAT64, _FLOAT32, _CELLS, _THOUSANDS = b"\1", b"\2", b"\3", b"\4", b"\5"

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


class _Zstandard(threading.local):
    """Zstandard contexts per thread: creating one takes longer than decompressing a few cells."""

    def __init__(self) -> None:
        self.compressor = zstandard.ZstdCompressor(level=1)
        self.decompressor = zstandard.ZstdDecompressor()


_zstandard = _Zstandard()


def encode_steps(column: Ints) -> bytes:
    """Encode steps, or times in ns, as differences modulo 2^64; in thousands if all of them are multiples.

    Times are whole microseconds in this project's client: the digits below would take half of a time's bytes.
    """
    differences = np.diff(column, prepend=np.int64(0))
    thousands, rest = np.divmod(differences, 1000)
    return _DELTAS + _squeeze(differences) if rest.any() else _THOUSANDS + _squeeze(thousands)


def decode_steps(data: bytes) -> Ints:
    """Decode `encode_steps`; raise `ValueError` for an unknown codec."""
    if data[:1] not in (_DELTAS, _THOUSANDS):
        raise ValueError(f"expected a column of codec {_DELTAS!r} or {_THOUSANDS!r}, got {data[:1]!r}")
    differences: Ints = _expand(data, "<i8")
    if data[:1] == _THOUSANDS:
        differences = differences * 1000
    return np.cumsum(differences, dtype=np.int64)


def encode_values(column: Floats) -> bytes:
    """Encode values, in half the bytes if single precision represents all of them exactly."""
    with np.errstate(over="ignore", invalid="ignore"):
        single = column.astype("<f4")
        exact = bool((single.astype("<f8").view("<i8") == column.view("<i8")).all())
    return _FLOAT32 + _squeeze(single) if exact else _FLOAT64 + _squeeze(column)


def decode_values(data: bytes) -> Floats:
    """Decode `encode_values`, NaN payloads included; raise `ValueError` like `decode_steps`."""
    if data[:1] == _FLOAT32:
        return _expand(data, "<f4").astype(np.float64)
    if data[:1] == _FLOAT64:
        return _expand(data, "<f8")
    raise ValueError(f"expected a column of codec {_FLOAT64!r} or {_FLOAT32!r}, got {data[:1]!r}")


def encode_cells(cells: Buckets) -> bytes:
    """Encode cells row by row, so that those of adjacent chunks concatenate to one table; compress large tables."""
    table = np.stack(cells.columns(), axis=1).astype("<f8", copy=False)
    if len(cells) <= _LOOSE_CELLS:
        return table.tobytes()
    packed = _CELLS + _squeeze(table.view(f"V{CELL_BYTES}").ravel())
    # Uncompressed tables are recognised by their length.
    return packed + b"\0" if len(packed) % CELL_BYTES == 0 else packed


def expand_cells(data: bytes) -> bytes:
    """Return the table of `encode_cells`, compressed or not; raise `ValueError` like `decode_steps`."""
    if len(data) % CELL_BYTES == 0:
        return data
    if data[:1] != _CELLS:
        raise ValueError(f"expected cells of codec {_CELLS!r}, got {data[:1]!r}")
    return _expand(data, f"V{CELL_BYTES}").tobytes()


def decode_cells(data: bytes) -> Buckets:
    """Return the cells of concatenated tables (see `expand_cells`)."""
    return Buckets(*np.ascontiguousarray(np.frombuffer(data, "<f8").reshape(-1, 8).T))


def make_cells(points: Points) -> dict[int, Buckets]:
    """Return the pyramid of one chunk: cells by level, for the levels worth keeping, up to the first single cell."""
    levels: dict[int, Buckets] = {}
    finer = unfold(points)
    for level in range(FIRST_LEVEL, LAST_LEVEL + 1, LEVEL_STEP):
        finer = coarsen(finer, 1 << level)
        if len(finer) * _WORTH <= len(points.steps):
            levels[level] = finer
            if len(finer) == 1:
                break
    return levels


def _squeeze(column: npt.NDArray[Any]) -> bytes:
    rows = np.ascontiguousarray(column).view(np.uint8).reshape(len(column), column.dtype.itemsize)
    return _zstandard.compressor.compress(np.ascontiguousarray(rows.T).tobytes())


def _expand(data: bytes, dtype: str) -> npt.NDArray[Any]:
    width = np.dtype(dtype).itemsize
    planes = np.frombuffer(_zstandard.decompressor.decompress(memoryview(data)[1:]), np.uint8).reshape(width, -1)
    return np.ascontiguousarray(planes.T).view(dtype).ravel()
