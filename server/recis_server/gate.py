"""The door in front of every route and socket: host, origin, sizes, token, security headers, the last catch.

Owns the order of these checks and when a request has to end; how a refusal looks is said in `refusals`. Must not know
routes beyond the scope that a path needs.
"""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from urllib.parse import parse_qsl, quote, unquote, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from recis.wire.codec import encode
from recis.wire.messages import Refuse
from recis.wire.text import close_reason
from recis_server import access
from recis_server.access import Access, Grant, Hosts
from recis_server.connections import connection_of
from recis_server.errors import Forbidden, HeadTooLarge, NotFound, RequestTimeout, ServerError, TooLarge, Unauthorised
from recis_server.refusals import log_refusal, refusal_of, refuse_upgrade

__all__ = ["SECURITY_HEADERS", "Gate"]

_logger = logging.getLogger(__name__)

MAX_BODY_BYTES = 1 << 20
MAX_HEAD_BYTES = 16 << 10
"""Headers of a request; with its first line the HTTP engine takes four times as much."""
BODY_S = 30.0
"""How long a body may take to arrive."""
FAREWELL_S = 1.0
"""How long the last words to a client may take to leave; then the connection is cut."""
MAX_COOKIE_CHARS = 512
"""The longest token that is kept in a cookie while none is needed."""
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
_SOCKETS: Mapping[str, access.Scope] = {"/ws/ingest": "write", "/ws/trace": "write", "/ws/live": "view"}
_UNAUTHORISED_CLOSE = 4401


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
        """Serve one request or upgrade."""
        if self._root_path:
            scope["root_path"] = self._root_path
        connection = connection_of(scope)
        with connection.request() if connection is not None else nullcontext():
            if scope["type"] == "http":
                await self._http(scope, receive, send)
            elif scope["type"] == "websocket":
                await self._websocket(scope, receive, send)
            else:
                await self._app(scope, receive, send)

    # --- HTTP

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = _Answer(scope, receive, send)
        try:
            headers = Headers(scope=scope)
            _check_head(scope)
            _check_site(scope, headers)
            if await _swap_token(scope, headers, receive, answer.send):
                return
            grant = await _admit(scope, headers)
            if not await answer.take_body(headers):
                return
            async with _access(scope).held(grant):
                await self._app(answer.scope, answer.receive, answer.send)
        except ServerError as error:
            if answer.has_started:
                _logger.warning("%s %s was cut: %s", scope["method"], ascii(scope["path"]), error.message)
                await _cut(scope)
            else:
                await answer.refuse(error)
        except Exception:  # border: the request's edge
            _logger.exception("%s %s failed", scope["method"], ascii(scope["path"]))
            if answer.has_started:
                raise
            await answer.refuse(ServerError("the server failed at this request; its log says how"))

    # --- WebSocket

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        try:
            _check_head(scope)
            _check_site(scope, headers)
        except ServerError as error:
            await refuse_upgrade(scope, receive, send, error)
            return
        try:
            grant = await _admit(scope, headers)
            if _path(scope) not in _SOCKETS:
                raise NotFound(f"there is no WebSocket at {ascii(_path(scope))[:200]}")
        except (Unauthorised, Forbidden) as error:
            if _needed(scope) == "write":
                log_refusal(scope, error)
                await receive()
                await send({"type": "websocket.accept"})
                await _dismiss(scope, send, error)
            else:
                await refuse_upgrade(scope, receive, send, error)
            return
        except ServerError as error:
            await refuse_upgrade(scope, receive, send, error)
            return
        try:
            async with _access(scope).held(grant):
                await self._app(scope, receive, send)
        except Unauthorised as error:
            _logger.info("%s was closed: %s", _path(scope), error.message)
            await _dismiss(scope, send, error)


