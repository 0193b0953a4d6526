"""The app: its parts, the order in which they open and close, and its routes and sockets.

Wiring only. Nothing is created at import time: every app has its own parts.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from fastapi import FastAPI

from recis_server import __version__
from recis_server.access import Access, Hosts, read_token_file
from recis_server.blobs import open_blobs
from recis_server.bus import connects_servers, open_bus
from recis_server.connections import Connections, raise_file_limit
from recis_server.control.peers import Peers
from recis_server.control.service import CommandService
from recis_server.errors import StoreError
from recis_server.gate import Gate
from recis_server.ingest import endpoint as ingest
from recis_server.ingest.audience import Audience
from recis_server.ingest.presence import Presence
from recis_server.live import endpoint as live
from recis_server.live.hub import Hub
from recis_server.meters import Meters
from recis_server.oidc import open_sign_in
from recis_server.people import Roles, open_proxy_header
from recis_server.query.runlist import RunList
from recis_server.removal import RunRemoval
from recis_server.routes import control, health, pages, process, runs, series, sign_in, traces
from recis_server.routes.answers import install_error_answers
from recis_server.settings import Settings
from recis_server.siblings import Siblings
from recis_server.store import Retention, open_store
from recis_server.traces import endpoint as trace_socket
from recis_server.traces.receiver import TraceReceiver

__all__ = ["create_app"]

_ROUTERS = (
    runs.router,
    series.router,
    control.router,
    traces.router,
    process.router,
    health.router,
    pages.router,
    sign_in.router,
    ingest.router,
    live.router,
    trace_socket.router,
)


def create_app(settings: Settings) -> FastAPI:
    """Return an app whose lifespan opens and closes all parts.

    The lifespan raises `ServerError` or `ValueError` if the settings are invalid.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            await _open_parts(app, settings, stack)
            yield

    app = FastAPI(
        title="ReCIS Monitor",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.connections = Connections(raise_file_limit())
    app.state.hosts = Hosts(settings)
    app.state.pages = pages.load_pages(settings.root_path)
    app.add_middleware(Gate, root_path=settings.root_path)
    install_error_answers(app)
    for router in _ROUTERS:
        app.include_router(router)
    return app


async def _open_parts(app: FastAPI, settings: Settings, stack: AsyncExitStack) -> None:
    """Open the parts from the store up, so that they close from the sockets down and the store closes last."""
    state = app.state
    master = read_token_file(settings.token_file) if settings.token_file is not None else None
    is_shared = connects_servers(settings.bus)
    if is_shared and settings.store and not settings.blobs:
        raise ValueError(
            "--blobs: expected a place that all servers on the --bus share, got the default in the data folder"
        )
    state.meters = Meters()
    state.store = open_store(
        settings.store_url,
        shared=is_shared,
        observe=state.meters.committed,
        retention=Retention.parse(settings.retain_raw, settings.max_lines),
    )
    await _open(stack, state.store.open, state.store.close)
    roles = Roles(settings.auth_view, settings.auth_control)
    state.proxy_header = open_proxy_header(settings, roles)
    state.sign_in = open_sign_in(settings, roles)
    knows_people = state.proxy_header is not None or state.sign_in is not None
    state.access = Access(state.store, master, is_closed=knows_people)
    await _open(stack, state.access.open, state.access.close)
    if not (settings.is_loopback or settings.insecure or state.access.is_closed):
        raise StoreError(
            f"--host {settings.host}: expected a token for a non-loopback address"
            " (recis-monitor token create, or --token-file), --auth-proxy-header, --oidc-issuer, or --insecure"
        )
    state.blobs = open_blobs(settings.blobs_url, settings.data / "fetched")
    await state.blobs.check()
    state.bus = open_bus(settings.bus, f"{state.store.identity:x}")
    await _open(stack, state.bus.open, state.bus.close)
    await Siblings(state.store, state.bus).open()
    state.presence = Presence(state.store, state.bus)
    await _open(stack, state.presence.open, state.presence.close)
    state.audience = Audience(state.bus)
    state.runs = RunList(state.store, state.presence)
    await _open(stack, state.runs.open, state.runs.close)
    peers = Peers(state.bus, state.presence.roster.ranks)
    state.commands = CommandService(state.store, state.presence, state.bus, wait_s=settings.command_wait, peers=peers)
    await _open(stack, state.commands.open, state.commands.close)
    state.hub = Hub(state.store, state.presence, state.audience, state.bus)
    await _open(stack, state.hub.open, state.hub.close)
    state.traces = TraceReceiver(state.store, state.blobs, state.bus, settings.data / "uploads")
    await _open(stack, state.traces.open, state.traces.close)
    state.removal = RunRemoval(state.store, state.blobs, state.bus, state.presence, state.traces.discard)
    await _open(stack, state.removal.open, state.removal.close)
    state.intake = ingest.Intake(state.store, state.presence, state.audience, state.commands)
    stack.push_async_callback(state.intake.close)


async def _open(
    stack: AsyncExitStack, opening: Callable[[], Awaitable[None]], close: Callable[[], Awaitable[None]]
) -> None:
    stack.push_async_callback(close)
    await opening()
