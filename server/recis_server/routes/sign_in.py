"""`/auth/…`: sign-in with the OpenID Connect provider, its callback, and sign-out.

Must not know the provider's answers. The gate redirects browsers here, and reads the session cookie.
"""

from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response

from recis_server.access import Hosts
from recis_server.cookies import cookie_name, cookies_named, set_cookie
from recis_server.errors import NotFound
from recis_server.oidc import SIGN_IN_S, SignIn
from recis_server.plain_pages import plain_page

__all__ = ["router"]

router = APIRouter(prefix="/auth", include_in_schema=False)
MAX_PAGE_CHARS = 1024
_IN_ADDRESS = "/?&=%:,+;@"
"""Characters that are not escaped in the address of a page; browsers take a backslash, for example, for a slash."""
_SIGNED_OUT = (
    "Your session on this server has ended.",
    "You may still be signed in with your identity provider.",
)


@router.get("/login")
async def sign_in(request: Request) -> Response:
    """Send the browser to the provider; `next` is the page to show afterwards."""
    page = request.query_params.get("next", "")[:MAX_PAGE_CHARS]
    # Exactly one leading slash: `//host/` would be the address of another site.
    wanted = quote(f"/{page.lstrip('/')}", safe=_IN_ADDRESS)
    begun = await _provider(request).begin(_callback(request), wanted)
    return _redirect(begun.location, _cookie(request, "sign_in", begun.cookie, SIGN_IN_S))


@router.get("/callback")
async def come_back(request: Request) -> Response:
    """Verify the provider's answer and begin the session."""
    cookie = next(cookies_named(request.headers, cookie_name(request.headers, "sign_in")), "")
    done = await _provider(request).finish(_callback(request), request.query_params, cookie)
    await request.app.state.access.begin_session(done.name, done.digest, done.seconds)
    page = quote(request.scope.get("root_path", ""), safe="/") + done.page
    ended = _cookie(request, "sign_in", "", 0)
    return _redirect(page, _cookie(request, "session", done.cookie, done.seconds), ended)


@router.post("/logout")
async def sign_out(request: Request) -> Response:
    """End the session, at all servers."""
    provider = _provider(request)
    for cookie in cookies_named(request.headers, cookie_name(request.headers, "session")):
        session = provider.grant(cookie)
        if session is not None and session.digest is not None:
            await request.app.state.access.end_session(session.digest)
    page = f"{quote(request.scope.get('root_path', ''), safe='/')}/auth/signed-out"
    return _redirect(page, _cookie(request, "session", "", 0))


@router.get("/signed-out")
async def read_signed_out(request: Request) -> Response:
    """Say that the session has ended; the page itself would begin another sign-in."""
    _provider(request)
    root_path = request.scope.get("root_path", "")
    body = plain_page("Signed out", _SIGNED_OUT, ("/auth/login", "Sign in again"), root_path)
    return HTMLResponse(body, headers={"cache-control": "no-store"})


def _provider(request: Request) -> SignIn:
    found: SignIn | None = request.app.state.sign_in
    if found is None:
        raise NotFound("there is no sign-in on this server (--oidc-issuer)")
    return found


def _is_secure(request: Request) -> bool:
    hosts: Hosts = request.app.state.hosts
    return request.scope.get("scheme") == "https" or hosts.is_secure(request.headers.get("host"))


def _callback(request: Request) -> str:
    # The gate has checked the host.
    scheme = "https" if _is_secure(request) else "http"
    return f"{scheme}://{request.headers.get('host', '')}{quote(request.scope.get('root_path', ''))}/auth/callback"


def _cookie(request: Request, purpose: str, value: str, seconds: int) -> str:
    return set_cookie(
        cookie_name(request.headers, purpose),
        value,
        root_path=request.scope.get("root_path", ""),
        is_secure=_is_secure(request),
        same_site="Lax",  # the browser comes back from the site of the provider
        max_age_s=seconds,
    )


def _redirect(location: str, *cookies: str) -> Response:
    response = Response(status_code=303, headers={"location": location, "cache-control": "no-store"})
    for cookie in cookies:
        response.headers.append("set-cookie", cookie)
    return response
