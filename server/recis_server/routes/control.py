"""`/api/v1/runs/{run}/controls`, `/commands` and `/audit`: change a live run, and list who changed it."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response, StreamingResponse

from recis_server.deps import CommandsPart, KnownRun, KnownRunId, PresencePart, StorePart
from recis_server.errors import InvalidValue
from recis_server.query.audit import AUDIT_AT_ONCE, audit_csv, audit_shape, get_command
from recis_server.query.effect import MAX_WINDOW, MIN_WINDOW, read_effect
from recis_server.query.shapes import command_shape, controls_shape
from recis_server.routes.answers import json_answer
from recis_server.schemas import CommandRequest, RevertRequest, SettingsRequest, answers

__all__ = ["router"]

router = APIRouter(prefix="/api/v1/runs/{run}", tags=["control"])

Queue = Annotated[bool, Query(description="whether the command waits for a run that is not connected")]
MAX_AUDIT = 1000


@router.get("/controls", responses=answers("controls"))
async def read_controls(run: KnownRunId, store: StorePart) -> Response:
    """Return the controls that the run has declared, with their values on every rank."""
    return json_answer({"controls": controls_shape(await store.controls(run))})


@router.put("/controls", status_code=202, responses=answers("command", status=202, errors=(404, 408, 409, 413, 422)))
async def change_controls(
    request: Request,
    run: KnownRunId,
    wanted: SettingsRequest,
    commands: CommandsPart,
    presence: PresencePart,
    queue: Queue = True,
) -> Response:
    """Request several new values at one step: all of them are applied, or none."""
    command = await commands.request(
        run,
        wanted.values,
        actor=request.state.actor,
        reason=wanted.reason,
        command_id=wanted.id,
        queue=queue,
        field="values",
    )
    return json_answer(command_shape(command, presence.ranks(run)), 202)


@router.put(
    "/controls/{control:path}",
    status_code=202,
    responses=answers("command", status=202, errors=(404, 408, 409, 413, 422)),
)
async def change_control(
    request: Request,
    run: KnownRunId,
    control: str,
    wanted: CommandRequest,
    commands: CommandsPart,
    presence: PresencePart,
    queue: Queue = True,
) -> Response:
    """Request a new value or an action; the answer is the command, whose outcome follows."""
    command = await commands.request(
        run,
        {control: wanted.value},
        actor=request.state.actor,
        reason=wanted.reason,
        command_id=wanted.id,
        queue=queue,
    )
    return json_answer(command_shape(command, presence.ranks(run)), 202)


@router.get("/commands", responses=answers("commands"))
async def read_commands(run: KnownRunId, commands: CommandsPart, presence: PresencePart) -> Response:
    """Return the latest 200 commands, oldest first."""
    connected = presence.ranks(run)
    return json_answer({"commands": [command_shape(one, connected) for one in await commands.commands(run)]})


@router.get("/commands/{command}", responses=answers("command"))
async def read_command(run: KnownRunId, command: str, store: StorePart, presence: PresencePart) -> Response:
    """Return one command with its state on every rank."""
    return json_answer(command_shape(await get_command(store, run, command), presence.ranks(run)))


@router.get("/commands/{command}/effect", responses=answers("effect"))
async def read_command_effect(
    row: KnownRun,
    command: str,
    store: StorePart,
    window: Annotated[
        int | None,
        Query(ge=MIN_WINDOW, le=MAX_WINDOW, description="steps before and after; by default 100 or 5 filter intervals"),
    ] = None,
) -> Response:
    """Return what a command has changed: loss, speed and tables in equal windows of steps before and after it."""
    return json_answer(await read_effect(store, row, await get_command(store, row.id, command), window))


@router.post(
    "/commands/{command}/revert",
    status_code=202,
    responses=answers("command", status=202, errors=(404, 408, 409, 413, 422)),
)
async def revert_command(
    request: Request,
    run: KnownRunId,
    command: str,
    wanted: RevertRequest,
    commands: CommandsPart,
    presence: PresencePart,
) -> Response:
    """Request the values that a command has replaced; the answer is a new command."""
    row = await commands.revert(run, command, actor=request.state.actor, reason=wanted.reason)
    return json_answer(command_shape(row, presence.ranks(run)), 202)


@router.get(
    "/audit",
    responses=answers("audit", more={"text/csv": {"schema": {"type": "string"}}}),
)
async def read_audit(
    run: KnownRunId,
    store: StorePart,
    form: Annotated[Literal["json", "csv"], Query(alias="format")] = "json",
    limit: Annotated[int, Query(ge=1, le=MAX_AUDIT, description="commands on a page of JSON")] = AUDIT_AT_ONCE,
    cursor: Annotated[str | None, Query(max_length=20, description="`next_cursor` of the page before")] = None,
) -> Response:
    """Return who changed what, when and why, with the outcome on every rank, newest first; as CSV, without a limit."""
    if form == "csv":
        name = f'attachment; filename="{run}-audit.csv"'
        return StreamingResponse(audit_csv(store, run), media_type="text/csv", headers={"Content-Disposition": name})
    if cursor is not None and not (cursor.isascii() and cursor.isdigit()):
        raise InvalidValue("cursor", f"expected next_cursor of an earlier page, got {cursor[:40]!r}")
    rows = await store.commands(run, limit, before=int(cursor) if cursor else None)
    entries = [entry for row in reversed(rows) for entry in audit_shape(row)]
    more = str(rows[0].seq) if len(rows) == limit else None
    return json_answer({"audit": entries, "next_cursor": more})
