"""The checks before every route and socket: host, origin, sizes, token, security headers, unexpected errors.

Owns the order of these checks and the deadlines of a request; `refusals` formats the answers. Must not know routes
beyond the scope that a path requires.
"""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from urllib.parse import parse_qsl, quote, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from recis.wire.codec import encode
from recis.wire.messages import Refuse
from recis.wire.text import close_reason
from recis_server import access
from recis_server.access import Access, Grant, Hosts
from recis_server.connections import connection_of
from recis_server.cookies import cookie_name, cookies_named, set_cookie
from recis_server.errors import Forbidden, HeadTooLarge, NotFound, RequestTimeout, ServerError, TooLarge, Unauthorised
from recis_server.oidc import SignIn
from recis_server.people import ProxyHeader
from recis_server.refusals import log_refusal, refusal_of, refuse_upgrade

__all__ = ["SECURITY_HEADERS", "Gate"]

_logger = logging.getLogger(__name__)

MAX_BODY_BYTES = 1 << 20
MAX_HEAD_BYTES = 16 << 10
"""Size of a request's headers; the HTTP engine accepts four times as much, including the request line."""
BODY_S = 30.0
"""How long a body may take to arrive."""
FAREWELL_S = 1.0
"""How long a final message to a client may take before the connection is cut."""
MAX_COOKIE_CHARS = 512
"""The longest token stored in a cookie while no token is required."""
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
_PUBLIC = ("/auth/", "/static/", "/healthz", "/readyz", "/openapi.json", "/docs", "/favicon.ico")
"""What a browser may load before signing in."""


