"""One running server: the socket, the app's lifespan around it, and the order of shutdown.

    async with serving(settings) as server:     # parts are open and the port is bound
        print(server.url)
        await server.stopped()                  # until `server.stop()`

Owns the HTTP engine and its options; must not know signals or the command line.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, cast

import uvicorn
from fastapi import FastAPI

from recis.wire.messages import MAX_FRAME_BYTES
from recis_server.access import read_token_file
from recis_server.connections import Connections, WebSocketProtocol
from recis_server.errors import StoreError
from recis_server.gate import MAX_HEAD_BYTES
from recis_server.main import create_app
from recis_server.settings import Settings
from recis_server.tls import certificate

__all__ = ["Serving", "serving"]

SILENCE_S = 60.0
"""How long to wait for a pong, which follows all data that a slow connection has yet to carry. A client that has
vanished is disconnected this long after the next ping."""
_STOP_S = 5
"""How long open connections may take to end before they are cut."""
_SLACK_BYTES = 64 << 10


class _Engine(uvicorn.Server):
    """uvicorn without its signal handlers: the caller decides what signals mean."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Serving:
    """A server that accepts connections.

    Attributes:
        url: its address, including the root path.
        token: the token of `--token-file`, None without one.
    """

    def __init__(self, engine: _Engine, task: "asyncio.Task[None]", url: str, token: str | None) -> None:
        self.url = url
        self.token = token
        self._engine = engine
        self._task = task

    def stop(self) -> None:
        """Begin an orderly shutdown; on the second call, cut open connections."""
        self._engine.force_exit = self._engine.should_exit
        self._engine.should_exit = True

    async def stopped(self) -> None:
        """Wait for the end of all connections."""
        await asyncio.shield(self._task)


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[Serving]:
    """Run a server on the current event loop; on exit, end connections first, then close the parts in reverse order.

    Raises:
        ServerError, ValueError: the settings are invalid, or the port is in use.
    """
    app = create_app(settings)
    async with certificate(settings.tls_cert, settings.tls_key) as context, app.router.lifespan_context(app):
        sock = _bind(settings.host, settings.port)
        try:
            engine = _Engine(_config(app, settings, context))
            task = asyncio.create_task(engine.serve(sockets=[sock]), name="http")
            try:
                ready = asyncio.create_task(engine.ready.wait(), name="http-ready")
                await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
                ready.cancel()
                token = read_token_file(settings.token_file) if settings.token_file is not None else None
                yield Serving(engine, task, _url(settings, sock), token)
            finally:
                # Before the connections end: writers receive the reason, and the frames they have sent are committed.
                await app.state.intake.close()
                engine.should_exit = True
                await task
        finally:
            sock.close()


def _config(app: FastAPI, settings: Settings, context: ssl.SSLContext | None) -> uvicorn.Config:
    connections: Connections = app.state.connections
    return uvicorn.Config(
        cast("Any", app),  # Starlette and uvicorn name the same messages by different types
        lifespan="off",
        loop="none",
        http=cast("Any", connections.protocol()),
        ws=WebSocketProtocol,
        ssl_context_factory=None if context is None else lambda *_: context,
        ws_max_size=MAX_FRAME_BYTES + _SLACK_BYTES,
        ws_per_message_deflate=False,
        ws_ping_interval=settings.ping_interval,
        ws_ping_timeout=SILENCE_S,
        log_config=None,
        access_log=False,
        server_header=False,
        h11_max_incomplete_event_size=4 * MAX_HEAD_BYTES,
        timeout_graceful_shutdown=_STOP_S,
    )


def _bind(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host or "0.0.0.0", port, type=socket.SOCK_STREAM)[0]  # noqa: S104
        sock = socket.socket(family)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(address)
        except OSError:
            sock.close()
            raise
    except OSError as error:
        raise StoreError(f"--host and --port: expected a free port, got {host}:{port}: {error.strerror}") from error
    return sock


def _url(settings: Settings, sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    name = settings.host if settings.host and not settings.is_wildcard else host
    scheme = "http" if settings.tls_cert is None else "https"
    return f"{scheme}://{f'[{name}]' if ':' in name else name}:{port}{settings.root_path}"
