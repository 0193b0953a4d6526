"""Parse the server's address as a user gives it into the URLs and headers of the sockets.

Owns that translation; must not know what is sent.
"""

from dataclasses import dataclass, field
from urllib.parse import SplitResult, parse_qs, urlsplit, urlunsplit

from recis.wire.showing import shown

__all__ = ["DEFAULT_URL", "ServerAddress"]

DEFAULT_URL = "http://127.0.0.1:8765"
"""Where `recis-monitor serve` listens by default."""

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """`base` is the address without a token; `token` goes into the upgrade request's `Authorization`."""

    base: str
    token: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, url: str, token: str | None = None) -> "ServerAddress":
        """Parse `http(s)://HOST[:PORT][/PREFIX][?token=…]`, the form in which the server prints its address.

        Raises:
            ValueError: anything else.
        """
        parts = _parts(url)
        if parts is None:
            raise ValueError(f"url: expected an address like http://127.0.0.1:8765, got {shown(url)}")
        scheme = "https" if parts.scheme in ("https", "wss") else "http"
        given = parse_qs(parts.query).get("token", [None])[0]
        base = urlunsplit((scheme, parts.netloc, parts.path.rstrip("/"), "", ""))
        return cls(base, _checked_token(token) or _checked_token(given))

    def socket(self, path: str) -> str:
        """Return the WebSocket URL of `path`, which starts with a slash."""
        return f"ws{self.base.removeprefix('http')}{path}"

    def run_page(self, run: str) -> str:
        """Return the URL of the run's page."""
        return f"{self.base}/run/{run}"

    @property
    def headers(self) -> dict[str, str]:
        """Return the headers of the upgrade request."""
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    @property
    def is_loopback(self) -> bool:
        """Return whether the server is on this machine, so that the connection needs no proxy."""
        return urlsplit(self.base).hostname in _LOOPBACK


def _parts(url: str) -> SplitResult | None:
    """Return the parts of an address, None for a text that is not an address."""
    if not issubclass(type(url), str) or not url.strip().isprintable():
        return None
    try:
        url = url.strip()
        parts = urlsplit(url if "://" in url else f"http://{url}")
        port = parts.port  # raises if it is not a number, or too large
    except ValueError:
        return None
    return parts if parts.scheme in ("http", "https", "ws", "wss") and parts.hostname and port != 0 else None


def _checked_token(token: str | None) -> str | None:
    """Return the token without surrounding white space; raise `ValueError` if it cannot be sent in a header."""
    if token is None:
        return None
    if not issubclass(type(token), str) or not token.strip().isascii() or not token.strip().isprintable():
        raise ValueError(f"token: expected a text of printable ASCII characters, got another {type(token).__name__}")
    return token.strip() or None