class _Answer:
    """The answer to one request on its way out, and its body on the way in.

    Attributes:
        scope: what the app sees: `HEAD` is `GET` to it.
        has_started: whether the status is out.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("state", {})  # one for both
        self._is_head = scope["method"] == "HEAD"
        self.scope = {**scope, "method": "GET"} if self._is_head else scope
        self.has_started = False
        self._is_over = False
        self._receive = receive
        self._send = send
        self._body: list[Message] = []

    async def send(self, message: Message) -> None:
        """Send with the security headers; to `HEAD` no more than the headers."""
        if self._is_over:
            return
        if message["type"] == "http.response.start":
            self.has_started = True
            headers = MutableHeaders(scope=message)
            for name, value in SECURITY_HEADERS.items():
                headers[name] = value
        await self._send(message)
        if self._is_head:
            self._is_over = True
            await self._send({"type": "http.response.body", "body": b""})

    async def receive(self) -> Message:
        """Return what was taken in before, then what comes."""
        if self._is_over:
            return {"type": "http.disconnect"}
        return self._body.pop() if self._body else await self._receive()

    async def take_body(self, headers: Headers) -> bool:
        """Take the body in before the route does: bodies are small, and a large one is refused unread.

        Returns False where the client has gone meanwhile.

        Raises:
            TooLarge: the body is above the limit.
            RequestTimeout: it did not arrive within `BODY_S`.
        """
        length = headers.get("content-length", "0")
        if length.isdigit() and int(length) > MAX_BODY_BYTES:
            raise TooLarge(f"expected a body of at most {MAX_BODY_BYTES} bytes, got {length}")
        if length == "0" and "transfer-encoding" not in headers:
            return True
        received = 0
        more = True
        try:
            async with asyncio.timeout(BODY_S):
                while more:
                    message = await self._receive()
                    if message["type"] == "http.disconnect":
                        return False
                    self._body.append(message)
                    received += len(message.get("body", b""))
                    if received > MAX_BODY_BYTES:
                        raise TooLarge(f"expected a body of at most {MAX_BODY_BYTES} bytes, got more")
                    more = message.get("more_body", False)
        except TimeoutError:
            raise RequestTimeout(f"expected the whole body within {BODY_S:g} s, got {received} bytes") from None
        self._body.reverse()
        return True

    async def refuse(self, error: ServerError) -> None:
        """Answer with an error."""
        refusal = refusal_of(error, self.scope)
        response = Response(refusal.body, refusal.status, headers=dict(refusal.headers))
        await response(self.scope, self.receive, self.send)


# --- what a request says


def _hosts(scope: Scope) -> Hosts:
    hosts: Hosts = scope["app"].state.hosts
    return hosts


def _access(scope: Scope) -> Access:
    found: Access = scope["app"].state.access
    return found


def _path(scope: Scope) -> str:
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def _check_head(scope: Scope) -> None:
    size = sum(len(name) + len(value) for name, value in scope["headers"])
    if size > MAX_HEAD_BYTES:
        raise HeadTooLarge(f"expected headers of at most {MAX_HEAD_BYTES} bytes, got {size}")


def _check_site(scope: Scope, headers: Headers) -> None:
    for name in ("host", "origin"):
        if len(headers.getlist(name)) > 1:
            raise Forbidden(f"expected one {name.title()} header, got {len(headers.getlist(name))}")
    scheme = "https" if scope.get("scheme") in ("https", "wss") else "http"
    _hosts(scope).check(headers.get("host"), headers.get("origin"), scheme)


def _needed(scope: Scope) -> access.Scope | None:
    """The scope that a path needs; pages, their parts and health carry no data and need none."""
    path = _path(scope)
    if scope["type"] == "websocket":
        return _SOCKETS.get(path, "view")
    if path.startswith("/api/"):
        return "view" if scope["method"] in ("GET", "HEAD") else "control"
    return "view" if path == "/metrics" else None


async def _admit(scope: Scope, headers: Headers) -> Grant:
    needed = _needed(scope)
    if needed is None:
        return Grant(frozenset())
    grant = await _access(scope).require(_tokens(headers), needed)
    scope.setdefault("state", {}).update(scope=access.strongest(grant.scopes), bearer=grant.digest)
    return grant


def _tokens(headers: Headers) -> list[str]:
    """The tokens of a program, or of a browser: of a cookie's name there may be several, set for other paths."""
    named = [text.partition(" ") for text in headers.getlist("authorization")]
    bearers = [token.strip() for scheme, _, token in named if scheme.lower() == "bearer"]
    if bearers:
        return bearers
    name = _cookie_name(headers)
    cookies = [cookie_parser(part) for text in headers.getlist("cookie") for part in text.split(";")]
    return [unquote(cookie[name]) for cookie in cookies if name in cookie]


def _cookie_name(headers: Headers) -> str:
    # Cookies do not keep ports apart: two servers of one machine must not take each other's.
    port = headers.get("host", "").rpartition(":")[2]
    return f"recis_monitor_{port}" if port.isdigit() else "recis_monitor"


async def _swap_token(scope: Scope, headers: Headers, receive: Receive, send: Send) -> bool:
    """Give a browser that comes with `?token=` a cookie, and send it to the same address without the token."""
    pairs = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    token = dict(pairs).get("token")
    if token is None or scope["method"] != "GET" or _needed(scope) is not None:
        return False
    grant = await _access(scope).grant([token])
    if not grant.scopes:
        raise Unauthorised("expected a known token, got one that is not known")
    rest = urlencode([(name, value) for name, value in pairs if name != "token"])
    root = scope.get("root_path", "")
    # One slash in front: `//host/` would be another site's address.
    path = quote(f"{root}/{_path(scope).lstrip('/')}")
    headers_out = {"location": f"{path}?{rest}" if rest else path, "cache-control": "no-store"}
    value = quote(token, safe="")
    # Nobody has vouched for a token that is not needed: one that no cookie holds is left out.
    if _access(scope).is_closed or len(value) <= MAX_COOKIE_CHARS:
        headers_out["set-cookie"] = _cookie(scope, _cookie_name(headers), value, headers.get("host"))
    await Response(status_code=303, headers=headers_out)(scope, receive, send)
    return True


def _cookie(scope: Scope, name: str, value: str, host: str | None) -> str:
    parts = [f"{name}={value}", "HttpOnly", f"Path={quote(scope.get('root_path', '')) or '/'}", "SameSite=Strict"]
    if scope.get("scheme") == "https" or _hosts(scope).is_secure(host):
        parts.append("Secure")
    return "; ".join(parts)


# --- ends


async def _dismiss(scope: Scope, send: Send, error: ServerError) -> None:
    """Close an open socket whose token is not good: a writer is told so that it does not come again."""
    # OSError is how a server says that the client is gone, RuntimeError that the app has closed the socket already.
    with suppress(TimeoutError, OSError, RuntimeError):
        async with asyncio.timeout(FAREWELL_S):
            if _needed(scope) == "write":
                refuse = Refuse(code=Unauthorised.code, message=error.message)
                await send({"type": "websocket.send", "bytes": encode(refuse)})
            await send({"type": "websocket.close", "code": _UNAUTHORISED_CLOSE, "reason": close_reason(error.message)})
            return
    await _cut(scope)


async def _cut(scope: Scope) -> None:
    """End a connection in the middle of what it is told."""
    connection = connection_of(scope)
    if connection is not None:
        connection.abort()
        await connection.wait_lost()
