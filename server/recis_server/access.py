"""Access control: tokens and their scopes, and the `Host` and `Origin` headers that a request may carry.

Owns the decisions; `recis_server.gate` consults them for every request and upgrade. Tokens are stored as SHA-256
digests and compared in constant time. Must not know routes.
"""

import asyncio
import hashlib
import hmac
import ipaddress
import logging
import math
import os
import re
import secrets
import socket
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from recis_server.errors import Forbidden, ServerError, StoreError, Unauthorised
from recis_server.settings import LOOPBACK_NAMES, Settings
from recis_server.store.interface import Store
from recis_server.store.values import TokenRow

__all__ = [
    "GRANTS",
    "SCOPES",
    "Access",
    "Grant",
    "Hosts",
    "Scope",
    "digest_of",
    "make_token",
    "read_token_file",
    "strongest",
]

_logger = logging.getLogger(__name__)

Scope = Literal["write", "view", "control"]
SCOPES: tuple[Scope, ...] = ("control", "view", "write")
GRANTS: dict[str, frozenset[str]] = {
    "view": frozenset({"view"}),
    "control": frozenset({"view", "control"}),
    "write": frozenset({"write"}),
}
EVERYTHING = frozenset(SCOPES)
LOCAL = "local"
"""The name of a caller where no token is required."""
MASTER = "token-file"
"""The bearer of the token of `--token-file`."""
SESSION = "session"
"""The scope under which sessions of people are stored beside tokens; as a token it grants nothing."""
MAX_SESSIONS = 20
"""Sessions of one person; a further sign-in ends the oldest."""
REFRESH_S = 0.5
"""Interval between reads of the stored tokens, which other processes create and revoke."""
NOTE_S = 60.0
"""Interval at which the times of last use are written."""


def make_token() -> str:
    """Return a new token."""
    return secrets.token_urlsafe(24)


def digest_of(token: str) -> str:
    """Return the digest under which a token is stored."""
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()


def strongest(scopes: frozenset[str]) -> Scope:
    """Return the strongest of the granted scopes, which tells the page what to offer."""
    return next(scope for scope in SCOPES if scope in scopes)


