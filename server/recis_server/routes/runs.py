"""`/api/v1/runs`: runs, their metrics and events, and the description of this server."""

import asyncio
from typing import Annotated, Literal

import msgspec
from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import Response, StreamingResponse

from recis.wire.messages import PROTOCOL_VERSION
from recis_server import __version__
from recis_server.bus import Hint
from recis_server.deps import (
    AccessPart,
    BusPart,
    KnownRun,
    KnownRunId,
    PresencePart,
    RemovalPart,
    RunListPart,
    StorePart,
)
from recis_server.query.metrics import metrics_pieces
from recis_server.query.runlist import MOST_LISTED, SORTS, View, Wanted
from recis_server.query.runs import State, no_run, shown_state
from recis_server.query.shapes import RUN_FIELDS, event_shape, moment, run_shape
from recis_server.removal import MAX_GRACE_S
from recis_server.routes.answers import json_answer, packed_answer
from recis_server.schemas import RunPatch, answers

__all__ = ["router"]

router = APIRouter(prefix="/api/v1", tags=["runs"])
PACKED_BYTES = 16_384
"""Lists from this size on are compressed: a shorter one is sent in less time than it takes to compress."""
_SORT = {"pattern": f"^-?({'|'.join(SORTS)})$"}
_ARCHIVED = {"false": False, "true": True, "any": None}
_FIELDS = {"pattern": f"^({'|'.join(RUN_FIELDS)})(,({'|'.join(RUN_FIELDS)}))*$"}


def _set(names: list[str]) -> tuple[str, ...]:
    """Return the same tuple for the same names."""
    return tuple(sorted(set(names)))


@router.get("/meta", responses=answers("meta", errors=()))
async def read_meta(request: Request, access: AccessPart) -> Response:
    """Return the server's version and the scope of the request's token."""
    scope = request.state.scope
    return json_answer(
        {"version": __version__, "protocol": PROTOCOL_VERSION, "scope": scope, "tokens": access.is_closed}
    )


@router.get("/runs", responses=answers("runs", errors=(422,)))
async def read_runs(
    runs: RunListPart,
    project: str | None = None,
    state: State | None = None,
    q: Annotated[str | None, Query(description="words to find in id, project, name or tags")] = None,
    sort: Annotated[str, Query(description="sort key; prefix - for descending order", json_schema_extra=_SORT)] = (
        "-created_at"
    ),
    limit: Annotated[int, Query(ge=1, le=MOST_LISTED)] = 50,
    cursor: str | None = None,
    fields: Annotated[
        str | None, Query(description="members of each run to return, separated by commas", json_schema_extra=_FIELDS)
    ] = None,
    metric: Annotated[
        list[str] | None, Query(max_length=100, description="a metric to include in the summaries; may be repeated")
    ] = None,
    archived: Annotated[
        Literal["false", "true", "any"], Query(description="only runs that are archived, or not, or both")
    ] = "false",
    tag: Annotated[list[str] | None, Query(max_length=64, description="a tag that runs have; may be repeated")] = None,
    accept_encoding: Annotated[str, Header(include_in_schema=False)] = "",
) -> Response:
    """List runs, one page at a time."""
    wanted = Wanted(project, state, q, sort, limit, cursor, _ARCHIVED[archived], _set(tag or []))
    view = View(None if fields is None else _set(fields.split(",")), None if metric is None else _set(metric))
    page = await runs.page(wanted, view)
    if len(page) < PACKED_BYTES:
        return json_answer(page)
    return await asyncio.to_thread(packed_answer, page, accept_encoding)


@router.get("/runs/{run}", responses=answers("run"))
async def read_run(row: KnownRun, presence: PresencePart) -> Response:
    """Return one run."""
    state = shown_state(row, presence)
    # On another thread: a summary may have very many names.
    return json_answer(await asyncio.to_thread(lambda: msgspec.json.encode(run_shape(row, state))))


@router.patch("/runs/{run}", responses=answers("run", errors=(404, 408, 413, 422)))
async def change_run(
    run: KnownRunId, patch: RunPatch, store: StorePart, presence: PresencePart, bus: BusPart
) -> Response:
    """Change the name, tags or notes of a run, or archive it."""
    changed = await store.update_run(run, name=patch.name, tags=patch.tags, notes=patch.notes, archived=patch.archived)
    if changed is None:
        raise no_run(run)
    bus.publish(Hint("run", run))
    return json_answer(run_shape(changed, shown_state(changed, presence)))


@router.delete("/runs/{run}", responses=answers("deleted", errors=(404, 409, 422)))
async def delete_run(
    run: KnownRunId,
    removal: RemovalPart,
    grace: Annotated[
        int, Query(ge=0, le=MAX_GRACE_S, description="seconds in which the run can be restored; it is gone at once")
    ] = 0,
) -> Response:
    """Delete a run and everything that belongs to it; a connected run is not deleted."""
    final_ns = await removal.remove(run, grace)
    return json_answer({"deleted": run, **({} if final_ns is None else {"restorable_until": moment(final_ns)})})


@router.post("/runs/{run}/restore", responses=answers("run", errors=(404,)))
async def restore_run(run: str, removal: RemovalPart, presence: PresencePart) -> Response:
    """Undo the deletion of a run within its grace period."""
    row = await removal.restore(run)
    return json_answer(run_shape(row, shown_state(row, presence)))


@router.get("/runs/{run}/metrics", responses=answers("metrics"))
async def read_metrics(run: KnownRunId, store: StorePart) -> Response:
    """Return the names of the run's series, in order of first appearance."""
    return StreamingResponse(metrics_pieces(await store.metrics(run)), media_type="application/json")


@router.get("/runs/{run}/events", responses=answers("events"))
async def read_events(
    run: KnownRunId, store: StorePart, limit: Annotated[int, Query(ge=1, le=10_000)] = 1000
) -> Response:
    """Return the newest events, oldest first: alerts, checkpoints, control changes, attempts, lost connections.

    If there are more than `limit`, each kind has an equal share, so that a frequent kind does not hide a rare one.
    """
    return json_answer({"events": [event_shape(one) for one in await store.events(run, limit)]})
