"""The format of errors: JSON for programs, a page for people. Must not know the causes. Used by the gate, in front of
the app, and by routes and sockets.
"""

import asyncio
import json
import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from recis_server.connections import connection_of
from recis_server.errors import ServerError, Unauthorised
from recis_server.plain_pages import plain_page

__all__ = ["Refusal", "error_body", "log_refusal", "refusal_of", "refuse_upgrade"]

_logger = logging.getLogger(__name__)

FAREWELL_S = 1.0
"""How long a final message to a client may take."""

_FOR_PROGRAMS = ("/api/", "/ws/", "/metrics", "/healthz", "/readyz", "/openapi.json")
_TITLES = {
    401: "Token required",
    403: "Forbidden",
    404: "Not found",
    503: "Temporarily unavailable",
}
_HINTS = {
    401: "Open the address that recis-monitor serve printed, which ends in ?token=…, or ask whoever runs this server.",
    503: "Try again in a moment.",
}


class Refusal(NamedTuple):
    """An answer that reports an error."""

    status: int
    body: bytes
    headers: Mapping[str, str]


def error_body(error: ServerError) -> dict[str, Any]:
    """Return the common JSON body of all errors."""
    return {"error": {"code": error.code, "message": error.message, "field": error.field}}


def refusal_of(error: ServerError, scope: Scope) -> Refusal:
    """Return the answer to a failed request: a page if a browser requested one, JSON otherwise."""
    headers = {"www-authenticate": "Bearer"} if isinstance(error, Unauthorised) else {}
    if _is_for_people(scope):
        return Refusal(
            error.status,
            _page(error, scope.get("root_path", "")),
            {**headers, "content-type": "text/html; charset=utf-8"},
        )
    return Refusal(
        error.status, json.dumps(error_body(error)).encode(), {**headers, "content-type": "application/json"}
    )


def log_refusal(scope: Scope, error: ServerError) -> None:
    """Log an upgrade that was refused."""
    client = (scope.get("client") or ("a client",))[0]
    path = scope["path"].removeprefix(scope.get("root_path", ""))
    _logger.warning("%s was refused to %s: %s", ascii(path)[:200], client, error.message)


async def refuse_upgrade(scope: Scope, receive: Receive, send: Send, error: ServerError) -> None:
    """Answer a WebSocket upgrade with an HTTP error."""
    log_refusal(scope, error)
    await receive()
    refusal = refusal_of(error, scope)
    headers = [(name.encode(), value.encode()) for name, value in refusal.headers.items()]
    await send({"type": "websocket.http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": refusal.body})
    # The HTTP engine considers an app that returns before the connection is over to have failed.
    connection = connection_of(scope)
    if connection is not None:
        with suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL_S):
                await connection.wait_lost()


def _is_for_people(scope: Scope) -> bool:
    if scope["type"] != "http":
        return False
    path = scope["path"].removeprefix(scope.get("root_path", ""))
    return "text/html" in Headers(scope=scope).get("accept", "") and not path.startswith(_FOR_PROGRAMS)


def _page(error: ServerError, root_path: str) -> bytes:
    message = f"{error.message[:1].upper()}{error.message[1:]}."
    hint = [_HINTS[error.status]] if error.status in _HINTS else []
    return plain_page(_TITLES.get(error.status, "This did not work"), [message, *hint], ("/", "All runs"), root_path)