def read_token_file(path: Path) -> str:
    """Return the token in the first line of the file, which grants every scope; create a missing file with a new one.

    Raises:
        StoreError: the file cannot be read or created, or contains no token.
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
    if not (token.isascii() and token.isprintable()):
        raise StoreError(f"--token-file: expected printable ASCII characters in the first line of {path}, got others")
    return token


@dataclass(frozen=True, slots=True)
class Grant:
    """The scopes of a token or a person, and the name.

    `digest` identifies a token or a session that can be revoked, and is None for any other grant.
    """

    scopes: frozenset[str]
    digest: str | None = None
    name: str = LOCAL
    is_session: bool = False


class Access:
    """The tokens of this server; call `open` and `close` in the lifespan.

    Args:
        store: the store of the tokens created by `recis-monitor token create`.
        master: a token with every scope.
        is_closed: whether a token or a known person is required even if there are no tokens.
    """

    def __init__(self, store: Store, master: str | None, *, is_closed: bool = False) -> None:
        self._store = store
        self._master = None if master is None else digest_of(master)
        self._rows: tuple[TokenRow, ...] = ()
        self._sessions: dict[str, TokenRow] = {}  # by digest
        self._read_at = -math.inf
        self._reading = asyncio.Lock()
        self._is_closed = is_closed or master is not None
        self._held: dict[str, set[asyncio.Timeout]] = {}
        self._used_ns: dict[str, int] = {}  # by digest, since the last write
        self._noted_at = time.monotonic()
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Read the tokens and keep them up to date."""
        await self._refresh(time.monotonic())
        self._task = asyncio.create_task(self._follow(), name="tokens")

    async def close(self) -> None:
        """Stop updating the tokens, and store when they were last used; safe to call twice."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
            await self._note_use()

    @property
    def is_closed(self) -> bool:
        """Whether a token or a known person is required; once it is, it remains so until the next start."""
        return self._is_closed

    async def grant(self, tokens: Sequence[str]) -> Grant:
        """Return the grant of the first valid token; without a token, nothing, or everything if none is required."""
        now = time.monotonic()
        await self._refresh(now - REFRESH_S)
        found = self._find(tokens)
        if found is None and tokens:
            # The token may be new. A single read answers any number of concurrent requests.
            await self._refresh(now)
            found = self._find(tokens)
        return found or Grant(frozenset() if self._is_closed else EVERYTHING)

    async def require(self, tokens: Sequence[str], scope: Scope, person: Grant | None = None) -> Grant:
        """Return the grant if it includes `scope`.

        Args:
            tokens: those of the request.
            scope: what it needs.
            person: the grant of a person who is known without a token, and who then counts.

        Raises:
            Unauthorised: no token, or no valid one.
            Forbidden: a valid token without `scope`, or a person without it.
        """
        if person is not None:
            if scope not in person.scopes:
                came = ", ".join(sorted(person.scopes)) or "none"
                raise Forbidden(
                    f"expected {person.name!r} to have the scope {scope} (--auth-view, --auth-control), got {came}"
                )
            return person
        grant = await self.grant(tokens)
        if not grant.scopes:
            came = "one that is invalid or has expired" if tokens else "none"
            raise Unauthorised(f"expected a token with the scope {scope}, got {came}")
        if scope not in grant.scopes:
            raise Forbidden(f"expected a token with the scope {scope}, got one with {', '.join(sorted(grant.scopes))}")
        return grant

    async def begin_session(self, name: str, digest: str, seconds: int) -> None:
        """Store the session of a person who has signed in, and delete expired ones.

        Args:
            name: of the person.
            digest: of the secret in the session's cookie.
            seconds: how long it is valid.

        Raises:
            ServerError: the store is unavailable.
        """
        now_ns = time.time_ns()
        sessions = [row for row in await self._store.tokens() if row.scope == SESSION]
        own = [row for row in sessions if row.name == name and _is_valid(row, now_ns)]
        over = [row for row in sessions if not _is_valid(row, now_ns)] + own[: max(0, len(own) - MAX_SESSIONS + 1)]
        for row in over:
            await self._store.delete_token(row.id)
        row = TokenRow(secrets.token_hex(4), name, SESSION, digest, now_ns, now_ns + seconds * 10**9)
        await self._store.add_token(row)
        await self._refresh(time.monotonic())

    async def end_session(self, digest: str) -> None:
        """Delete a session, which closes its connections; do nothing if it has ended already.

        Raises:
            ServerError: the store is unavailable.
        """
        for row in await self._store.tokens():
            if row.scope == SESSION and row.digest == digest:
                await self._store.delete_token(row.id)
        await self._refresh(time.monotonic())

    async def has_session(self, digest: str) -> bool:
        """Return whether a session has neither expired nor been ended, at this server or another."""
        now = time.monotonic()
        await self._refresh(now - REFRESH_S)
        if digest not in self._sessions:
            await self._refresh(now)  # it may be new
        row = self._sessions.get(digest)
        if row is None or not _is_valid(row, now_ns := time.time_ns()):
            return False
        self._used_ns[digest] = now_ns
        return True

    @asynccontextmanager
    async def held(self, grant: Grant) -> AsyncIterator[None]:
        """Run a block while the grant is valid; cancel it at its next `await` when its token or session ends.

        Raises:
            Unauthorised: the token or session was revoked, or has expired.
        """
        if grant.digest is None:
            yield
            return
        limit = asyncio.timeout(None)
        held = self._held.setdefault(grant.digest, set())
        held.add(limit)
        try:
            async with limit:
                yield
        except TimeoutError:
            if limit.expired():
                reason = (
                    "the session of this connection has ended; sign in again"
                    if grant.is_session
                    else "the token of this connection was revoked or has expired"
                )
                raise Unauthorised(reason) from None
            raise
        finally:
            held.discard(limit)
            if not held and self._held.get(grant.digest) is held:
                del self._held[grant.digest]

    def _find(self, tokens: Sequence[str]) -> Grant | None:
        now_ns = time.time_ns()
        for token in tokens:
            digest = digest_of(token)
            if self._master is not None and hmac.compare_digest(digest, self._master):
                return Grant(EVERYTHING, name=MASTER)
            for row in self._rows:
                if hmac.compare_digest(digest, row.digest) and _is_valid(row, now_ns):
                    self._used_ns[row.digest] = now_ns
                    return Grant(GRANTS[row.scope], row.digest, row.name or f"token {row.id}")
        return None

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_S)
            try:
                await self._refresh(time.monotonic())
            except Exception:  # boundary: after any failure of the store, revocations must still be noticed
                _logger.exception("could not read the tokens")
            if time.monotonic() - self._noted_at >= NOTE_S:
                await self._note_use()

    async def _note_use(self) -> None:
        """Store when tokens were last used; an open connection uses its token all the time."""
        self._noted_at = time.monotonic()
        used_ns = self._used_ns | dict.fromkeys(self._held, time.time_ns())
        if not used_ns:
            return
        self._used_ns = {}
        try:
            await self._store.note_token_use(used_ns)
        except ServerError as error:
            self._used_ns = used_ns | self._used_ns
            _logger.warning("could not store when tokens were last used: %s", error.message)

    async def _refresh(self, since: float) -> None:
        """Read the tokens unless a read has begun since; keep the known ones while the store is unavailable."""
        if self._read_at >= since:
            return
        async with self._reading:
            if self._read_at >= since:
                return
            began = time.monotonic()
            try:
                rows = await self._store.tokens()
            except ServerError:
                if self._read_at == -math.inf:
                    raise
            else:
                self._read_at = began
                self._rows = tuple(row for row in rows if row.scope != SESSION)
                self._sessions = {row.digest: row for row in rows if row.scope == SESSION}
                self._is_closed = self._is_closed or bool(self._rows)
            now_ns = time.time_ns()
            self._end_revoked([row for row in (*self._rows, *self._sessions.values()) if _is_valid(row, now_ns)])

    def _end_revoked(self, rows: Sequence[TokenRow]) -> None:
        at_once = asyncio.get_running_loop().time()
        for digest in self._held.keys() - {row.digest for row in rows}:
            for limit in self._held[digest]:
                if not limit.expired():
                    limit.reschedule(at_once)


def _is_valid(row: TokenRow, now_ns: int) -> bool:
    return row.expires_ns is None or now_ns < row.expires_ns


class _Site(NamedTuple):
    """The site of a page; `scheme` and `port` are None where any value is accepted."""

    scheme: str | None
    name: str
    port: int | None


class Hosts:
    """The names under which this server may be addressed, as a defence against DNS rebinding.

    Accepted are loopback names, the bound host and those of `--allow-host`, on any port. A server bound to all
    addresses also accepts the machine's name and any IP address, which a foreign name cannot imitate.
    """

    def __init__(self, settings: Settings) -> None:
        """Raise `ValueError` for an `--allow-host` that is neither a host name nor an origin."""
        extra = [_allowed(text) for text in settings.allow_host if text != "*"]
        self._any = "*" in settings.allow_host
        self._wildcard = settings.is_wildcard
        own: Iterable[str] = (socket.gethostname(), socket.getfqdn()) if settings.is_wildcard else (settings.host,)
        self._names = {_name(one) for one in (*LOOPBACK_NAMES, *own)} | {one.name for one in extra}
        self._extra = {one.name for one in extra if one.scheme is None}
        self._origins = {one for one in extra if one.scheme is not None}

    def check(self, host: str | None, origin: str | None, scheme: str = "http") -> None:
        """Raise `Forbidden` if `Host` is not accepted or `Origin` belongs to another site.

        Args:
            host: the header, None if absent.
            origin: the header, None if absent, as from clients other than browsers.
            scheme: the scheme of the request.
        """
        site = _site(f"{scheme}://{host}")
        if site is None or not self._is_ours(site.name):
            raise Forbidden(f"expected a Host that this server accepts (see --allow-host), got {(host or '')[:200]!r}")
        if origin is None:
            return
        came = _site(origin)
        if came is None or not (came == site or came in self._origins or self._is_alias(came, site)):
            asked = f"{scheme}://{(host or '')[:200]}"
            raise Forbidden(
                f"expected the Origin to be this server's own, got {origin[:200]!r} where {asked} was asked; behind a"
                " proxy, give the origin of the page, as in --allow-host https://NAME"
            )

    def is_secure(self, host: str | None) -> bool:
        """Return whether browsers reach this host over HTTPS, according to an `--allow-host` with a scheme."""
        site = _site(f"https://{host}")
        return site is not None and any(site.name == one.name and one.scheme == "https" for one in self._origins)

    def _is_ours(self, name: str) -> bool:
        if name in self._names or self._any:
            return True
        return self._wildcard and _is_address(name)

    def _is_alias(self, came: _Site, site: _Site) -> bool:
        """Return whether an origin differs from the request only by an allowed host name."""
        return came.name in self._extra and came == site._replace(name=came.name)


_DEFAULT_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"(?:(https?)://)?(\[[0-9A-Fa-f:.]+\]|[^\s\[\]/\\?#@:%]+)(?::([0-9]{1,5}))?", re.ASCII)


def _site(text: str) -> _Site | None:
    """Return the site of an origin; None for `null` and for anything that is not an origin."""
    match = _HOST.fullmatch(text.lower())
    if match is None or match[1] is None:
        return None
    return _Site(match[1], _name(match[2]), int(match[3] or _DEFAULT_PORTS[match[1]]))


def _allowed(text: str) -> _Site:
    """Return what an `--allow-host` allows: a host name, or an origin."""
    if (site := _site(text)) is not None:
        return site
    match = _HOST.fullmatch(text)
    if (match is None or match[3] is not None) and not _is_address(text):
        raise ValueError(f"--allow-host: expected NAME or http(s)://NAME[:PORT], got {text[:200]!r}")
    return _Site(None, _name(text), None)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _name(host: str) -> str:
    """Return the canonical spelling of a name or address: lower case, no brackets, no trailing dot."""
    bare = host.lower().removeprefix("[").removesuffix("]")
    try:
        return ipaddress.ip_address(bare).compressed
    except ValueError:
        return bare.removesuffix(".")
