"""The format of answers: JSON on success, the common body of errors otherwise.

Must not know what is answered.
"""

import gzip
import logging
from typing import Any

import msgspec
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.routing import compile_path

from recis_server.errors import InvalidValue, NotFound, ServerError
from recis_server.refusals import refusal_of

__all__ = ["install_error_answers", "json_answer", "packed_answer"]

_logger = logging.getLogger(__name__)


class _MethodError(ServerError):
    code = "method_not_allowed"
    status = 405


def json_answer(content: Any, status: int = 200) -> Response:
    """Return an object as JSON."""
    body = content if isinstance(content, bytes) else msgspec.json.encode(content)
    return Response(body, status, media_type="application/json")


def packed_answer(content: Any, accept_encoding: str) -> Response:
    """Return an object as JSON, compressed if the client accepts gzip. It takes time: call it off the event loop."""
    body = content if isinstance(content, bytes) else msgspec.json.encode(content)
    headers = {"Vary": "Accept-Encoding"}
    if "gzip" in accept_encoding:
        body = gzip.compress(body, compresslevel=1, mtime=0)
        headers["Content-Encoding"] = "gzip"
    return Response(body, headers=headers, media_type="application/json")


def install_error_answers(app: FastAPI) -> None:
    """Answer everything that a route, FastAPI or Starlette raises with the common body of errors."""
    app.add_exception_handler(ServerError, _on_server_error)
    app.add_exception_handler(RequestValidationError, _on_bad_request)
    app.add_exception_handler(HTTPException, _on_http_error)


async def _on_server_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ServerError)
    if error.status >= 500:
        _logger.error("%s %s: %s", request.method, ascii(request.url.path), error.message)
    return _refusal(request, error)


async def _on_bad_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    # The location starts with the kind of input (query, path, body); users know their own names only.
    place = [str(part) for part in first["loc"][1:]] or [str(first["loc"][0])]
    if first["type"] == "json_invalid":
        message = f"expected a JSON object, got something else: {first['ctx']['error']}"
        return _refusal(request, InvalidValue("body", message))
    if first["type"] == "missing":
        message = f"expected a value for {'.'.join(place)}, got none"
    else:
        message = f"{first['msg']}, got {ascii(first.get('input'))[:200]}"
    return _refusal(request, InvalidValue(".".join(place), message))


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path = request.url.path
    found: ServerError
    allowed = ""
    if error.status_code == 404:
        found = NotFound(f"there is nothing at {ascii(path)[:200]}")
    elif error.status_code == 405:
        allowed = ", ".join(_methods(request)) or (error.headers or {}).get("Allow", "another method")
        found = _MethodError(f"expected {allowed} at {ascii(path)[:200]}, got {request.method}")
    else:
        found = InvalidValue("body", f"expected a JSON object, got something else: {error.detail}")
    answer = _refusal(request, found)
    if error.status_code == 405:
        answer.headers["Allow"] = allowed
    return answer


def _methods(request: Request) -> list[str]:
    """Return the methods of all routes at the request's path; the router knows those of the first route only."""
    path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
    found = {
        method.upper()
        for template, methods in request.app.openapi()["paths"].items()
        if compile_path(template)[0].fullmatch(path)
        for method in methods
    }
    return sorted(found | ({"HEAD"} if "GET" in found else set()))


def _refusal(request: Request, error: ServerError) -> Response:
    refusal = refusal_of(error, request.scope)
    return Response(refusal.body, refusal.status, headers=dict(refusal.headers))
