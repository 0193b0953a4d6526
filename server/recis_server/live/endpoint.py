"""`/ws/live`: one browser's WebSocket; parses its requests and passes them to the hub.

Must not decide what is shown or when. Bad input is answered with one `error` message; the connection stays open.
"""

import asyncio
import contextlib

from fastapi import APIRouter, WebSocket
from starlette.websockets import WebSocketDisconnect

from recis_server import __version__
from recis_server.connections import frames_of
from recis_server.errors import Busy, ServerError
from recis_server.live.hub import Hub
from recis_server.live.requests import Follow, Request, Unfollow, Unwatch, WatchSeries, parse
from recis_server.live.viewer import Viewer
from recis_server.refusals import refuse_upgrade

__all__ = ["router"]

router = APIRouter()

CLOSE_S = 30.0
_TOO_SLOW = 1013


@router.websocket("/ws/live")
async def live(websocket: WebSocket) -> None:
    """Serve one browser until it disconnects."""
    hub: Hub = websocket.app.state.hub
    try:
        with hub.limits.admit(_who(websocket)):
            await _serve(websocket, hub)
    except Busy as error:
        await refuse_upgrade(websocket.scope, websocket.receive, websocket.send, error)


async def _serve(websocket: WebSocket, hub: Hub) -> None:
    await websocket.accept()
    viewer = hub.viewer(frames_of(websocket.scope))
    session = getattr(websocket.state, "session", None)
    hello = {"type": "hello", "version": __version__, "scope": _scope(websocket), "session": session}
    viewer.push("hello", hello)
    reader = asyncio.create_task(_read(websocket, hub, viewer), name="live-read")
    closer = asyncio.create_task(_close(websocket, viewer), name="live-close")
    try:
        await asyncio.wait({reader, closer}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        hub.forget(viewer)
        reader.cancel()
        closer.cancel()
        ends = await asyncio.gather(reader, closer, return_exceptions=True)
    for end in ends:
        if isinstance(end, Exception):
            raise end


def _who(websocket: WebSocket) -> str:
    """Return the token or address against whose limit a browser counts."""
    return getattr(websocket.state, "bearer", None) or (websocket.client.host if websocket.client is not None else "")


def _scope(websocket: WebSocket) -> str:
    return str(getattr(websocket.state, "scope", "control"))


async def _close(websocket: WebSocket, viewer: Viewer) -> None:
    """Close the socket of a browser that does not keep up."""
    reason = await viewer.end()
    with contextlib.suppress(TimeoutError, WebSocketDisconnect, OSError):
        async with asyncio.timeout(CLOSE_S):
            await websocket.close(_TOO_SLOW, reason)


async def _read(websocket: WebSocket, hub: Hub, viewer: Viewer) -> None:
    """Handle messages until the browser disconnects."""
    while True:
        await viewer.take_request()
        message = await websocket.receive()
        if message["type"] == "websocket.disconnect":
            return
        request: Request | None = None
        try:
            request = parse(message.get("text"))
            await _act(request, hub, viewer)
        except ServerError as error:
            watch_id = request.id if isinstance(request, WatchSeries) else None
            viewer.push_error(error, watch_id=watch_id)


async def _act(request: Request, hub: Hub, viewer: Viewer) -> None:
    match request:
        case Follow(run=str(run)):
            await hub.follow(viewer, run)
        case Follow():
            hub.follow_list(viewer, request.list_view())
        case Unfollow(run=str(run)):
            hub.unfollow(viewer, run)
        case Unfollow():
            hub.unfollow_list(viewer)
        case Unwatch(id=watch_id):
            hub.unwatch(viewer, watch_id)
        case WatchSeries():
            await hub.watch(viewer, request.id, request.view())
