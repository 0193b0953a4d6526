"""A run's points in full resolution, in one of four formats, piece by piece.

Owns the text formats and the pace: memory holds one window of points, whatever the run's size. Must not know HTTP or
files.
"""

import asyncio
import csv
import io
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import repeat
from typing import Literal, Protocol

import msgspec
import numpy as np

from recis.wire.exports import ExportEnd, ExportHead, ExportPart, pack
from recis_server.errors import InvalidValue
from recis_server.query.shapes import plain
from recis_server.store.interface import Store
from recis_server.store.values import ExportSize, PointsSlice

__all__ = ["FORMS", "Encoder", "Export", "Form", "open_export"]

Form = Literal["csv", "jsonl", "parquet", "columns"]
FORMS: dict[Form, str] = {
    "csv": "text/csv; charset=utf-8",
    "jsonl": "application/x-ndjson",
    "parquet": "application/vnd.apache.parquet",
    "columns": "application/x-recis-columns",
}
"""Formats and their media types."""
PIECE_ROWS = 8192
"""Points encoded at once: encoding holds the interpreter's lock, and live charts wait for it."""

PIECE_SERIES = 256
"""Series encoded at once if each has few points."""


class Encoder(Protocol):
    """One format. All methods are called on one thread at a time, other than the event loop's."""

    def begin(self) -> bytes:
        """Return the bytes before the points."""

    def add(self, one: PointsSlice) -> bytes:
        """Encode points; return the bytes that are complete."""

    def end(self) -> bytes:
        """Return the remaining bytes, and those after the points."""


