"""A small OpenID Connect provider, over real HTTP: everybody who comes is signed in as the person that a test names."""

import base64
import hashlib
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, urlencode

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response
from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

from tests.server.realserver import listening

CLIENT_ID = "recis"
CLIENT_SECRET = "a-secret-of-the-client"


class Provider:
    """Its answers.

    Attributes:
        url: the issuer.
        person: claims about who signs in.
        wrong: claims of the ID token that are replaced, to see them refused.
        key: what ID tokens are signed with.
    """

    def __init__(self) -> None:
        self.url = ""
        self.person: dict[str, Any] = {"sub": "1", "email": "alice@example.com", "groups": ["ops"]}
        self.wrong: dict[str, Any] = {}
        self._keys = KeySet([RSAKey.generate_key(2048, {"kid": "one"})])
        self.key = self._keys.keys[0]
        self._codes: dict[str, dict[str, str]] = {}
        self.app = FastAPI()
        self.app.get("/.well-known/openid-configuration")(self._describe)
        self.app.get("/jwks")(self._list_keys)
        self.app.get("/authorize")(self._authorize)
        self.app.post("/token")(self._exchange)

    async def _describe(self) -> JSONResponse:
        places = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "jwks"}
        return JSONResponse({"issuer": self.url, **{name: f"{self.url}/{path}" for name, path in places.items()}})

    async def _list_keys(self) -> JSONResponse:
        return JSONResponse(self._keys.as_dict(private=False))

    async def _authorize(self, request: Request) -> Response:
        asked = dict(request.query_params)
        assert asked["response_type"] == "code"
        assert asked["client_id"] == CLIENT_ID
        assert asked["code_challenge_method"] == "S256"
        assert "openid" in asked["scope"].split()
        code = secrets.token_urlsafe()
        self._codes[code] = asked
        return RedirectResponse(f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}")

    async def _exchange(self, request: Request) -> JSONResponse:
        given = {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}
        basic = base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()
        asked = self._codes.pop(given.get("code", ""), None)
        digest = hashlib.sha256(given.get("code_verifier", "").encode()).digest()
        is_right = (
            asked is not None
            and request.headers.get("authorization") == f"Basic {basic}"
            and given["redirect_uri"] == asked["redirect_uri"]
            and base64.urlsafe_b64encode(digest).decode().rstrip("=") == asked["code_challenge"]
        )
        if asked is None or not is_right:
            return JSONResponse({"error": "invalid_grant"}, 400)
        now = int(time.time())
        claims = {
            "iss": self.url,
            "aud": CLIENT_ID,
            "iat": now,
            "exp": now + 60,
            "nonce": asked["nonce"],
            **self.person,
        }
        token = jwt.encode({"alg": "RS256", "kid": "one"}, {**claims, **self.wrong}, self.key)
        return JSONResponse({"access_token": "x", "token_type": "Bearer", "id_token": token})


@asynccontextmanager
async def provider() -> AsyncIterator[Provider]:
    """Run a provider."""
    made = Provider()
    async with listening(made.app) as port:
        made.url = f"http://127.0.0.1:{port}"
        yield made
