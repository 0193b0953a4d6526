"""Several servers on one PostgreSQL database: what they cost, and how soon one shows what another has received.

    python -m benchmarks.replicas               # 5 minutes, two tables, benchmarks/results/replicas.json
    python -m benchmarks.replicas --quick       # the same, tiny, as a smoke test

PostgreSQL and three NATS nodes run on the same machine as the servers and the load, so that the figures are ratios
rather than limits: with the machine's cores used up, another server adds cost and no throughput.

`load`: connections that each send a frame a second, spread over the servers; a frame's latency runs from the moment it
is handed to the socket until its acknowledgement is read. The floor is a transaction of one client that inserts a frame
into a table without an index, on the same database. `shown`: a training reports ten numbers, ten times a second, to the
first server, and a browser's socket watches one of them at the last server; one of the numbers is the time of the call.
Messages on the bus are counted while nobody watches, and while that browser does. `recovery`: such a training and such
a browser, which reconnects as the page does, are connected through a proxy with two servers, of which one after the
other is killed and started again; the time runs from the kill until a step that was reported after it has reached the
browser.
"""

import argparse
import asyncio
import contextlib
import json
import os
import secrets
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import uvloop
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from benchmarks.freshness import KEY, RUN, START_S, read_columns, start_writer, watch
from benchmarks.ingest import Load, TrainingProcess, drain, send_all
from benchmarks.measuring import ROOT, ServerProcess, machine, percentile, show, spread, write_results
from scripts.nats import nats_cluster
from scripts.ports import free_port
from scripts.postgres import PostgresServer, postgres_server
from tests.faults.proxy import Proxy

FLOOR_COMMITS = 300
KILL_EVERY_S = 8.0
PAGE_BACKOFF_S = 0.5
"""What the page waits before it connects again (`web/js/data/connection.js`)."""
SILENT_S = 15.0
"""How long a connection may be silent before the page tries another one."""


@dataclass(frozen=True)
class Scene:
    """`servers` on the database, or, with `is_sole`, one that does not share it; on a file without a database."""

    name: str
    servers: int = 1
    is_sole: bool = False
    on_file: bool = False


SCENES = (
    Scene("one, on a file", is_sole=True, on_file=True),
    Scene("one, database of its own", is_sole=True),
    Scene("one, shared database"),
    Scene("two, shared database", 2),
    Scene("three, shared database", 3),
)


@contextlib.contextmanager
def running(scene: Scene, postgres: PostgresServer, bus: str) -> Iterator[list[ServerProcess]]:
    """Run the servers of a scene on a new store."""
    with contextlib.ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        options: list[str] = [] if scene.on_file else ["--store", postgres.make_database()]
        if not scene.is_sole:
            options += ["--bus", bus, "--blobs", f"file://{place / 'blobs'}"]
        servers = []
        for number in range(scene.servers):
            folder = place / str(number)
            folder.mkdir()
            servers.append(stack.enter_context(ServerProcess(folder, options=options)))
        yield servers


async def load_all(servers: Sequence[ServerProcess], load: Load) -> dict[str, Any]:
    """Send a load to all servers at once; return latencies, cores, and messages on the bus."""
    loop = asyncio.get_running_loop()

    async def connected(number: int) -> TrainingProcess:
        port = servers[number % len(servers)].port
        _, one = await loop.create_connection(lambda: TrainingProcess(number, load), "127.0.0.1", port)
        await one.greeted
        return one

    clients = [await connected(number) for number in range(load.connections)]
    await asyncio.sleep(1.0)
    sent = await asyncio.to_thread(bus_messages, servers)
    cpu_s = sum(server.cpu_s() for server in servers)
    points, seconds, late_s = await send_all(clients, load, load.seconds)
    cpu_s = sum(server.cpu_s() for server in servers) - cpu_s
    behind = await drain(clients)
    committed = sum([await asyncio.to_thread(server.meter, "recis_points_total") for server in servers])
    if behind or int(committed) != points:
        raise RuntimeError(f"expected {points} points committed, got {committed:.0f}, {behind} frames unacknowledged")
    latencies = [one * 1e3 for client in clients for one in client.latencies_s]
    found = {
        "points_per_s": points / seconds,
        "ack_ms_p50": percentile(latencies, 0.5),
        "ack_ms_p99": percentile(latencies, 0.99),
        "server_cores": cpu_s / seconds,
        "bus_messages_per_s": (await asyncio.to_thread(bus_messages, servers) - sent) / seconds,
        "pace_missed_s": late_s,
    }
    for client in clients:
        client.close()
    await asyncio.sleep(0.2)
    return found


