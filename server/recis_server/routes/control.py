"""`/api/v1/runs/{run}/controls` and `/commands`: what can be changed in a live run, and the ledger of changes."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from recis_server.deps import DeskPart, KnownRunId, StorePart
from recis_server.errors import NotFound
from recis_server.query.shapes import command_shape, controls_shape
from recis_server.routes.answers import json_answer
from recis_server.schemas import CommandRequest, answers

__all__ = ["router"]

router = APIRouter(prefix="/api/v1/runs/{run}", tags=["control"])


@router.get("/controls", responses=answers("controls"))
async def read_controls(run: KnownRunId, store: StorePart) -> Response:
    """The controls that the run has declared, with their values on every rank."""
    controls, commands = await store.controls(run), await store.commands(run)
    return json_answer({"controls": controls_shape(controls, commands)})


@router.put(
    "/controls/{control}", status_code=202, responses=answers("command", status=202, errors=(404, 408, 409, 413, 422))
)
async def change_control(
    request: Request,
    run: KnownRunId,
    control: str,
    wanted: CommandRequest,
    desk: DeskPart,
    queue: Annotated[bool, Query(description="whether the command waits for a run that is not connected")] = True,
) -> Response:
    """Asks the run to take a new value; the answer is the command, whose outcome follows."""
    command = await desk.request(
        run,
        control,
        wanted.value,
        actor=request.state.scope,
        reason=wanted.reason,
        command_id=wanted.id,
        queue=queue,
    )
    return json_answer(command_shape(command), 202)


@router.get("/commands", responses=answers("commands"))
async def read_commands(run: KnownRunId, desk: DeskPart) -> Response:
    """The newest 200 commands, oldest first."""
    return json_answer({"commands": [command_shape(one) for one in await desk.commands(run)]})


@router.get("/commands/{command}", responses=answers("command"))
async def read_command(run: KnownRunId, command: str, store: StorePart) -> Response:
    """One command and how it stands on every rank."""
    found = await store.command(run, command)
    if found is None:
        raise NotFound(f"run {run} has no command {command[:200]!r}")
    return json_answer(command_shape(found))
