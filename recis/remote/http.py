"""Send one HTTP request to a server, and return its answer or raise a descriptive exception.

Owns the transport and the exception for each failure; must not know the requests.
"""

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from recis.bridge.address import ServerAddress
from recis.bridge.trust import tls_context

__all__ = ["SILENCE_S", "RefusedError", "ask", "open_answer"]

SILENCE_S = 60.0
"""Longest silence of a server, which sends while it reads."""
MAX_ANSWER = 256 << 20
"""Bytes of a JSON answer; a page of runs has at most 32 MiB of configurations."""
_HOW_TO_SERVE = "is `recis-monitor serve` running there?"


class RefusedError(ValueError):
    """The server has refused a request because of what it asks for; nothing was stored."""


@contextmanager
def open_answer(
    address: ServerAddress,
    path: str,
    *,
    method: str = "GET",
    body: Any = None,
    scope: str = "view",
    timeout_s: float = SILENCE_S,
) -> Iterator[http.client.HTTPResponse]:
    """Send a request and return its answer, to be read.

    Args:
        address: the server and the token.
        path: path below the server's address, with the query.
        method: of the request.
        body: sent as JSON if it is not None.
        scope: the scope that the token needs, for the message about a wrong one.
        timeout_s: longest silence of the server.

    Raises:
        LookupError: the server does not have it.
        PermissionError: the server requires another token.
        RefusedError: the server does not accept the request.
        ConnectionError: the server cannot be reached, is not one, or has failed.
    """
    data = None if body is None else json.dumps(body, allow_nan=False).encode()
    headers = address.headers | ({} if data is None else {"Content-Type": "application/json"})
    request = urllib.request.Request(f"{address.base}{path}", data, headers, method=method)  # noqa: S310
    handlers: list[urllib.request.BaseHandler] = [urllib.request.HTTPSHandler(context=tls_context(address))]
    if address.is_loopback:
        handlers.append(urllib.request.ProxyHandler({}))  # a connection to this machine uses no proxy
    opener = urllib.request.build_opener(*handlers)
    try:
        answer = opener.open(request, timeout=timeout_s)
    except urllib.error.HTTPError as error:
        with error:
            raise _refusal(address.base, error, scope) from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise ConnectionError(f"expected a server at {address.base} ({_HOW_TO_SERVE}), got: {reason}") from error
    with answer:
        yield answer


def ask(address: ServerAddress, path: str, **request: Any) -> dict[str, Any]:
    """Return the JSON object of the server's answer; arguments and exceptions are those of `open_answer`."""
    with open_answer(address, path, **request) as answer:
        try:
            content = answer.read(MAX_ANSWER + 1)
        except (OSError, http.client.HTTPException) as error:
            raise ConnectionError(
                f"{address.base}: the connection broke in the middle of an answer: {error}"
            ) from error
    if len(content) > MAX_ANSWER:
        raise ConnectionError(f"{address.base}: expected an answer of at most {MAX_ANSWER} bytes, got more")
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ConnectionError(f"expected a recis-monitor server at {address.base}, got the answer of another program")
    return found


def _refusal(base: str, error: urllib.error.HTTPError, scope: str) -> Exception:
    """Return the exception for the server's answer."""
    try:
        message = json.loads(error.read(1 << 16))["error"]["message"]
    except (ValueError, TypeError, KeyError, RecursionError, OSError, http.client.HTTPException):
        return ConnectionError(f"expected a recis-monitor server at {base}, got HTTP {error.code} of another program")
    if error.code in (401, 403):
        return PermissionError(f"{base}: {message}; expected token=… or RECIS_MONITOR_TOKEN, with the scope `{scope}`")
    if error.code == 404:
        return LookupError(f"{base}: {message}")
    if error.code in (409, 413, 422):
        return RefusedError(f"{base}: {message}")
    return ConnectionError(f"{base}: HTTP {error.code}: {message}")
