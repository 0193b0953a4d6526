"""The names of a run's series as JSON, in pieces: a run may have hundreds of thousands of them.

Owns how many are encoded at once, on another thread; must not know HTTP, sockets or where rows come from.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Sequence

import msgspec

from recis_server.query.shapes import metric_shape
from recis_server.store.values import MetricRow

__all__ = ["NAMES_AT_ONCE", "metrics_pieces", "metrics_text"]

NAMES_AT_ONCE = 4096


async def metrics_pieces(rows: Sequence[MetricRow]) -> AsyncIterator[bytes]:
    """Yield the answer of `GET …/metrics`."""
    yield b'{"metrics":['
    for place, names in enumerate(_cut(rows)):
        piece = await asyncio.to_thread(_encode, names)
        yield b"," + piece if place else piece
    yield b"]}"


def metrics_text(run: str, rows: Sequence[MetricRow]) -> str:
    """Return the message `metrics` of `/ws/live`; call it on another thread, since many names take long."""
    names = b",".join(map(_encode, _cut(rows))).decode()
    return f'{{"type":"metrics","run":{json.dumps(run)},"metrics":[{names}]}}'


def _cut(rows: Sequence[MetricRow]) -> Iterator[Sequence[MetricRow]]:
    for first in range(0, len(rows), NAMES_AT_ONCE):
        yield rows[first : first + NAMES_AT_ONCE]


def _encode(rows: Sequence[MetricRow]) -> bytes:
    return msgspec.json.encode([metric_shape(row) for row in rows])[1:-1]
