"""The cookies of this server: their names and attributes.

Must not know what they contain or what it permits.
"""

from collections.abc import Iterator, Mapping
from urllib.parse import quote, unquote

from starlette.datastructures import Headers
from starlette.requests import cookie_parser

__all__ = ["cookie_name", "cookies_named", "set_cookie"]


def cookie_name(headers: Headers, purpose: str = "monitor") -> str:
    """Return a name with the port: cookies are shared between ports, and servers must not exchange theirs."""
    port = headers.get("host", "").rpartition(":")[2]
    return f"recis_{purpose}_{port}" if port.isdigit() else f"recis_{purpose}"


def cookies_named(headers: Headers, name: str) -> Iterator[str]:
    """Yield the values of a cookie: a browser may send several of the same name."""
    for text in headers.getlist("cookie"):
        for part in text.split(";"):
            cookie: Mapping[str, str] = cookie_parser(part)
            if name in cookie:
                yield unquote(cookie[name])


def set_cookie(
    name: str, value: str, *, root_path: str, is_secure: bool, same_site: str = "Strict", max_age_s: int | None = None
) -> str:
    """Return the value of a `Set-Cookie` header.

    Args:
        name: from `cookie_name`.
        value: any text; an empty one with `max_age_s=0` removes the cookie.
        root_path: the path below which it is sent.
        is_secure: whether the page is loaded over HTTPS.
        same_site: `Lax` for what has to survive the way back from another site.
        max_age_s: seconds until the browser forgets it, by default the end of its session.
    """
    parts = [f"{name}={quote(value, safe='')}", "HttpOnly", f"Path={quote(root_path) or '/'}", f"SameSite={same_site}"]
    if max_age_s is not None:
        parts.append(f"Max-Age={max_age_s}")
    if is_secure:
        parts.append("Secure")
    return "; ".join(parts)
