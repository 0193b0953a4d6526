"""`/api/v1/runs/{run}/series`, `/export` and `/filters`: numbers over steps."""

import asyncio
from typing import Annotated, Literal

from fastapi import APIRouter, Header, Query
from fastapi.responses import Response, StreamingResponse

from recis_server.deps import KnownRun, KnownRunId, StorePart
from recis_server.errors import InvalidValue
from recis_server.query.charts import Ranks, check_range, encode_binary, encode_json, read_chart, series_bytes
from recis_server.query.exports import FORMS, Form, open_export
from recis_server.query.forecast import read_forecast
from recis_server.query.shapes import pass_shape
from recis_server.routes.answers import json_answer, packed_answer
from recis_server.schemas import BYTES, answers, files

__all__ = ["router"]

router = APIRouter(prefix="/api/v1/runs/{run}", tags=["series"])
Key = Annotated[str, Query(min_length=1, max_length=512)]
Start = Annotated[int | None, Query(ge=-(2**63), lt=2**63, description="first step")]
Stop = Annotated[int | None, Query(ge=-(2**63), le=2**63, description="step after the last one")]
_BINARY = "application/octet-stream"
_RANK = "expected a rank of at least 0, 'all', 'band' or 'summary'"


def _rank(text: str | None) -> Ranks:
    match text:
        case None | "all" | "band" | "summary":
            return text
    if text.isascii() and text.isdigit() and len(text) < 10:
        return int(text)
    raise InvalidValue("rank", f"{_RANK}, got {ascii(text)[:80]}")


@router.get("/series", responses=answers("series", more={_BINARY: {"schema": BYTES}}))
async def read_series(
    run: KnownRunId,
    store: StorePart,
    key: Annotated[list[Key], Query(min_length=1, max_length=100)],
    rank: Annotated[
        str | None, Query(description="a rank number, `all`, `band` or `summary`; the lowest rank by default")
    ] = None,
    start: Start = None,
    stop: Stop = None,
    points: Annotated[int, Query(ge=0, le=20_000, description="most buckets per series; 0 for every point")] = 1000,
    x: Annotated[Literal["step"], Query(description="axis of the buckets")] = "step",
    superseded: Annotated[
        bool, Query(description="return points superseded by a later attempt as separate series")
    ] = False,
    accept: Annotated[str, Header()] = "",
) -> Response:
    """Return series in buckets on a grid that does not move as data arrives."""
    ranks = _rank(rank)
    check_range(start, stop)
    keys = list(dict.fromkeys(key))
    chart = await read_chart(store, run, keys, ranks, start, stop, points, superseded=superseded)
    if _BINARY in accept:
        series = map(series_bytes, chart.series)
        body = await asyncio.to_thread(encode_binary, "snapshot", 0, run, chart.width, start, stop, series)
        return Response(body, media_type=_BINARY)
    return json_answer(await asyncio.to_thread(encode_json, chart))


@router.get(
    "/export",
    response_class=StreamingResponse,
    responses=files(*FORMS.values(), statuses={200: "The points in the requested format"}, errors=(404, 422)),
)
async def export_run(
    run: KnownRunId,
    store: StorePart,
    form: Annotated[Form, Query(alias="format")],
    key: Annotated[list[Key] | None, Query(max_length=1000)] = None,
    superseded: Annotated[bool, Query(description="include points superseded by a later attempt")] = True,
) -> StreamingResponse:
    """Return every point of the run in full resolution."""
    export = await open_export(store, run, key, form, superseded=superseded)
    headers = {
        # A run's id consists of letters, digits, '.', '_' and '-' only.
        "Content-Disposition": f'attachment; filename="{run}.{form}"',
        "Recis-Points-Expired": str(export.size.expired),
    }
    return StreamingResponse(export.pieces(), media_type=FORMS[form], headers=headers)


@router.get("/filters", responses=answers("filters"))
async def read_filters(
    run: KnownRunId,
    store: StorePart,
    table: str | None = None,
    rank: Annotated[int | None, Query(ge=0, lt=2**31)] = None,
    start: Start = None,
    stop: Stop = None,
    limit: Annotated[int, Query(ge=1, le=10_000, description="how many passes at most, the newest ones")] = 10_000,
    accept_encoding: Annotated[str, Header()] = "",
) -> Response:
    """Return the filter passes of the hash tables, the newest `limit` at most, in order of step."""
    passes = await store.passes(run, table, rank, start, stop)
    content = {"passes": [pass_shape(one.rank, one.record) for one in passes[-limit:]]}
    return await asyncio.to_thread(packed_answer, content, accept_encoding)


@router.get("/filters/forecast", responses=answers("forecast"))
async def read_filter_forecast(
    row: KnownRun,
    store: StorePart,
    filter_interval: Annotated[int, Query(ge=1, lt=2**53, description="the interval to predict, in steps")],
) -> Response:
    """Return what another filter interval would mean for the hash tables, predicted from their last passes."""
    return json_answer(await read_forecast(store, row, filter_interval))
