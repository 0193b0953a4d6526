"""Sign-in of users with an OpenID Connect provider: authorisation code flow with PKCE, state and nonce.

Owns the conversation with the provider and the signed cookies of a sign-in and a session; must not know routes. Needs
the extra `oidc`. The cookie of a session has the person's name and groups; `recis_server.access` knows whether the
session has been ended.

    sign_in = open_sign_in(settings, roles)     # None without --oidc-issuer
"""

import hashlib
import hmac
import importlib.util
import logging
import secrets
import time
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from recis_server.access import Grant, digest_of, make_token
from recis_server.errors import Busy, Unauthorised
from recis_server.people import Roles, read_secret
from recis_server.settings import Settings

__all__ = ["SIGN_IN_S", "SignIn", "open_sign_in"]

_logger = logging.getLogger(__name__)

SESSION_S = 12 * 3600
"""Validity of a session."""
SIGN_IN_S = 600
"""Time limit of a sign-in."""
KNOWN_S = 600.0
"""How long the provider's metadata is cached."""
MAX_GROUPS = 64
_ANSWER_S = 10.0
_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")


class Begun(NamedTuple):
    """Where to redirect the browser, and the cookie of the sign-in."""

    location: str
    cookie: str


class SignedIn(NamedTuple):
    """The session cookie and the seconds of its validity, the page that was requested before, and the session itself.

    `name` is the person's, `digest` that of the secret in the cookie.
    """

    cookie: str
    seconds: int
    page: str
    name: str
    digest: str


