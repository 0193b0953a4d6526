"""Ingest throughput of one server process: many connections, a durable commit before each acknowledgement.

    python -m benchmarks.ingest                 # five loads of 20 to 75 s, a table, benchmarks/results/ingest.json
    python -m benchmarks.ingest --quick         # the same, tiny, as a smoke test

One process simulates all training processes, each with its own run and connection, on one core; the server and its
maintenance worker have another. The `sustained` load lasts as long as a series needs to fill a chunk, and begins when
the series have some rows, so that its cost is that of a server that has run for days. The `trickle` is also sent to a
server that only answers (`bare_server`), to measure the share of the machine. Every load starts a new server on an
empty folder. A frame's latency runs from the moment it is handed to the socket until its acknowledgement is read. At
the end, the number of points committed according to the server must be the number sent.
"""

import argparse
import asyncio
import base64
import os
import resource
import struct
import tempfile
import time
from collections import deque
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import uvloop

from benchmarks.bare_server import BareServer
from benchmarks.measuring import ROOT, ServerProcess, machine, percentile, show, write_results
from recis.wire.codec import decode_server, encode
from recis.wire.messages import Ack, Frame, Hello, Points, Status, Welcome

CONNECT_AT_ONCE = 50
TURN_S = 0.002
DRAIN_S = 60.0
_BINARY, _CLOSE, _PING = 0x82, 0x88, 0x89
_PONG_WITHOUT_MASK = b"\x8a\x80\x00\x00\x00\x00"


@dataclass(frozen=True)
class Load:
    """`connections` runs that each send one frame per second: `keys` metrics of `rows` steps.

    Frames sent during `warm_s` are not measured but must be committed.
    """

    name: str
    keys: int
    rows: int
    connections: int
    seconds: float
    warm_s: float = 0.0


def load_run(number: int) -> str:
    """Return the run of one connection."""
    return f"load-{number:05d}"


def load_key(place: int) -> str:
    """Return the name of one metric."""
    return f"loss/part_{place}"


