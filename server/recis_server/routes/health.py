"""`/healthz`, `/readyz` and `/metrics`: liveness, readiness, and the server's own metrics."""

import contextlib

from fastapi import APIRouter
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST

from recis_server.deps import BusPart, ConnectionsPart, HubPart, MetersPart, PresencePart, RunListPart, StorePart
from recis_server.errors import StoreUnavailable
from recis_server.routes.answers import json_answer
from recis_server.schemas import answers, files

__all__ = ["router"]

router = APIRouter(tags=["health"])


@router.get("/healthz", responses=answers("health", errors=()))
async def read_health() -> Response:
    """Return 200 while the process is alive."""
    return json_answer({"status": "ok"})


@router.get("/readyz", responses=answers("health", errors=()))
async def read_readiness(store: StorePart) -> Response:
    """Return 200 if the store can be written and read, 503 otherwise."""
    await store.probe()
    return json_answer({"status": "ok"})


@router.get(
    "/metrics",
    response_class=Response,
    responses=files(CONTENT_TYPE_LATEST, statuses={200: "The numbers"}, errors=()),
)
async def read_meters(
    meters: MetersPart,
    connections: ConnectionsPart,
    presence: PresencePart,
    hub: HubPart,
    runs: RunListPart,
    store: StorePart,
    bus: BusPart,
) -> Response:
    """Return the server's own metrics in the Prometheus text format, also while the store is unavailable."""
    with contextlib.suppress(StoreUnavailable):
        meters.trimmed(await store.trimmed())
        meters.upkeep_failures.set(await store.upkeep_failures())
    meters.connected(len(connections), connections.ended)
    meters.ranks.set(presence.num_ranks())
    meters.live(hub.counts())
    meters.bus(bus.counts())
    meters.listed.set(runs.num_bytes)
    return Response(meters.text(), media_type=CONTENT_TYPE_LATEST)
