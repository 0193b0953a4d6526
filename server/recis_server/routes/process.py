"""`/api/v1/runs/{run}/info` and `/logs`: what the processes of a run say about themselves, and what they print."""

import asyncio
from typing import Annotated, Literal

from fastapi import APIRouter, Header, Query
from fastapi.responses import Response

from recis_server.deps import KnownRun, KnownRunId, StorePart
from recis_server.errors import NotFound
from recis_server.query.loglines import read_log
from recis_server.query.shapes import info_shape
from recis_server.routes.answers import json_answer, packed_answer
from recis_server.schemas import answers

__all__ = ["router"]

router = APIRouter(prefix="/api/v1/runs/{run}", tags=["process"])
MAX_LINES = 5000
Cursor = Annotated[int | None, Query(ge=0, lt=2**63)]


@router.get("/info", responses=answers("info"))
async def read_info(
    row: KnownRun,
    store: StorePart,
    attempt: Annotated[int | None, Query(ge=1, lt=2**31, description="its number; the latest by default")] = None,
    limit: Annotated[int, Query(ge=1, le=4096, description="how many ranks at most, the lowest ones")] = 256,
) -> Response:
    """Return command, host, versions, devices, git, packages and environment of an attempt, and the configuration."""
    attempts = await store.attempts(row.id)
    chosen = attempt if attempt is not None else attempts[-1].number if attempts else 0
    if attempt is not None and all(one.number != attempt for one in attempts):
        raise NotFound(f"run {row.id} has no attempt {attempt}")
    return json_answer(info_shape(row, attempts, chosen, await store.processes(row.id, chosen, limit)))


@router.get("/logs", responses=answers("logs"))
async def read_logs(
    run: KnownRunId,
    store: StorePart,
    after: Annotated[Cursor, Query(description="`last` of an earlier answer: what has arrived since")] = None,
    before: Annotated[Cursor, Query(description="`first` of an earlier answer: what came before")] = None,
    q: Annotated[str, Query(max_length=1000, description="words that a line has to contain, in any case")] = "",
    rank: Annotated[int | None, Query(ge=0, lt=2**31)] = None,
    attempt: Annotated[int | None, Query(ge=1, lt=2**31)] = None,
    stream: Annotated[
        Literal["stdout", "stderr", "reported"] | None, Query(description="`reported`: not by way of a stream")
    ] = None,
    level: Annotated[str | None, Query(max_length=64)] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_LINES)] = 1000,
    accept_encoding: Annotated[str, Header()] = "",
) -> Response:
    """Return lines of the run's log in order of arrival: the newest, or those after or before a cursor."""
    found = await read_log(
        store,
        run,
        after=after,
        before=before,
        text=q,
        stream=stream,
        limit=limit,
        rank=rank,
        attempt=attempt,
        level=level,
    )
    return await asyncio.to_thread(packed_answer, found, accept_encoding)
