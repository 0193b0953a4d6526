"""The whole app in this process, queried over ASGI; and the real command in a separate process."""

import asyncio
import contextlib
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx
from fastapi import FastAPI
from recis_server.main import create_app
from recis_server.settings import Settings
from recis_server.store.upkeep.supervisor import MaintenanceSupervisor
from recis_server.store.values import StoredFrame, StreamRow

from recis.wire.messages import Declare, Event, Frame, FrameRecord, Hello
from tests.children import SERVER, Child, start
from tests.server.realserver import points

ADDRESS = "http://127.0.0.1:8765"


def settings(folder: Path, **more: Any) -> Settings:
    """Return settings with the data in `folder`, independent of the environment."""
    return Settings(**{"data": folder, "port": 0, **more})


@dataclass
class Site:
    """An open app and a client on its loopback address."""

    app: FastAPI
    client: httpx.AsyncClient

    async def run(self, run: str = "r", *records: FrameRecord, **hello: Any) -> StreamRow:
        """Create a run with one writer whose first frame has the records."""
        store = self.app.state.store
        row: StreamRow = await store.register(Hello(run=run, writer=f"w-{run}", attempt="a", **hello), time.time_ns())
        await store.append(StoredFrame(row, Frame(n=row.acked + 1, records=records), time.time_ns()))
        return row

    async def filled(self) -> StreamRow:
        """Create a run with records of every kind."""
        return await self.run(
            "r",
            points([1, 2, 3], loss=[3.0, float("nan"), 1.0], lr=[0.1, 0.1, 0.1]),
            Event(kind="alert", time_ns=1, text="Loss is NaN", level="error", step=2),
            Declare(control="filter_interval", type="int", value=100, minimum=1, maximum=1000, nullable=True),
        )


@asynccontextmanager
async def site(folder: Path, **more: Any) -> AsyncIterator[Site]:
    """Open an app, without the maintenance worker, whose process takes longer than a test."""
    app = create_app(settings(folder, **more))
    async with contextlib.AsyncExitStack() as stack:
        with patch.object(MaintenanceSupervisor, "open"):
            await stack.enter_async_context(app.router.lifespan_context(app))
        transport = httpx.ASGITransport(app)
        yield Site(app, await stack.enter_async_context(httpx.AsyncClient(transport=transport, base_url=ADDRESS)))


def ask(folder: Path, scenario: Callable[[Site], Coroutine[Any, Any, None]], **more: Any) -> None:
    """Run a test's coroutine with its own app."""

    async def whole() -> None:
        async with asyncio.timeout(60), site(folder, **more) as opened:
            await scenario(opened)

    asyncio.run(whole())


@dataclass
class Process:
    """A running `recis-monitor serve`."""

    url: str
    first_line: str
    child: Child


@contextmanager
def serve(folder: Path, *arguments: str) -> Iterator[Process]:
    """Run the real command on a free port; kill it at the end if it is still running."""
    command = ["-m", "recis_server", "serve", "--port", "0", "--data", str(folder), *arguments]
    with (folder.parent / f"{folder.name}.log").open("a") as log:
        child = start(*command, imports=SERVER, stdout=subprocess.PIPE, stderr=log)
    assert child.stdout is not None
    try:
        line = child.stdout.readline()
        url = line.removeprefix("Listening on ").split("?")[0].strip().rstrip("/")
        yield Process(url, line, child)
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        child.wait(10)
        child.stdout.close()