class TrainingProcess(asyncio.Protocol):
    """A writer's connection that does minimal work: its frames are masked with zeros."""

    def __init__(self, number: int, load: Load) -> None:
        self._number = number
        self._keys = tuple(load_key(place) for place in range(load.keys))
        self._rows = load.rows
        # Four bytes of noise in the value's mantissa prevent unrealistic compression.
        self._values = np.random.default_rng(number).standard_normal(load.keys * load.rows).astype("<f8").tobytes()
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._step = 0
        self._n = 0
        self._waiting: deque[tuple[int, float]] = deque()
        self.greeted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.upgraded = False
        self.latencies_s: list[float] = []

    @property
    def num_waiting(self) -> int:
        """Number of unacknowledged frames."""
        return len(self._waiting)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast("asyncio.Transport", transport)  # uvloop's has no such base
        host, port = transport.get_extra_info("peername")[:2]
        key = base64.b64encode(os.urandom(16)).decode()
        transport.write(
            f"GET /ws/ingest HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self.upgraded:
            head, end, rest = self._buffer.partition(b"\r\n\r\n")
            if not end:
                return
            if b" 101 " not in head:
                raise RuntimeError(f"expected an upgrade, got {head!r}")
            self.upgraded, self._buffer = True, rest
            self._send(encode(Hello(run=load_run(self._number), writer=f"w{self._number}", attempt="a1")))
        while len(self._buffer) >= 2:
            size = self._buffer[1]
            if size > 125:
                raise RuntimeError("expected short records from the server")
            if len(self._buffer) < 2 + size:
                return
            self._take(self._buffer[0], self._buffer[2 : 2 + size])
            self._buffer = self._buffer[2 + size :]

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.greeted.done():
            self.greeted.set_exception(ConnectionError(f"cut before the greeting: {exc}"))

    def _take(self, kind: int, payload: bytes) -> None:
        if kind == _PING:
            assert self._transport is not None
            self._transport.write(bytes((0x8A, 0x80 | len(payload), 0, 0, 0, 0)) + payload)
        elif kind == _BINARY:
            record = decode_server(payload)
            now = time.perf_counter()
            if isinstance(record, Ack):
                while self._waiting and self._waiting[0][0] <= record.n:
                    self.latencies_s.append(now - self._waiting.popleft()[1])
            elif isinstance(record, Welcome):
                self.greeted.set_result(None)
            else:
                raise RuntimeError(f"expected acknowledgements, got {record}")

    def send_frame(self) -> int:
        """Send one frame with new steps; return its number of points."""
        rows = self._rows
        steps = np.arange(self._step, self._step + rows, dtype="<i8")
        times = np.full(rows, time.time_ns(), dtype="<i8")
        self._step += rows
        points = Points(keys=self._keys, steps=steps.tobytes(), times=times.tobytes(), values=self._values)
        self._n += 1
        self._waiting.append((self._n, time.perf_counter()))
        self._send(encode(Frame(n=self._n, records=(points,))))
        return len(self._keys) * rows

    def close(self) -> None:
        """Close the connection as a finished run does."""
        self._n += 1
        self._send(encode(Frame(n=self._n, records=(Status(state="finished", time_ns=time.time_ns()),))))
        assert self._transport is not None
        self._transport.write(bytes((_CLOSE, 0x82, 0, 0, 0, 0)) + struct.pack("!H", 1000))

    def _send(self, payload: bytes) -> None:
        assert self._transport is not None
        size = len(payload)
        head = struct.pack("!BBHI", _BINARY, 0xFE, size, 0) if size < 1 << 16 else b""
        head = head or struct.pack("!BBQI", _BINARY, 0xFF, size, 0)
        self._transport.write(head + payload if size > 125 else bytes((_BINARY, 0x80 | size, 0, 0, 0, 0)) + payload)


async def connect_all(port: int, load: Load) -> list[TrainingProcess]:
    """Open all connections and wait for their greetings."""
    loop = asyncio.get_running_loop()
    places = asyncio.Semaphore(CONNECT_AT_ONCE)

    async def connect(number: int) -> TrainingProcess:
        async with places:
            _, one = await loop.create_connection(lambda: TrainingProcess(number, load), "127.0.0.1", port)
            await one.greeted
            return one

    return await asyncio.gather(*(connect(number) for number in range(load.connections)))


async def send_all(clients: list[TrainingProcess], load: Load, seconds: float) -> tuple[int, float, float]:
    """Send frames evenly over all connections; return points, seconds, and the lag behind the schedule."""
    start = time.perf_counter()
    total = int(load.connections * seconds)
    sent = points = 0
    late_s = 0.0
    while sent < total:
        elapsed = time.perf_counter() - start
        due = min(total, int(elapsed * load.connections))
        late_s = max(late_s, (due - sent) / load.connections)
        while sent < due:
            points += clients[sent % load.connections].send_frame()
            sent += 1
        await asyncio.sleep(TURN_S)
    return points, time.perf_counter() - start, late_s


async def drain(clients: list[TrainingProcess]) -> int:
    """Wait for the last acknowledgements; return the number missing after `DRAIN_S`."""
    end = time.perf_counter() + DRAIN_S
    while (behind := sum(client.num_waiting for client in clients)) and time.perf_counter() < end:  # noqa: ASYNC110
        await asyncio.sleep(TURN_S)
    return behind


async def drive(server: ServerProcess, load: Load) -> dict[str, Any]:
    """Run one load from connecting to the last acknowledgement."""
    began = time.perf_counter()
    clients = await connect_all(server.port, load)
    connect_s = time.perf_counter() - began
    await asyncio.sleep(1.0)
    warm, _, _ = await send_all(clients, load, load.warm_s)
    for client in clients:
        client.latencies_s.clear()

    cpu_s, upkeep_s, start = server.cpu_s(), server.upkeep_cpu_s(), time.perf_counter()
    points, seconds, late_s = await send_all(clients, load, load.seconds)
    cpu_s, upkeep_s = server.cpu_s() - cpu_s, server.upkeep_cpu_s() - upkeep_s
    behind = await drain(clients)
    elapsed = time.perf_counter() - start

    committed = await asyncio.to_thread(server.meter, "recis_points_total") - warm
    latencies = [one * 1e3 for client in clients for one in client.latencies_s]
    result = {
        **asdict(load),
        "connect_s": connect_s,
        "points_sent": points,
        "points_committed": int(committed),
        "frames_unacknowledged": behind,
        "points_per_s": committed / elapsed,
        "ack_ms_p50": percentile(latencies, 0.5),
        "ack_ms_p99": percentile(latencies, 0.99),
        "ack_ms_max": max(latencies),
        "server_cores": cpu_s / seconds,
        "upkeep_cores": upkeep_s / seconds,
        "server_peak_mb": server.peak_mb(),
        "pace_missed_s": late_s,
    }
    for client in clients:
        client.close()
    await asyncio.sleep(0.2)
    if behind or int(committed) != points:
        raise RuntimeError(f"expected {points} points committed and acknowledged: {result}\n{server.log[-2000:]}")
    return result


async def drive_bare(server: BareServer, load: Load) -> float:
    """Return the cores used by the baseline for a load of short frames."""
    clients = await connect_all(server.port, load)
    await asyncio.sleep(1.0)
    cpu_s = server.cpu_s()
    _, seconds, _ = await send_all(clients, load, load.seconds)
    cpu_s = server.cpu_s() - cpu_s
    if behind := await drain(clients):
        raise RuntimeError(f"expected the floor to answer every frame, {behind} were not")
    return cpu_s / seconds


def run(load: Load, *, pinned: bool) -> dict[str, Any]:
    """Run one load on a new server."""
    with tempfile.TemporaryDirectory() as folder, ServerProcess(Path(folder), core=0 if pinned else None) as server:
        return uvloop.run(drive(server, load))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=20.0, help="seconds per load")
    parser.add_argument("--points", type=int, default=1200, help="points per frame in the two large loads")
    parser.add_argument("--only", choices=("wide", "long", "trickle", "sustained"), help="run only this load")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, as a smoke test")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args()
    connections, seconds = (20, 1.0) if options.quick else (options.connections, options.seconds)

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    results: dict[str, Any] = {"machine": machine(), "loads": []}
    cores = sorted(os.sched_getaffinity(0))
    pinned = len(cores) > 1 and cores[0] == 0
    if pinned:
        os.sched_setaffinity(0, {cores[1]})
    rows = []
    for load in (
        Load("long", 10, options.points // 10, connections, seconds),
        Load("wide", 20, options.points // 20, connections, seconds),
        Load("trickle", 20, 1, connections, seconds),
        # 16,384 rows of a series make a chunk, which takes 55 s: each run is compacted once during the measurement.
        Load("sustained", 4, options.points // 4, connections, seconds * 2.75, seconds),
    ):
        if options.only not in (None, load.name):
            continue
        one = run(load, pinned=pinned)
        if load.rows == 1:
            with BareServer(core=0 if pinned else None) as bare:
                one["bare_cores"] = uvloop.run(drive_bare(bare, load))
        results["loads"].append(one)
        rows.append(
            [
                f"{load.name}: {load.connections} runs, {load.keys} metrics x {load.rows} steps a second",
                f"{one['points_per_s']:,.0f}",
                f"{one['ack_ms_p50']:.0f}",
                f"{one['ack_ms_p99']:.0f}",
                f"{one['server_cores']:.2f}",
                f"{one['upkeep_cores']:.2f}",
                f"{one['server_cores'] + one['upkeep_cores']:.2f}",
                f"{one['bare_cores']:.2f}" if "bare_cores" in one else "",
                f"{one['server_peak_mb']:.0f}",
                f"{one['connect_s']:.1f}",
            ]
        )
    head = ["load", "points/s", "ack p50 ms", "ack p99 ms", "cores", "upkeep", "sum", "bare", "peak MB", "connect s"]
    show("Ingest: committed and acknowledged", head, rows)
    write_results(options.output, "ingest", results)


if __name__ == "__main__":
    main()