class Export:
    """One export in progress.

    Attributes:
        size: the number of points at its beginning.
        num_points: the number of points encoded so far.
    """

    def __init__(self, slices: Callable[[], AsyncIterator[PointsSlice]], size: ExportSize, encoder: Encoder) -> None:
        self.size = size
        self.num_points = 0
        self._slices = slices
        self._encoder = encoder

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the bytes of the export; may be called once."""
        loop = asyncio.get_running_loop()
        # One thread for all pieces: allocators keep freed memory separately for each thread.
        with ThreadPoolExecutor(1, thread_name_prefix="export") as thread:
            yield await loop.run_in_executor(thread, self._encoder.begin)
            async for parts in _batches(self._slices()):
                piece = await loop.run_in_executor(thread, self._encode, parts)
                self.num_points += sum(len(part.steps) for part in parts)
                if piece:
                    yield piece
            yield await loop.run_in_executor(thread, self._encoder.end)

    def _encode(self, parts: Sequence[PointsSlice]) -> bytes:
        return b"".join([self._encoder.add(part) for part in parts])


async def open_export(
    store: Store, run: str, keys: Sequence[str] | None, form: Form, *, superseded: bool = True
) -> Export:
    """Return an export that has not begun.

    Args:
        store: the store of the points.
        run: an existing run.
        keys: series, None for all; those missing from the run are ignored.
        form: the format.
        superseded: whether to include points superseded by a later attempt, marked as such.

    Raises:
        InvalidValue: the format requires a library that is not installed.
    """
    size = await store.export_size(run, keys)
    encoder = await asyncio.to_thread(_encoder, run, form, size)
    return Export(lambda: store.export(run, keys, superseded=superseded), size, encoder)


def _encoder(run: str, form: Form, size: ExportSize) -> Encoder:
    match form:
        case "csv":
            return CsvEncoder()
        case "jsonl":
            return JsonLinesEncoder()
        case "columns":
            return ColumnsEncoder(run, size)
        case "parquet":
            try:
                from recis_server.query.parquet import ParquetEncoder
            except ImportError as error:
                raise InvalidValue(
                    "format",
                    "expected pyarrow to be installed where parquet is written (pip install 'recis-monitor[parquet]'),"
                    f" got: {error}",
                ) from error
            return ParquetEncoder(run, size)


async def _batches(slices: AsyncIterator[PointsSlice]) -> AsyncIterator[list[PointsSlice]]:
    """Yield all points in batches to encode at once: a part of a long series, or many short ones."""
    batch: list[PointsSlice] = []
    num_rows = 0
    async for one in slices:
        for part in _parts(one):
            if batch and (num_rows + len(part.steps) > PIECE_ROWS or len(batch) == PIECE_SERIES):
                yield batch
                batch, num_rows = [], 0
            batch.append(part)
            num_rows += len(part.steps)
    if batch:
        yield batch


def _parts(one: PointsSlice) -> Iterator[PointsSlice]:
    for first in range(0, len(one.steps), PIECE_ROWS):
        rows = slice(first, first + PIECE_ROWS)
        yield replace(
            one, steps=one.steps[rows], times=one.times[rows], values=one.values[rows], attempts=one.attempts[rows]
        )


def _values(one: PointsSlice) -> list[float | str]:
    """Return the values, with non-finite ones as text."""
    values: list[float | str] = one.values.tolist()
    for row in np.flatnonzero(~np.isfinite(one.values)).tolist():
        values[row] = plain(values[row])
    return values


class CsvEncoder(Encoder):
    """Comma-separated values: one header, one line per point; times in seconds."""

    def begin(self) -> bytes:
        return b"key,rank,attempt,step,time,value,superseded\n"

    def add(self, one: PointsSlice) -> bytes:
        text = io.StringIO()
        csv.writer(text, lineterminator="").writerow((one.key, one.rank, ""))
        head, tail = text.getvalue().encode(), b",1\n" if one.superseded else b",0\n"
        rows = zip(one.attempts.tolist(), one.steps.tolist(), (one.times / 1e9).tolist(), _values(one), strict=True)
        # The repr of a list of numbers yields thousands of lines in a few calls.
        lines = msgspec.json.encode(list(rows))[2:-2].replace(b'"', b"").replace(b"],[", tail + head)
        return b"".join((head, lines, tail))

    def end(self) -> bytes:
        return b""


class _Line(msgspec.Struct):
    key: str
    rank: int
    attempt: int
    step: int
    time: float
    value: float | str
    superseded: bool


class JsonLinesEncoder(Encoder):
    """One JSON object per line and point; non-finite values are text, times are in seconds."""

    def __init__(self) -> None:
        self._json = msgspec.json.Encoder()

    def begin(self) -> bytes:
        return b""

    def add(self, one: PointsSlice) -> bytes:
        lines = map(
            _Line,
            repeat(one.key),
            repeat(one.rank),
            one.attempts.tolist(),
            one.steps.tolist(),
            (one.times / 1e9).tolist(),
            _values(one),
            repeat(one.superseded),
        )
        return self._json.encode_lines(list(lines))

    def end(self) -> bytes:
        return b""


class ColumnsEncoder(Encoder):
    """The records of `recis.wire.exports`, for programs: no rounding, no parsing."""

    def __init__(self, run: str, size: ExportSize) -> None:
        self._head = ExportHead(run=run, expired=size.expired)
        self._num_points = 0

    def begin(self) -> bytes:
        return pack(self._head)

    def add(self, one: PointsSlice) -> bytes:
        self._num_points += len(one.steps)
        edges = np.concatenate(([0], np.flatnonzero(np.diff(one.attempts)) + 1, [len(one.attempts)]))
        counts = zip(one.attempts[edges[:-1]].tolist(), np.diff(edges).tolist(), strict=True)
        return pack(
            ExportPart(
                key=one.key,
                rank=one.rank,
                attempts=tuple(counts),
                steps=one.steps.astype("<i8", copy=False).tobytes(),
                times=one.times.astype("<i8", copy=False).tobytes(),
                values=one.values.astype("<f8", copy=False).tobytes(),
                superseded=one.superseded,
            )
        )

    def end(self) -> bytes:
        return pack(ExportEnd(points=self._num_points))
