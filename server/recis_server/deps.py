"""The parts of the server as annotated dependencies of routes, and the run that a path names.

Parts are made in `recis_server.main`; here they are only handed out.
"""

from typing import Annotated

from fastapi import Depends, Request

from recis_server.access import Access
from recis_server.blobs import Blobs
from recis_server.bus import Bus
from recis_server.connections import Connections
from recis_server.control.desk import Desk
from recis_server.ingest.audience import Audience
from recis_server.ingest.presence import Presence
from recis_server.live.hub import Hub
from recis_server.meters import Meters
from recis_server.query.runlist import RunList
from recis_server.query.runs import get_run, no_run
from recis_server.store.interface import Store
from recis_server.store.values import RunRow
from recis_server.traces.receiver import TraceReceiver

__all__ = [
    "AccessPart",
    "AudiencePart",
    "BlobsPart",
    "BusPart",
    "ConnectionsPart",
    "DeskPart",
    "HubPart",
    "KnownRun",
    "KnownRunId",
    "MetersPart",
    "PresencePart",
    "RunListPart",
    "StorePart",
    "TracesPart",
]


def _access(request: Request) -> Access:
    access: Access = request.app.state.access
    return access


def _connections(request: Request) -> Connections:
    connections: Connections = request.app.state.connections
    return connections


def _store(request: Request) -> Store:
    store: Store = request.app.state.store
    return store


def _bus(request: Request) -> Bus:
    bus: Bus = request.app.state.bus
    return bus


def _blobs(request: Request) -> Blobs:
    blobs: Blobs = request.app.state.blobs
    return blobs


def _presence(request: Request) -> Presence:
    presence: Presence = request.app.state.presence
    return presence


def _audience(request: Request) -> Audience:
    audience: Audience = request.app.state.audience
    return audience


def _desk(request: Request) -> Desk:
    desk: Desk = request.app.state.desk
    return desk


def _hub(request: Request) -> Hub:
    hub: Hub = request.app.state.hub
    return hub


def _meters(request: Request) -> Meters:
    meters: Meters = request.app.state.meters
    return meters


def _traces(request: Request) -> TraceReceiver:
    traces: TraceReceiver = request.app.state.traces
    return traces


def _runs(request: Request) -> RunList:
    runs: RunList = request.app.state.runs
    return runs


AccessPart = Annotated[Access, Depends(_access)]
StorePart = Annotated[Store, Depends(_store)]
BusPart = Annotated[Bus, Depends(_bus)]
BlobsPart = Annotated[Blobs, Depends(_blobs)]
PresencePart = Annotated[Presence, Depends(_presence)]
AudiencePart = Annotated[Audience, Depends(_audience)]
ConnectionsPart = Annotated[Connections, Depends(_connections)]
DeskPart = Annotated[Desk, Depends(_desk)]
HubPart = Annotated[Hub, Depends(_hub)]
MetersPart = Annotated[Meters, Depends(_meters)]
TracesPart = Annotated[TraceReceiver, Depends(_traces)]
RunListPart = Annotated[RunList, Depends(_runs)]


async def _known_run_id(run: str, store: StorePart, audience: AudiencePart) -> str:
    if not await store.has_run(run):
        raise no_run(run)
    audience.look(run)
    return run


KnownRunId = Annotated[str, Depends(_known_run_id)]
"""The run of the path, where nothing has to be known of it but that it is there."""


async def _known_run(run: str, store: StorePart, audience: AudiencePart) -> RunRow:
    row = await get_run(store, run)
    audience.look(run)
    return row


KnownRun = Annotated[RunRow, Depends(_known_run)]