def bus_messages(servers: Sequence[ServerProcess]) -> float:
    """Return the number of messages that the servers have sent to each other."""
    return sum(server.meter("recis_bus_sent") for server in servers) if len(servers) > 1 else 0.0


def measure_shown(servers: Sequence[ServerProcess], seconds: float) -> dict[str, Any]:
    """Return the ages of steps at the last server's browser, in milliseconds, and the messages that it took."""
    with tempfile.TemporaryDirectory() as folder:
        sent, began = bus_messages(servers), time.monotonic()
        writer = start_writer(
            "recis", Path(folder), seconds, RECIS_MONITOR_URL=servers[0].url, RECIS_MONITOR_RUN_ID=RUN
        )
        try:
            ages = asyncio.run(watch(servers[-1], writer))
        finally:
            writer.wait(START_S)
        taken = time.monotonic() - began
    return {"steps": len(ages), "ms": spread(ages), "bus_messages_per_s": (bus_messages(servers) - sent) / taken}


async def watch_through(url: str, writer: "subprocess.Popen[bytes]") -> list[tuple[float, float]]:
    """Return when each step was reported and when it arrived, in Unix seconds; reconnect when the connection ends."""
    arrived: list[tuple[float, float]] = []
    request = json.dumps({"type": "watch", "id": 1, "run": RUN, "keys": [KEY], "points": 2000})
    while writer.poll() is None:
        with contextlib.suppress(OSError, TimeoutError, WebSocketException):
            async with connect(f"ws{url.removeprefix('http')}/ws/live", compression=None) as socket:
                await socket.send(request)
                while writer.poll() is None:
                    async with asyncio.timeout(SILENT_S):
                        message = await socket.recv()
                    if isinstance(message, str):
                        if json.loads(message)["type"] == "error":  # the run does not exist yet
                            await asyncio.sleep(0.05)
                            await socket.send(request)
                        continue
                    now = time.time()
                    known = arrived[-1][0] if arrived else 0.0
                    arrived += [(at, now) for at in read_columns(message)[1] if at > known]
        await asyncio.sleep(PAGE_BACKOFF_S)
    return arrived


def measure_recovery(postgres: PostgresServer, bus: str, kills: int) -> dict[str, Any]:
    """Kill one of two servers after the other; return the seconds until newer steps are shown, and steps not shown."""
    with contextlib.ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        options = ["--store", postgres.make_database(), "--bus", bus, "--blobs", f"file://{place / 'blobs'}"]
        ports = [free_port(), free_port()]

        def start(number: int) -> ServerProcess:
            folder = place / str(number)
            folder.mkdir(exist_ok=True)
            return stack.enter_context(ServerProcess(folder, options=[*options, "--port", str(ports[number])]))

        servers = [start(0), start(1)]
        proxy = stack.enter_context(Proxy(*ports))
        surroundings = {"RECIS_MONITOR_URL": proxy.address, "RECIS_MONITOR_RUN_ID": RUN}
        work = place / "work"
        work.mkdir()
        writer = start_writer("recis", work, kills * KILL_EVERY_S + KILL_EVERY_S, **surroundings)
        killed: list[float] = []

        def kill_all() -> None:
            began = time.monotonic()
            for number in range(kills):
                time.sleep(max(0.0, began + (number + 0.5) * KILL_EVERY_S - time.monotonic()))
                servers[number % 2].process.kill()
                killed.append(time.time())
                time.sleep(KILL_EVERY_S / 2)
                servers[number % 2] = start(number % 2)

        async def watch_kills() -> list[tuple[float, float]]:
            killing = asyncio.get_running_loop().run_in_executor(None, kill_all)
            arrived = await watch_through(proxy.address, writer)
            await killing
            return arrived

        try:
            arrived = asyncio.run(watch_kills())
        finally:
            writer.wait(START_S)
    taken = [min(now for at, now in arrived if at > moment) - moment for moment in killed]
    return {"kills": kills, "s": spread(taken), "steps": len(arrived)}


