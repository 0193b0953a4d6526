"""`/api/v1/runs/{run}/info`: what the processes of a run say about themselves."""

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response

from recis_server.deps import KnownRun, StorePart
from recis_server.errors import NotFound
from recis_server.query.shapes import info_shape
from recis_server.routes.answers import json_answer
from recis_server.schemas import answers

__all__ = ["router"]

router = APIRouter(prefix="/api/v1/runs/{run}", tags=["process"])


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
