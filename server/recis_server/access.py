"""Who may do what: tokens and their scopes, and the `Host` and `Origin` that a request may name.

Owns the decisions; `recis_server.gate` asks them for every request and upgrade. Tokens are kept as SHA-256 and compared
in constant time. Must not know routes.
"""

import hashlib
import hmac
import ipaddress
import os
import secrets
import socket
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from recis_server.errors import Forbidden, StoreError, Unauthorised
from recis_server.settings import LOOPBACK_NAMES, Settings
from recis_server.store.interface import Store
from recis_server.store.values import TokenRow

__all__ = ["SCOPES", "Access", "Hosts", "Scope", "digest_of", "make_token", "read_token_file", "strongest"]

Scope = Literal["write", "view", "control"]
SCOPES: tuple[Scope, ...] = ("control", "view", "write")
_GRANTS: dict[str, frozenset[str]] = {
    "view": frozenset({"view"}),
    "control": frozenset({"view", "control"}),
    "write": frozenset({"write"}),
}
EVERYTHING = frozenset(SCOPES)
REFRESH_S = 2.0
"""How long a revoked token may still be good for."""


def make_token() -> str:
    """A new token."""
    return secrets.token_urlsafe(24)


def digest_of(token: str) -> str:
    """What is kept of a token."""
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()


def strongest(scopes: frozenset[str]) -> Scope:
    """The one scope that tells a page what it may offer."""
    return next(scope for scope in SCOPES if scope in scopes)


def read_token_file(path: Path) -> str:
    """The token in the file's first line, good for everything; a file that is not there is made with a new token.

    Raises:
        StoreError: the file cannot be read or made, or has no token.
    """
    try:
        if not path.exists():
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(make_token() + "\n")
        token = path.read_text().split("\n", 1)[0].strip()
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(f"--token-file: expected a file with a token, got {path}: {error}") from error
    if not token:
        raise StoreError(f"--token-file: expected a token in the first line of {path}, got an empty line")
    return token


class Access:
    """The tokens of this server.

    Args:
        store: has the tokens that were made by `recis-monitor token create`.
        master: a token that may do everything.
    """

    def __init__(self, store: Store, master: str | None) -> None:
        self._store = store
        self._master = None if master is None else digest_of(master)
        self._rows: tuple[TokenRow, ...] = ()
        self._read_at = -REFRESH_S
        self._closed = master is not None

    async def is_closed(self) -> bool:
        """Whether a token is needed; once it is, it stays so until the next start."""
        now = time.monotonic()
        if now - self._read_at >= REFRESH_S:
            self._rows = await self._store.tokens()
            self._read_at = now
            self._closed = self._closed or bool(self._rows)
        return self._closed

    async def scopes(self, token: str | None) -> frozenset[str]:
        """What the bearer may do; nothing without a known token."""
        if not await self.is_closed():
            return EVERYTHING
        if token is None:
            return frozenset()
        digest = digest_of(token)
        if self._master is not None and hmac.compare_digest(digest, self._master):
            return EVERYTHING
        granted = [_GRANTS[row.scope] for row in self._rows if hmac.compare_digest(digest, row.digest)]
        return granted[0] if granted else frozenset()

    async def require(self, token: str | None, scope: Scope) -> frozenset[str]:
        """The bearer's scopes.

        Raises:
            Unauthorised: no token, or none that is known.
            Forbidden: a known token without `scope`.
        """
        scopes = await self.scopes(token)
        if not scopes:
            came = "none" if token is None else "one that is not known"
            raise Unauthorised(f"expected a token with the scope {scope}, got {came}")
        if scope not in scopes:
            raise Forbidden(f"expected a token with the scope {scope}, got one with {', '.join(sorted(scopes))}")
        return scopes


class Hosts:
    """Which names this server goes by: what stops a foreign page that has pointed its own name at this address.

    Loopback names, the bound host and those of `--allow-host`, with any port. A server on all addresses also goes by
    the machine's name and by any address as such: a foreign name cannot be one.
    """

    def __init__(self, settings: Settings) -> None:
        self._extra = frozenset(name.lower() for name in settings.allow_host)
        self._wildcard = settings.is_wildcard
        own: Iterable[str] = (socket.gethostname(), socket.getfqdn()) if settings.is_wildcard else (settings.host,)
        self._names = LOOPBACK_NAMES | self._extra | {name.lower() for name in own}

    def check(self, host: str | None, origin: str | None) -> None:
        """Raises `Forbidden` where `Host` is not ours or `Origin` is another site's."""
        name = _host_name(host or "")
        if not self._is_ours(name):
            raise Forbidden(f"expected a Host that this server goes by (see --allow-host), got {(host or '')[:200]!r}")
        if origin is None:
            return
        parts = _split(origin)
        if parts is None or not (parts[0] == (host or "").lower() or parts[1] in self._extra):
            raise Forbidden(f"expected the Origin to be this server's own, got {origin[:200]!r}")

    def _is_ours(self, name: str) -> bool:
        if name in self._names or "*" in self._extra:
            return bool(name)
        if not self._wildcard:
            return False
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


def _host_name(host: str) -> str:
    parts = _split(f"http://{host}")
    return "" if parts is None else parts[1]


def _split(origin: str) -> tuple[str, str] | None:
    """Host with port, and host alone, in lower case; None for `null` and whatever is no origin."""
    try:
        parts = urlsplit(origin)
        _ = parts.port
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        return None
    return parts.netloc.lower(), parts.hostname.lower()
