"""A run's points as Parquet, written with pyarrow, an optional dependency.

Owns the file's columns and its row groups. Must not know runs, HTTP or files: it returns bytes as they are written.
"""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recis_server.store.values import ExportSize, PointsSlice

__all__ = ["ParquetEncoder"]

GROUP_ROWS = 131_072
"""Rows of a row group, of one series or of several small ones, held in memory until it is written."""
_SCHEMA = pa.schema(
    [
        ("key", pa.dictionary(pa.int32(), pa.string())),
        ("rank", pa.int32()),
        ("attempt", pa.int32()),
        ("step", pa.int64()),
        ("time", pa.timestamp("ns", tz="UTC")),
        ("value", pa.float64()),
        ("superseded", pa.bool_()),
    ]
)


class _Sink(io.RawIOBase):
    """A write-only file whose content the caller takes as it is written."""

    def __init__(self) -> None:
        self._written: list[bytes] = []
        self._position = 0

    def writable(self) -> bool:
        return True

    def write(self, data: object, /) -> int:
        piece = bytes(data)  # type: ignore[call-overload]
        self._written.append(piece)
        self._position += len(piece)
        return len(piece)

    def tell(self) -> int:
        return self._position

    def take(self) -> bytes:
        """Return the bytes written since the last call."""
        written, self._written = self._written, []
        return b"".join(written)


class ParquetEncoder:
    """Encodes points as Parquet (see `exports.Encoder`); NaN and infinities are values, times are exact."""

    def __init__(self, run: str, size: ExportSize) -> None:
        self._sink = _Sink()
        about = {"recis.run": run, "recis.expired": str(size.expired)}
        self._writer = pq.ParquetWriter(
            self._sink,
            _SCHEMA.with_metadata(about),
            compression="zstd",
            use_dictionary=["key", "rank", "attempt"],
            column_encoding={"step": "DELTA_BINARY_PACKED", "time": "DELTA_BINARY_PACKED"},
        )
        self._waiting: list[pa.RecordBatch] = []
        self._num_waiting = 0

    def begin(self) -> bytes:
        """See `exports.Encoder`."""
        return self._sink.take()

    def add(self, one: PointsSlice) -> bytes:
        """See `exports.Encoder`."""
        num_rows = len(one.steps)
        columns = [
            pa.DictionaryArray.from_arrays(pa.array(np.zeros(num_rows, np.int32)), pa.array([one.key], pa.string())),
            pa.array(np.full(num_rows, one.rank, np.int32)),
            pa.array(one.attempts.astype(np.int32, copy=False)),
            pa.array(one.steps),
            # Cast as bits: one of all int64 values is numpy's "not a time".
            pa.array(one.times).cast(_SCHEMA.field("time").type),
            pa.array(one.values),
            pa.array(np.full(num_rows, one.superseded, np.bool_)),
        ]
        self._waiting.append(pa.RecordBatch.from_arrays(columns, schema=_SCHEMA))
        self._num_waiting += num_rows
        if self._num_waiting >= GROUP_ROWS:
            self._flush()
        return self._sink.take()

    def end(self) -> bytes:
        """See `exports.Encoder`."""
        self._flush()
        self._writer.close()
        return self._sink.take()

    def _flush(self) -> None:
        if self._waiting:
            table = pa.Table.from_batches(self._waiting, _SCHEMA)
            self._writer.write_table(table, row_group_size=table.num_rows)
            self._waiting, self._num_waiting = [], 0
