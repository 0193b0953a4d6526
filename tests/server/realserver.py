"""The parts of the server with a real SQLite store and a real uvicorn on a free port, for tests over real sockets."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import uvicorn
from fastapi import FastAPI
from recis_server.blobs import Blobs, open_blobs
from recis_server.bus import MemoryBus
from recis_server.connections import Connections, WebSocketProtocol
from recis_server.control.service import CommandService
from recis_server.ingest.audience import Audience
from recis_server.ingest.endpoint import Intake
from recis_server.ingest.endpoint import router as ingest_router
from recis_server.ingest.presence import Presence
from recis_server.live.endpoint import router as live_router
from recis_server.live.hub import Hub
from recis_server.store.engines.sqlite import SqliteEngine
from recis_server.store.sql import SqlStore
from recis_server.traces.endpoint import router as traces_router
from recis_server.traces.receiver import TraceReceiver
from starlette.types import ASGIApp
from websockets.asyncio.client import ClientConnection, connect

from recis.wire.codec import column, decode_server, encode
from recis.wire.messages import Ack, ClientRecord, Frame, FrameRecord, Hello, Points, Refuse, ServerRecord, Welcome

T = TypeVar("T")


@dataclass
class Parts:
    """A running server and its parts."""

    url: str
    store: SqlStore
    bus: MemoryBus
    blobs: Blobs
    presence: Presence
    audience: Audience
    commands: CommandService
    hub: Hub
    intake: Intake
    traces: TraceReceiver


@asynccontextmanager
async def parts(
    folder: Path, *, window_bytes: int = 8 << 20, max_trace_bytes: int = 2 << 30, blobs_url: str = ""
) -> AsyncIterator[Parts]:
    """Open and close all parts in order, without a socket."""
    bus = MemoryBus()
    store = SqlStore(SqliteEngine(folder / "recis.db"))
    await store.open()
    blobs = open_blobs(blobs_url or f"file://{folder}/blobs", folder / "fetched")
    presence = Presence(store, bus)
    commands = CommandService(store, presence, bus)
    audience = Audience(bus)
    hub = Hub(store, presence, audience, bus)
    intake = Intake(store, presence, audience, commands, window_bytes=window_bytes)
    traces = TraceReceiver(store, blobs, bus, folder / "incoming", max_bytes=max_trace_bytes)
    for part in (commands, hub, traces):
        await part.open()
    try:
        yield Parts("", store, bus, blobs, presence, audience, commands, hub, intake, traces)
    finally:
        for end in (intake.close, traces.close, hub.close, commands.close, store.close):
            await end()


@asynccontextmanager
async def serving(folder: Path, **options: Any) -> AsyncIterator[Parts]:
    """Serve the parts with a real uvicorn; the options are those of `parts`."""
    async with parts(folder, **options) as made:
        app = FastAPI()
        app.state.store, app.state.hub, app.state.intake, app.state.traces = (
            made.store,
            made.hub,
            made.intake,
            made.traces,
        )
        for router in (ingest_router, live_router, traces_router):
            app.include_router(router)
        async with listening(app) as port:
            made.url = f"ws://127.0.0.1:{port}"
            yield made


@asynccontextmanager
async def listening(app: ASGIApp, connections: Connections | None = None) -> AsyncIterator[int]:
    """Serve an app with a real uvicorn; yield its port."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        cast("Any", app),
        http=cast("Any", (Connections() if connections is None else connections).protocol()),
        ws=WebSocketProtocol,
        lifespan="off",
        log_level="warning",
        ws_per_message_deflate=False,
        timeout_keep_alive=600,
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    await until(lambda: server.started)
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        await task
        listener.close()


async def until(condition: Callable[[], object], limit_s: float = 10.0) -> None:
    """Wait for a condition of this process."""
    async with asyncio.timeout(limit_s):
        while not condition():  # noqa: ASYNC110 - the condition is other people's state, it has no event
            await asyncio.sleep(0.005)


async def until_async(read: Callable[[], Awaitable[T | None]], limit_s: float = 10.0) -> T:
    """Wait until `read` returns a true value, and return it."""
    async with asyncio.timeout(limit_s):
        while not (found := await read()):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return found


def hello(run: str = "r1", writer: str = "w1", *, attempt: str = "a1", rank: int = 0, world_size: int = 1) -> Hello:
    """Return a greeting."""
    return Hello(run=run, writer=writer, attempt=attempt, rank=rank, world_size=world_size, time_ns=1)


def points(steps: list[int], **series: list[float]) -> Points:
    """Return rows of points, one second apart."""
    return Points(
        keys=tuple(series),
        steps=column(steps, "<i8"),
        times=column([step * 1_000_000_000 for step in steps], "<i8"),
        values=column(np.array(list(series.values()), dtype=np.float64).reshape(-1), "<f8"),
    )


class Trainer:
    """The connection of a training process, driven by the test."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.welcome = Welcome(acked=0)
        self.sent = 0

    async def send(self, record: ClientRecord) -> None:
        await self.connection.send(encode(record))

    async def receive(self, limit_s: float = 10.0) -> ServerRecord:
        async with asyncio.timeout(limit_s):
            data = await self.connection.recv()
        assert isinstance(data, bytes)
        return decode_server(data)

    async def frame(self, *records: FrameRecord, n: int | None = None) -> int:
        """Send a frame without waiting."""
        self.sent = self.sent + 1 if n is None else n
        await self.send(Frame(n=self.sent, records=records))
        return self.sent

    async def acked(self, n: int) -> None:
        """Wait for an acknowledgement of `n`, skipping commands."""
        while True:
            record = await self.receive()
            assert not isinstance(record, Refuse), record
            if isinstance(record, Ack) and record.n >= n:
                return

    async def report(self, *records: FrameRecord) -> None:
        """Send a frame and wait until it is committed."""
        await self.acked(await self.frame(*records))

    async def refused(self) -> tuple[Refuse, int]:
        """Wait for the refusal and the close code."""
        while not isinstance(record := await self.receive(), Refuse):
            pass
        await self.connection.wait_closed()
        code = self.connection.close_code
        assert code is not None
        return record, code


@asynccontextmanager
async def trainer(server: Parts, greeting: Hello | None = None) -> AsyncIterator[Trainer]:
    """Connect a training process that has been greeted."""
    async with raw(server, "/ws/ingest") as connection:
        one = Trainer(connection)
        await one.send(greeting or hello())
        welcome = await one.receive()
        assert isinstance(welcome, Welcome), welcome
        one.welcome = welcome
        one.sent = welcome.acked
        yield one


@asynccontextmanager
async def raw(server: Parts, path: str, **options: Any) -> AsyncIterator[ClientConnection]:
    """Open a connection without a greeting."""
    async with connect(server.url + path, compression=None, max_size=None, close_timeout=1.0, **options) as connection:
        yield connection