class Gate:
    """ASGI middleware, see the module; consults `access` and `hosts` of `app.state`.

    Args:
        app: the application to protect.
        root_path: the path under which a proxy serves this application; requests may include it or not.
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
            if await _send_to_sign_in(scope, headers, receive, answer.send):
                return
            grant = await _admit(scope, headers)
            if not await answer.take_body(headers):
                return
            async with _access(scope).held(grant):
                await self._app(answer.scope, answer.receive, answer.send)
        except ServerError as error:
            if answer.has_started:
                _logger.warning("%s %s: connection cut: %s", scope["method"], ascii(scope["path"]), error.message)
                await _cut(scope)
            else:
                await answer.refuse(error)
        except Exception:  # boundary: a failing request must not end the server
            _logger.exception("%s %s failed", scope["method"], ascii(scope["path"]))
            if answer.has_started:
                raise
            await answer.refuse(ServerError("the server failed at this request; see its log"))

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
    """The answer to one request, and the body of the request.

    Attributes:
        scope: the scope passed to the app, in which `HEAD` is `GET`.
        has_started: whether the status has been sent.
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
        """Send with the security headers; for `HEAD`, send the headers only."""
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
        """Return the body read so far, then further messages."""
        if self._is_over:
            return {"type": "http.disconnect"}
        return self._body.pop() if self._body else await self._receive()

    async def take_body(self, headers: Headers) -> bool:
        """Read the body before the route runs: bodies are small, and a large one is refused unread.

        Return False if the client has disconnected.

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
    """Return the scope that a path requires; pages, their assets and health contain no data and require none."""
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
    person = await _person(scope, headers)
    grant = await _access(scope).require(_tokens(headers), needed, person)
    bearer = grant.digest if person is None else f"person {person.name}"
    session = grant.name if grant.is_session else None
    scope.setdefault("state", {}).update(
        scope=access.strongest(grant.scopes), bearer=bearer, actor=grant.name, session=session
    )
    return grant


async def _person(scope: Scope, headers: Headers) -> Grant | None:
    """Return the grant of a person identified by a session or by a proxy, for a request without a token."""
    if "authorization" in headers:
        return None
    state = scope["app"].state
    proxy: ProxyHeader | None = state.proxy_header
    if proxy is not None:
        connection = connection_of(scope)
        # Not the `client` of the scope, which is taken from the headers of a proxy.
        peer = scope.get("client") if connection is None else connection.get_extra_info("peername")
        person = proxy.grant(peer[0] if isinstance(peer, tuple | list) and peer else None, headers)
        if person is not None:
            return person
    sign_in: SignIn | None = state.sign_in
    if sign_in is None:
        return None
    for cookie in cookies_named(headers, cookie_name(headers, "session")):
        session = sign_in.grant(cookie)
        if session is not None and session.digest is not None and await _access(scope).has_session(session.digest):
            return session
    return None


async def _send_to_sign_in(scope: Scope, headers: Headers, receive: Receive, send: Send) -> bool:
    """Redirect a browser that requests a page to the provider if its user is not signed in."""
    path = _path(scope)
    if scope["app"].state.sign_in is None or scope["method"] != "GET" or path.startswith(_PUBLIC):
        return False
    if "text/html" not in headers.get("accept", "") or _needed(scope) is not None:
        return False
    if await _person(scope, headers) is not None or (await _access(scope).grant(_tokens(headers))).scopes:
        return False
    query = scope["query_string"].decode("latin-1")
    page = quote(f"{path}?{query}" if query else path, safe="")
    location = f"{quote(scope.get('root_path', ''))}/auth/login?next={page}"
    answer = Response(status_code=303, headers={"location": location, "cache-control": "no-store"})
    await answer(scope, receive, send)
    return True


def _tokens(headers: Headers) -> list[str]:
    """Return the tokens of a program or browser; a browser may send several cookies of the same name."""
    named = [text.partition(" ") for text in headers.getlist("authorization")]
    bearers = [token.strip() for scheme, _, token in named if scheme.lower() == "bearer"]
    if bearers:
        return bearers
    return list(cookies_named(headers, cookie_name(headers)))


async def _swap_token(scope: Scope, headers: Headers, receive: Receive, send: Send) -> bool:
    """Set a cookie for a browser that comes with `?token=`, and redirect it to the same address without the token."""
    pairs = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    token = dict(pairs).get("token")
    if token is None or scope["method"] != "GET" or _needed(scope) is not None:
        return False
    grant = await _access(scope).grant([token])
    if not grant.scopes:
        raise Unauthorised("expected a valid token, got an invalid one")
    rest = urlencode([(name, value) for name, value in pairs if name != "token"])
    root = scope.get("root_path", "")
    # Exactly one leading slash: `//host/` would be the address of another site.
    path = quote(f"{root}/{_path(scope).lstrip('/')}")
    headers_out = {"location": f"{path}?{rest}" if rest else path, "cache-control": "no-store"}
    # A token that is not required has not been verified: omit one that does not fit in a cookie.
    if _access(scope).is_closed or len(quote(token, safe="")) <= MAX_COOKIE_CHARS:
        is_secure = scope.get("scheme") == "https" or _hosts(scope).is_secure(headers.get("host"))
        headers_out["set-cookie"] = set_cookie(cookie_name(headers), token, root_path=root, is_secure=is_secure)
    await Response(status_code=303, headers=headers_out)(scope, receive, send)
    return True


# --- ends


async def _dismiss(scope: Scope, send: Send, error: ServerError) -> None:
    """Close an open socket whose token is invalid; tell a writer so that it does not reconnect."""
    # OSError means that the client has disconnected, RuntimeError that the app has already closed the socket.
    with suppress(TimeoutError, OSError, RuntimeError):
        async with asyncio.timeout(FAREWELL_S):
            if _needed(scope) == "write":
                refuse = Refuse(code=Unauthorised.code, message=error.message)
                await send({"type": "websocket.send", "bytes": encode(refuse)})
            await send({"type": "websocket.close", "code": _UNAUTHORISED_CLOSE, "reason": close_reason(error.message)})
            return
    await _cut(scope)


async def _cut(scope: Scope) -> None:
    """Cut a connection in the middle of an answer."""
    connection = connection_of(scope)
    if connection is not None:
        connection.abort()
        await connection.wait_lost()