def measure_floor(postgres: PostgresServer, size: int) -> dict[str, float]:
    """Return the milliseconds of a transaction that inserts `size` bytes, one after the other."""
    taken = []
    with psycopg.connect(postgres.make_database(), autocommit=True) as connection:
        connection.execute("CREATE TABLE plain (data BYTEA NOT NULL)")
        for _ in range(FLOOR_COMMITS):
            data = secrets.token_bytes(size)
            began = time.perf_counter()
            connection.execute("INSERT INTO plain (data) VALUES (%s)", (data,))
            taken.append((time.perf_counter() - began) * 1e3)
    return spread(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=200)
    parser.add_argument("--points", type=int, default=500, help="points per frame")
    parser.add_argument("--seconds", type=float, default=20.0, help="seconds per load, and per training")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, as a smoke test")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args()
    connections, seconds = (10, 1.0) if options.quick else (options.connections, options.seconds)
    scenes = (SCENES[2], SCENES[3]) if options.quick else SCENES
    load = Load("spread", 10, options.points // 10, connections, seconds)

    results: dict[str, Any] = {"machine": machine(), "scenes": []}
    loads, shown = [], []
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with postgres_server(durable=True) as postgres, nats_cluster(3) as nodes:
        floor = results["floor_ms"] = measure_floor(postgres, options.points * 10)
        bus = "nats://" + ",".join(node.url.removeprefix("nats://") for node in nodes)
        for scene in scenes:
            with running(scene, postgres, bus) as servers:
                one = uvloop.run(load_all(servers, load))
                seen = measure_shown(servers, seconds)
            results["scenes"].append({"scene": scene.name, "servers": scene.servers, "load": one, "shown": seen})
            loads.append(
                [
                    scene.name,
                    f"{one['points_per_s']:,.0f}",
                    f"{one['ack_ms_p50']:.0f}",
                    f"{one['ack_ms_p99']:.0f}",
                    f"{one['server_cores']:.2f}",
                    f"{one['bus_messages_per_s']:.1f}",
                ]
            )
            ages = seen["ms"]
            figures = (f"{ages[name]:.0f}" for name in ("median", "p95", "max"))
            shown.append([scene.name, *figures, f"{seen['bus_messages_per_s']:.1f}"])
        recovery = results["recovery"] = measure_recovery(postgres, bus, 1 if options.quick else 12)
    loads.append(["floor: a plain transaction", "", f"{floor['median']:.1f}", f"{floor['p99']:.1f}", "", ""])
    head = ["servers", "points/s", "ack p50 ms", "ack p99 ms", "cores", "bus messages/s"]
    show(f"{connections} trainings, a frame a second each; nobody watches", head, loads)
    head = ["servers", "p50", "p95", "max", "bus messages/s"]
    show("From the call in the training to a browser at the last server, ms", head, shown)
    times = recovery["s"]
    row = [str(recovery["kills"]), *(f"{times[name]:.1f}" for name in ("median", "p95", "max"))]
    show("From a kill of one of two servers until newer steps are shown, s", ["kills", "p50", "p95", "max"], [row])
    write_results(options.output, "replicas", results)


if __name__ == "__main__":
    main()
