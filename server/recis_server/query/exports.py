"""A run's points in full resolution, as one of four formats, piece after piece.

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
"""Formats, and what HTTP calls them."""
PIECE_ROWS = 8192
"""Points that are encoded at once: encoding holds the interpreter's lock, and live charts wait for that."""

PIECE_SERIES = 256
"""The same for series that have few points each."""


class Encoder(Protocol):
    """One format. All of it is called on one thread at a time, not the event loop's."""

    def begin(self) -> bytes:
        """What stands before the points."""

    def add(self, one: PointsSlice) -> bytes:
        """Takes points; returns what is ready."""

    def end(self) -> bytes:
        """What is left, and what stands after the points."""


class Export:
    """One export under way.

    Attributes:
        size: how much there is, as of its beginning.
        num_points: points that have been encoded so far.
    """

    def __init__(self, slices: Callable[[], AsyncIterator[PointsSlice]], size: ExportSize, encoder: Encoder) -> None:
        self.size = size
        self.num_points = 0
        self._slices = slices
        self._encoder = encoder

    async def pieces(self) -> AsyncIterator[bytes]:
        """The export's bytes, once."""
        loop = asyncio.get_running_loop()
        # One thread for all of it: allocators keep what they have freed, each thread's apart.
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
    """An export that has not begun.

    Args:
        store: where the points are.
        run: a run that is there.
        keys: series, None for all; those that the run does not have are left out.
        form: the format.
        superseded: whether to give what newer attempts have gone back behind, marked.

    Raises:
        InvalidValue: the format needs a library that is not installed.
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
    """All points, so many at a time that they are encoded at once: a part of a long series, or many short ones."""
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
    """The values, those that are not finite as text."""
    values: list[float | str] = one.values.tolist()
    for row in np.flatnonzero(~np.isfinite(one.values)).tolist():
        values[row] = plain(values[row])
    return values


class CsvEncoder:
    """Comma-separated values: one header, one line a point; times in seconds."""

    def begin(self) -> bytes:
        """See `Encoder`."""
        return b"key,rank,attempt,step,time,value,superseded\n"

    def add(self, one: PointsSlice) -> bytes:
        """See `Encoder`."""
        text = io.StringIO()
        csv.writer(text, lineterminator="").writerow((one.key, one.rank, ""))
        head, tail = text.getvalue().encode(), b",1\n" if one.superseded else b",0\n"
        rows = zip(one.attempts.tolist(), one.steps.tolist(), (one.times / 1e9).tolist(), _values(one), strict=True)
        # Lists of numbers are lines already: a few calls for thousands of them.
        lines = msgspec.json.encode(list(rows))[2:-2].replace(b'"', b"").replace(b"],[", tail + head)
        return b"".join((head, lines, tail))

    def end(self) -> bytes:
        """See `Encoder`."""
        return b""


class _Line(msgspec.Struct):
    key: str
    rank: int
    attempt: int
    step: int
    time: float
    value: float | str
    superseded: bool


class JsonLinesEncoder:
    """One JSON object a line and point; values that are not finite are text, times are in seconds."""

    def __init__(self) -> None:
        self._json = msgspec.json.Encoder()

    def begin(self) -> bytes:
        """See `Encoder`."""
        return b""

    def add(self, one: PointsSlice) -> bytes:
        """See `Encoder`."""
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
        """See `Encoder`."""
        return b""


class ColumnsEncoder:
    """The records of `recis.wire.exports`, for programs: nothing is rounded, nothing has to be parsed."""

    def __init__(self, run: str, size: ExportSize) -> None:
        self._head = ExportHead(run=run, expired=size.expired)
        self._num_points = 0

    def begin(self) -> bytes:
        """See `Encoder`."""
        return pack(self._head)

    def add(self, one: PointsSlice) -> bytes:
        """See `Encoder`."""
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
        """See `Encoder`."""
        return pack(ExportEnd(points=self._num_points))
