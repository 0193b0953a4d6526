"""`/api/v1/runs/{run}/traces` and `/api/v1/traces/{id}/download`: profiler traces, byte for byte."""

import re
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Header
from fastapi.responses import Response, StreamingResponse

from recis_server.deps import BlobsPart, KnownRunId, StorePart
from recis_server.errors import Conflict, NotFound, ServerError
from recis_server.query.shapes import trace_shape
from recis_server.routes.answers import json_answer
from recis_server.schemas import answers, files

__all__ = ["router"]

router = APIRouter(prefix="/api/v1", tags=["traces"])


class _RangeError(ServerError):
    code = "range"
    status = 416


@router.get("/runs/{run}/traces", responses=answers("traces"))
async def read_traces(run: KnownRunId, store: StorePart) -> Response:
    """Return the run's traces, newest first."""
    return json_answer({"traces": [trace_shape(one) for one in await store.traces(run)]})


@router.get(
    "/traces/{trace}/download",
    response_class=StreamingResponse,
    responses=files(
        "application/json",
        "application/gzip",
        statuses={200: "The file", 206: "The range that was asked for", 304: "It is the file that the `ETag` names"},
        errors=(404, 409, 416, 422),
    ),
)
async def download_trace(
    trace: str,
    store: StorePart,
    blobs: BlobsPart,
    range_: Annotated[str | None, Header(alias="Range")] = None,
    if_range: Annotated[str | None, Header()] = None,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """The file as the trainer wrote it; one range of bytes at a time where asked."""
    row = await store.trace(trace)
    if row is None:
        raise NotFound(f"there is no trace {trace[:200]!r}")
    if row.state != "ready":
        raise Conflict(f"trace {row.id} is {row.state}; expected a trace that is ready")
    tag = f'"{row.sha256}"'
    headers = {"ETag": tag, "Accept-Ranges": "bytes", "Cache-Control": "private, no-cache"}
    if if_none_match is not None and tag in [one.strip().removeprefix("W/") for one in if_none_match.split(",")]:
        return Response(status_code=304, headers=headers)
    size = await blobs.size(row.blob)
    start, stop = 0, size
    asked = _range(range_, size) if range_ is not None and if_range in (None, tag) else None
    if asked is not None:
        start, stop = asked
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
    headers["Content-Length"] = str(stop - start)
    headers["Content-Disposition"] = _disposition(row.name)
    media = "application/gzip" if row.name.endswith(".gz") else "application/json"
    status = 200 if asked is None else 206
    return StreamingResponse(blobs.read(row.blob, start, stop), status, headers=headers, media_type=media)


def _range(text: str, size: int) -> tuple[int, int] | None:
    """Return the requested range; None if the header is to be ignored (RFC 9110, section 14.2)."""
    match = re.fullmatch(r"bytes=(\d{0,18})-(\d{0,18})", text.strip(), re.ASCII)
    if match is None or match.group(0).endswith("=-"):
        return None
    first, last = match.groups()
    if not first:
        start, stop = max(0, size - int(last)), size
    else:
        start, stop = int(first), min(size, int(last) + 1) if last else size
        if last and int(last) < start:
            return None
    if start >= size or start >= stop:
        raise _RangeError(f"expected a range within {size} bytes, got {text[:80]!r}", field="Range")
    return start, stop


def _disposition(name: str) -> str:
    """Return the `Content-Disposition` for the base name of the file, encoded as in RFC 6266 where necessary."""
    base = re.split(r"[/\\]", name)[-1]
    clean = "".join(char if char.isprintable() else "_" for char in base)[:200] or "trace.json"
    plain = re.sub(r"[^A-Za-z0-9._ -]", "_", clean)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(clean, safe='')}"
