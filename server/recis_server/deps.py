"""The parts of the server as annotated dependencies of routes, and the run in the path.

`recis_server.main` creates the parts; this module only passes them on.
"""

from typing import Annotated, Any

from fastapi import Depends, Request

from recis_server.access import Access
from recis_server.blobs import Blobs
from recis_server.bus import Bus
from recis_server.connections import Connections
from recis_server.control.service import CommandService
from recis_server.ingest.audience import Audience
from recis_server.ingest.presence import Presence
from recis_server.live.hub import Hub
from recis_server.meters import Meters
from recis_server.query.runlist import RunList
from recis_server.query.runs import get_run, no_run
from recis_server.removal import RunRemoval
from recis_server.store.interface import Store
from recis_server.store.values import RunRow

__all__ = [
    "AccessPart",
    "AudiencePart",
    "BlobsPart",
    "BusPart",
    "CommandsPart",
    "ConnectionsPart",
    "HubPart",
    "KnownRun",
    "KnownRunId",
    "MetersPart",
    "PresencePart",
    "RemovalPart",
    "RunListPart",
    "StorePart",
]


def _part(name: str) -> Any:
    """Return the dependency on a part by its name in the application's state."""

    def get(request: Request) -> Any:
        return getattr(request.app.state, name)

    return Depends(get)


AccessPart = Annotated[Access, _part("access")]
StorePart = Annotated[Store, _part("store")]
BusPart = Annotated[Bus, _part("bus")]
BlobsPart = Annotated[Blobs, _part("blobs")]
PresencePart = Annotated[Presence, _part("presence")]
AudiencePart = Annotated[Audience, _part("audience")]
ConnectionsPart = Annotated[Connections, _part("connections")]
CommandsPart = Annotated[CommandService, _part("commands")]
HubPart = Annotated[Hub, _part("hub")]
MetersPart = Annotated[Meters, _part("meters")]
RemovalPart = Annotated[RunRemoval, _part("removal")]
RunListPart = Annotated[RunList, _part("runs")]


async def _known_run_id(run: str, store: StorePart, audience: AudiencePart) -> str:
    if not await store.has_run(run):
        raise no_run(run)
    audience.look(run)
    return run


KnownRunId = Annotated[str, Depends(_known_run_id)]
"""The run in the path, for routes that only need to know that it exists."""


async def _known_run(run: str, store: StorePart, audience: AudiencePart) -> RunRow:
    row = await get_run(store, run)
    audience.look(run)
    return row


KnownRun = Annotated[RunRow, Depends(_known_run)]