class SignIn:
    """One provider.

    Args:
        issuer: its address.
        client_id: this server's name there.
        client_secret: this server's secret there.
        claim: the claim of the ID token with a person's groups.
        roles: what people may do.
    """

    def __init__(self, issuer: str, client_id: str, client_secret: str, claim: str, roles: Roles) -> None:
        from joserfc.jwk import OctKey

        self._issuer = issuer.rstrip("/")
        self._client_id = client_id
        self._client_secret = client_secret
        self._claim = claim
        self._roles = roles
        # Derived from the client secret, so that replicas share it and a restart ends no session.
        key = hmac.digest(client_secret.encode(), b"recis-monitor session", hashlib.sha256)
        self._key = OctKey.import_key(key)
        self._known: dict[str, Any] = {}
        self._known_at = -KNOWN_S

    async def begin(self, callback: str, page: str) -> Begun:
        """Return the provider's page for a sign-in that ends at `callback` and then shows `page`.

        Raises:
            Busy: the provider does not answer.
        """
        provider = await self._provider()
        state, nonce, verifier = (secrets.token_urlsafe(48) for _ in range(3))
        async with self._client(callback) as client:
            location, _ = client.create_authorization_url(
                provider["authorization_endpoint"], state=state, nonce=nonce, code_verifier=verifier
            )
        kept = {"state": state, "nonce": nonce, "verifier": verifier, "page": page}
        return Begun(location, self._sealed("sign-in", kept, SIGN_IN_S))

    async def finish(self, callback: str, answer: Mapping[str, str], cookie: str) -> SignedIn:
        """Return the session of a browser that comes back from the provider.

        Args:
            callback: as in `begin`.
            answer: the query of the request.
            cookie: that of `begin`.

        Raises:
            Unauthorised: another browser began the sign-in, or the provider has refused.
            Busy: the provider does not answer.
        """
        kept = self._opened("sign-in", cookie)
        if kept is None or not hmac.compare_digest(kept["state"].encode(), answer.get("state", "").encode()):
            raise Unauthorised(
                "expected the sign-in that this browser has begun in the last ten minutes; sign in again"
            )
        if "code" not in answer:
            raise Unauthorised(f"the provider has refused: {answer.get('error', 'no reason given')[:200]}")
        claims = await self._claims(callback, answer["code"], kept)
        name = str(claims.get("email") or claims.get("preferred_username") or claims["sub"])[:256]
        given = claims.get(self._claim) or ()
        groups = [given] if isinstance(given, str) else [str(one) for one in given]
        secret = make_token()
        session = {"name": name, "groups": self._roles.relevant(groups)[:MAX_GROUPS], "secret": secret}
        return SignedIn(self._sealed("session", session, SESSION_S), SESSION_S, kept["page"], name, digest_of(secret))

    def grant(self, cookie: str) -> Grant | None:
        """Return the grant of the user with this session, which may have been ended; None for an invalid cookie."""
        session = self._opened("session", cookie)
        if session is None or "secret" not in session:
            return None
        grant = self._roles.grant(session["name"], session["groups"])
        return Grant(grant.scopes, digest_of(session["secret"]), grant.name, is_session=True)

    async def _claims(self, callback: str, code: str, kept: Mapping[str, str]) -> dict[str, Any]:
        """Exchange the code for an ID token and return its claims, which are verified."""
        import httpx
        from authlib.integrations.base_client.errors import OAuthError
        from joserfc import jwt
        from joserfc.errors import JoseError
        from joserfc.jwk import KeySet

        provider = await self._provider()
        try:
            async with self._client(callback) as client:
                token = await client.fetch_token(
                    provider["token_endpoint"],
                    code=code,
                    code_verifier=kept["verifier"],
                    grant_type="authorization_code",
                )
            keys = await _read(provider["jwks_uri"])
            found = jwt.decode(token["id_token"], KeySet.import_key_set(keys), algorithms=_ALGORITHMS)
            jwt.JWTClaimsRegistry(
                leeway=60,
                iss={"essential": True, "value": provider["issuer"]},
                aud={"essential": True, "value": self._client_id},
                sub={"essential": True},
                exp={"essential": True},
                nonce={"essential": True, "value": kept["nonce"]},
            ).validate(found.claims)
        except (httpx.HTTPError, OAuthError, JoseError, KeyError, ValueError) as error:
            _logger.warning("a sign-in failed: %s: %s", type(error).__name__, error)
            raise Unauthorised("the provider's answer could not be used; the server's log says why") from error
        return found.claims

    async def _provider(self) -> dict[str, Any]:
        """Return the provider's metadata."""
        import httpx

        if time.monotonic() - self._known_at < KNOWN_S:
            return self._known
        url = f"{self._issuer}/.well-known/openid-configuration"
        try:
            known: dict[str, Any] = await _read(url)
            for name in ("issuer", "authorization_endpoint", "token_endpoint", "jwks_uri"):
                if not isinstance(known.get(name), str):
                    raise ValueError(f"expected {name} in the answer")  # noqa: TRY004 - what came from outside
            if known["issuer"].rstrip("/") != self._issuer:
                raise ValueError(f"expected the issuer {self._issuer}, got {known['issuer']!r}")
        except (httpx.HTTPError, AttributeError, ValueError) as error:
            _logger.warning("--oidc-issuer: %s: %s: %s", url, type(error).__name__, error)
            raise Busy("the provider of the sign-in cannot be used now; the server's log says why") from error
        self._known, self._known_at = known, time.monotonic()
        return known

    def _client(self, callback: str) -> Any:
        from authlib.integrations.httpx_client import AsyncOAuth2Client

        return AsyncOAuth2Client(
            self._client_id,
            self._client_secret,
            scope="openid profile email",
            redirect_uri=callback,
            code_challenge_method="S256",
            timeout=_ANSWER_S,
        )

    def _sealed(self, purpose: str, content: Mapping[str, Any], seconds: int) -> str:
        from joserfc import jwt

        claims = {**content, "aud": purpose, "exp": int(time.time()) + seconds}
        return jwt.encode({"alg": "HS256"}, claims, self._key)

    def _opened(self, purpose: str, cookie: str) -> dict[str, Any] | None:
        from joserfc import jwt
        from joserfc.errors import JoseError

        try:
            found = jwt.decode(cookie, self._key, algorithms=["HS256"])
            required = jwt.JWTClaimsRegistry(aud={"essential": True, "value": purpose}, exp={"essential": True})
            required.validate(found.claims)
        except (JoseError, ValueError):
            return None
        return found.claims


async def _read(url: str) -> Any:
    """Return the JSON at an address of the provider."""
    import httpx

    async with httpx.AsyncClient(timeout=_ANSWER_S) as client:
        return (await client.get(url)).raise_for_status().json()


def open_sign_in(settings: Settings, roles: Roles) -> SignIn | None:
    """Return the provider of `--oidc-issuer`, None without that option.

    Raises:
        ValueError: the address is invalid, an option that belongs to it is missing, or the extra `oidc`.
        StoreError: the secret cannot be read.
    """
    if not settings.oidc_issuer:
        return None
    parts = urlsplit(settings.oidc_issuer)
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise ValueError("--oidc-issuer: expected an address like https://login.example.com, got another one")
    if not settings.oidc_client_id or settings.oidc_client_secret_file is None:
        raise ValueError("--oidc-issuer: expected --oidc-client-id ID and --oidc-client-secret-file F with it")
    if importlib.util.find_spec("authlib") is None or importlib.util.find_spec("httpx") is None:
        raise ValueError("--oidc-issuer: expected the packages of `pip install 'recis-monitor[server,oidc]'`")
    secret = read_secret("--oidc-client-secret-file", settings.oidc_client_secret_file)
    return SignIn(settings.oidc_issuer, settings.oidc_client_id, secret, settings.oidc_claim, roles)
