"""The door in front of every route and socket: host, origin, body size, token, security headers, the last catch.

Owns the order of these checks and how a refusal looks; must not know routes beyond the scope that a path needs.
"""

import json
import logging
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from recis.wire.codec import encode
from recis.wire.messages import Refuse
from recis_server import access
from recis_server.access import Access, Hosts
from recis_server.errors import Forbidden, ServerError, TooLarge, Unauthorised

__all__ = ["SECURITY_HEADERS", "Gate", "error_body"]

_logger = logging.getLogger(__name__)

MAX_BODY_BYTES = 1 << 20
_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; worker-src 'self'; frame-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'"
)
SECURITY_HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": _PAGE_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin-allow-popups",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_WRITERS = ("/ws/ingest", "/ws/trace")
_UNAUTHORISED_CLOSE = 4401


def error_body(error: ServerError) -> dict[str, Any]:
    """The one shape of every error."""
    return {"error": {"code": error.code, "message": error.message, "field": error.field}}


class Gate:
    """ASGI middleware, see the module; `app.state` has the `access` and `hosts` to ask.

    Args:
        app: what is behind the door.
        root_path: the path below which a proxy shows this server; requests may come with it or without.
    """

    def __init__(self, app: ASGIApp, *, root_path: str) -> None:
        self._app = app
        self._root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request or upgrade."""
        if self._root_path:
            scope["root_path"] = self._root_path
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers[name] = value
            await send(message)

        try:
            headers = Headers(scope=scope)
            _hosts(scope).check(headers.get("host"), headers.get("origin"))
            if await _swap_token(scope, headers, with_headers):
                return
            await _admit(scope, headers)
            await self._app(scope, await _limited(headers, receive), with_headers)
        except ServerError as error:
            if started:
                raise
            await _answer(with_headers, error)
        except Exception:  # border: the request's edge
            _logger.exception("%s %s failed", scope["method"], scope["path"])
            if started:
                raise
            await _answer(with_headers, ServerError("the server failed at this request; its log says how"))

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        try:
            _hosts(scope).check(headers.get("host"), headers.get("origin"))
            await _admit(scope, headers)
        except ServerError as error:
            await receive()
            is_token = isinstance(error, Unauthorised) or (isinstance(error, Forbidden) and "token" in error.message)
            if is_token and _path(scope) in _WRITERS:
                await _refuse_writer(send, error)
            else:
                await _answer(send, error, prefix="websocket.http")
            return
        await self._app(scope, receive, send)


def _hosts(scope: Scope) -> Hosts:
    hosts: Hosts = scope["app"].state.hosts
    return hosts


def _access(scope: Scope) -> Access:
    found: Access = scope["app"].state.access
    return found


def _path(scope: Scope) -> str:
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def _needed(scope: Scope) -> access.Scope | None:
    """The scope that a path needs; pages, their parts and health carry no data and need none."""
    path = _path(scope)
    if path in _WRITERS:
        return "write"
    if path.startswith("/api/") and scope["type"] == "http" and scope["method"] not in ("GET", "HEAD"):
        return "control"
    if path.startswith(("/api/", "/ws/")) or path == "/metrics":
        return "view"
    return None


async def _admit(scope: Scope, headers: Headers) -> None:
    needed = _needed(scope)
    if needed is None:
        return
    scopes = await _access(scope).require(_token(headers), needed)
    scope.setdefault("state", {})["scope"] = access.strongest(scopes)


def _token(headers: Headers) -> str | None:
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    try:
        cookie = SimpleCookie(headers.get("cookie", "")).get(_cookie_name(headers))
    except CookieError:
        return None
    return None if cookie is None else cookie.value


def _cookie_name(headers: Headers) -> str:
    # Cookies do not keep ports apart: two servers of one machine must not take each other's.
    port = headers.get("host", "").rpartition(":")[2]
    return f"recis_monitor_{port}" if port.isdigit() else "recis_monitor"


async def _swap_token(scope: Scope, headers: Headers, send: Send) -> bool:
    """A browser that comes with `?token=` gets a cookie and is sent to the same address without it."""
    pairs = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    token = dict(pairs).get("token")
    if token is None or scope["method"] != "GET" or _needed(scope) is not None:
        return False
    if not await _access(scope).scopes(token):
        raise Unauthorised("expected a known token, got one that is not known")
    rest = urlencode([(name, value) for name, value in pairs if name != "token"])
    root = scope.get("root_path", "")
    # One slash in front: `//host/` would be another site's address.
    path = f"{root}/{_path(scope).lstrip('/')}"
    cookie = SimpleCookie({_cookie_name(headers): token})
    morsel = cookie[_cookie_name(headers)]
    morsel["path"] = root or "/"
    morsel["httponly"] = "1"
    morsel["samesite"] = "Strict"
    if scope.get("scheme") == "https":
        morsel["secure"] = "1"
    location = urlencode({"": path}, safe="/")[1:] + (f"?{rest}" if rest else "")
    await send(
        {
            "type": "http.response.start",
            "status": 303,
            "headers": [
                (b"location", location.encode("latin-1")),
                (b"set-cookie", morsel.OutputString().encode("latin-1")),
                (b"cache-control", b"no-store"),
                (b"content-length", b"0"),
            ],
        }
    )
    await send({"type": "http.response.body", "body": b""})
    return True


async def _limited(headers: Headers, receive: Receive) -> Receive:
    """Takes the body in before the route does: bodies are small, and a large one is refused before it is understood."""
    length = headers.get("content-length", "0")
    if length.isdigit() and int(length) > MAX_BODY_BYTES:
        raise TooLarge(f"expected a body of at most {MAX_BODY_BYTES} bytes, got {length}")
    if length == "0" and "transfer-encoding" not in headers:
        return receive
    waiting: list[Message] = []
    received = 0
    more = True
    while more:
        message = await receive()
        waiting.append(message)
        received += len(message.get("body", b""))
        if received > MAX_BODY_BYTES:
            raise TooLarge(f"expected a body of at most {MAX_BODY_BYTES} bytes, got more")
        more = message["type"] == "http.request" and message.get("more_body", False)
    waiting.reverse()

    async def replay() -> Message:
        return waiting.pop() if waiting else await receive()

    return replay


async def _answer(send: Send, error: ServerError, prefix: str = "http") -> None:
    body = json.dumps(error_body(error)).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if isinstance(error, Unauthorised):
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": f"{prefix}.response.start", "status": error.status, "headers": headers})
    await send({"type": f"{prefix}.response.body", "body": body})


async def _refuse_writer(send: Send, error: ServerError) -> None:
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "bytes": encode(Refuse(code="unauthorised", message=error.message))})
    await send({"type": "websocket.close", "code": _UNAUTHORISED_CLOSE, "reason": error.message[:100]})
