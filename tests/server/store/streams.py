"""A real SQLite store in a folder, and the writers and frames that the store's tests put into it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
from recis_server.store.sql import SqlStore
from recis_server.store.values import StoredFrame, StreamRow

from recis.wire.codec import column
from recis.wire.messages import Frame, FrameRecord, Hello, Pass, Points
from tests.server.store.databases import engine_of

SECOND = 1_000_000_000


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Runs a test's coroutine with a limit."""
    asyncio.run(asyncio.wait_for(scenario(), 60))


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[SqlStore]:
    """The store of `folder`, open."""
    store = SqlStore(engine_of(folder))
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def greeting(run: str = "r", writer: str = "w", attempt: str = "a", **more: Any) -> Hello:
    """A greeting of one process."""
    return Hello(run=run, writer=writer, attempt=attempt, **more)


def points(steps: list[int], **series: list[float]) -> Points:
    """Rows of points, the step in seconds as their time."""
    return Points(
        keys=tuple(series),
        steps=column(steps, "<i8"),
        times=column([step * SECOND for step in steps], "<i8"),
        values=column(np.array(list(series.values()), dtype=np.float64).reshape(-1), "<f8"),
    )


def frame(stream: StreamRow, n: int, *records: FrameRecord, dropped: int = 0) -> StoredFrame:
    """A frame as the ingest hands it over."""
    return StoredFrame(stream, Frame(n=n, records=records, dropped=dropped), n * SECOND)


async def read(store: SqlStore, key: str, run: str = "r", rank: int = 0) -> list[tuple[int, float]]:
    """One series as pairs."""
    _, found = await store.points(run, key, [rank], None, None)
    return [pair for one in found for pair in zip(one.steps.tolist(), one.values.tolist(), strict=True)]


def one_pass(step: int, table: str = "user") -> Pass:
    """A filter pass after `step`."""
    return Pass(
        table=table,
        step=step,
        time_ns=step,
        interval=100,
        rows_before=10,
        evicted=1,
        rows_after=9,
        admitted=2,
        milliseconds=0.5,
        bytes=64,
    )
