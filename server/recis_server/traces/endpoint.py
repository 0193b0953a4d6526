"""`/ws/trace`: one trace file over one connection.

Must not know where bytes are kept. A bad client ends its own connection; what it has sent is kept for the next try.
"""

import asyncio

import msgspec
from fastapi import APIRouter, WebSocket
from starlette.websockets import WebSocketDisconnect

from recis.wire.codec import WireError, decode_trace, encode
from recis.wire.messages import Refuse, TraceAck, TraceChunk, TraceOpen, TraceReply
from recis.wire.text import close_reason
from recis_server.errors import ServerError, StoreUnavailable
from recis_server.store.values import TraceRow
from recis_server.traces.receiver import HashMismatchError, TraceReceiver, Upload

__all__ = ["router"]

IDLE_S = 60.0
"""How long a connection may stay silent before it loses its place among the bounded number of uploads."""
_CLOSE_CODES = {
    "malformed": 4400,
    "superseded": 4409,
    "too_large": 1009,
    "hash": 4422,
    "version": 4426,
    "unavailable": 1013,
}

router = APIRouter()


@router.websocket("/ws/trace")
async def trace(websocket: WebSocket) -> None:
    """Receive one file, or refuse it with a reason."""
    receiver: TraceReceiver = websocket.app.state.traces
    await websocket.accept()
    try:
        try:
            row = await _receive(websocket, receiver)
        except WireError as error:
            await _refuse(websocket, Refuse(code=error.code, message=str(error)))
        except HashMismatchError as error:
            # Data of an earlier attempt may have been at fault: one more attempt from the start is worth it.
            await _refuse(websocket, Refuse(code=error.code, message=error.message, retry=error.resumed))
        except ServerError as error:
            await _refuse(websocket, Refuse(code="unavailable", message=error.message, retry=True))
        else:
            await websocket.send_bytes(encode(TraceReply(id=row.id)))
            await websocket.close()
    except WebSocketDisconnect:
        return


async def _receive(websocket: WebSocket, receiver: TraceReceiver) -> TraceRow:
    opening = await _next(websocket)
    if not isinstance(opening, TraceOpen):
        raise WireError("malformed", f"expected trace_open as the first record, got {type(opening).__name__}")
    upload = await receiver.begin(opening)
    if isinstance(upload, TraceRow):
        return upload
    try:
        return await _take(websocket, receiver, upload)
    finally:
        receiver.end(upload)


async def _take(websocket: WebSocket, receiver: TraceReceiver, upload: Upload) -> TraceRow:
    await websocket.send_bytes(encode(TraceAck(offset=upload.offset)))
    while not upload.complete:
        chunk = await _next(websocket)
        if not isinstance(chunk, TraceChunk):
            raise WireError("malformed", f"expected trace_chunk, got {type(chunk).__name__}")
        await websocket.send_bytes(encode(TraceAck(offset=await receiver.write(upload, chunk))))
    return await receiver.finish(upload)


async def _next(websocket: WebSocket) -> msgspec.Struct:
    try:
        async with asyncio.timeout(IDLE_S):
            message = await websocket.receive()
    except TimeoutError as error:
        raise StoreUnavailable(f"expected a record within {IDLE_S:.0f} s, got none") from error
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code") or 1006)
    data = message.get("bytes")
    if data is None:
        raise WireError("malformed", "expected a binary message, got text")
    return decode_trace(data)


async def _refuse(websocket: WebSocket, refuse: Refuse) -> None:
    await websocket.send_bytes(encode(refuse))
    await websocket.close(_CLOSE_CODES[refuse.code], close_reason(refuse.message))
