"""Cost of browsers on the server: many viewers of one run, of many runs and of the list, compared with a plain
broadcast.

    python -m benchmarks.fanout                 # all loads with 1,000 viewers, benchmarks/results/fanout.json
    python -m benchmarks.fanout --viewers 100   # fewer
    python -m benchmarks.fanout --quick         # tiny sizes, as a smoke test

The server has one core; training processes and viewers share the other, the viewers in a process of lower priority.
Each run reports 12 metrics at 10 steps a second in 5 frames. A viewer follows its run and watches 12 charts as the page
does, in one watch, or in a watch per chart. Each load is measured without and with viewers, and then with a server that
only writes the same bytes at the same rate to as many WebSockets (`bare_broadcast`), as the lower bound.
"""

import argparse
import asyncio
import base64
import json
import os
import resource
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import uvloop
from recis_server.query.runlist import PAGE_VIEW

from benchmarks.bare_broadcast import BareBroadcast
from benchmarks.ingest import Load, TrainingProcess, connect_all, drain, load_key, load_run
from benchmarks.measuring import ROOT, ServerProcess, machine, percentile, show, write_results

KEYS, ROWS, FRAMES_PER_S = 12, 2, 5.0
VIEWERS_OF_ADDRESS = 250
CONNECT_AT_ONCE = 50
SETTLE_S = 2.0
HEALTH_S = 0.1
LOWER_PRIORITY = 3
_TEXT, _BINARY, _PING = 0x81, 0x82, 0x89
_SHORT, _LONG = 126, 127
_LENGTH_BYTES = {_SHORT: 2, _LONG: 8}


@dataclass(frozen=True)
class Scene:
    """`viewers` of `runs` runs, each with `watches` watches of 12 charts in total; without watches, they view the list
    of runs.
    """

    name: str
    viewers: int
    runs: int
    watches: int
    frames_per_s: float = FRAMES_PER_S

    def requests(self, viewer: int) -> list[dict[str, Any]]:
        """Return what a viewer sends after connecting."""
        if not self.watches:
            metrics = [load_key(0), load_key(1)]
            return [{"type": "follow", "runs": True, "fields": PAGE_VIEW.fields, "metrics": metrics}]
        run = load_run(viewer % self.runs)
        size = KEYS // self.watches
        keys = [[load_key(key) for key in range(first, first + size)] for first in range(0, KEYS, size)]
        watch = {"type": "watch", "run": run, "points": 400}
        return [
            {"type": "follow", "run": run},
            *({**watch, "id": 1 + place, "keys": one} for place, one in enumerate(keys)),
        ]


# --- viewers


class Viewer(asyncio.Protocol):
    """A browser's connection that does minimal work: it counts messages."""

    def __init__(self, requests: Sequence[dict[str, Any]]) -> None:
        self._requests = requests
        self._transport: asyncio.Transport | None = None
        self._head: bytes | None = b""
        self._rest = b""
        self._left = 0
        self.texts = self.binaries = self.num_bytes = 0
        self.last_s = self.longest_s = 0.0
        self.begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast("asyncio.Transport", transport)  # uvloop's has no such base
        host, port = transport.get_extra_info("peername")[:2]
        key = base64.b64encode(os.urandom(16)).decode()
        transport.write(
            f"GET /ws/live HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.begun.done():
            self.begun.set_exception(ConnectionError(f"cut before the first message: {exc}"))

    def data_received(self, data: bytes) -> None:
        self.num_bytes += len(data)
        if self._head is not None:
            self._head += data
            head, end, data = self._head.partition(b"\r\n\r\n")
            if not end:
                return
            if b" 101 " not in head:
                raise RuntimeError(f"expected an upgrade, got {head!r}")
            self._head = None
            for request in self._requests:
                self._send(_TEXT, json.dumps(request).encode())
            if not self._requests:
                self.begun.set_result(None)
        self._take(data)

    def reset(self) -> None:
        """Count from now on."""
        self.texts = self.binaries = self.num_bytes = 0
        self.last_s, self.longest_s = time.perf_counter(), 0.0

    def _take(self, data: bytes) -> None:
        """Skip messages; only the payloads of pings are read."""
        if self._rest:
            data, self._rest = self._rest + data, b""
        at = 0
        while at < len(data):
            if self._left:
                step = min(self._left, len(data) - at)
                self._left -= step
                at += step
                continue
            if len(data) - at < 2 or len(data) - at < 2 + _LENGTH_BYTES.get(data[at + 1], 0):
                break
            kind, size, begin = data[at], data[at + 1], at + 2
            if size == _SHORT:
                size, begin = int.from_bytes(data[begin : begin + 2], "big"), begin + 2
            elif size == _LONG:
                size, begin = int.from_bytes(data[begin : begin + 8], "big"), begin + 8
            if kind == _PING:
                if len(data) < begin + size:
                    break
                self._send(0x8A, data[begin : begin + size])
            at, self._left = begin, size
            self._count(kind)
        self._rest = data[at:]

    def _count(self, kind: int) -> None:
        now = time.perf_counter()
        self.texts += kind == _TEXT
        self.binaries += kind == _BINARY
        if kind == _BINARY or not any("watch" in request["type"] for request in self._requests):
            self.longest_s = max(self.longest_s, now - self.last_s)
            self.last_s = now
            if not self.begun.done():
                self.begun.set_result(None)

    def _send(self, kind: int, payload: bytes) -> None:
        assert self._transport is not None
        size = len(payload)
        head = bytes((kind, 0x80 | size)) if size < _SHORT else struct.pack("!BBH", kind, 0x80 | _SHORT, size)
        self._transport.write(head + bytes(4) + payload)


async def view(scene: Scene, port: int, path: str) -> None:
    """Connect the viewers, print `begun`, then report the counts between the lines `reset` and `stop` on stdin."""
    loop = asyncio.get_running_loop()
    places = asyncio.Semaphore(CONNECT_AT_ONCE)

    async def connect(number: int) -> Viewer:
        async with places:
            requests = [] if path == "bare" else scene.requests(number)
            local = (f"127.0.0.{2 + number // VIEWERS_OF_ADDRESS}", 0)
            _, one = await loop.create_connection(lambda: Viewer(requests), "127.0.0.1", port, local_addr=local)
            await one.begun
            return one

    began = time.perf_counter()
    viewers = await asyncio.gather(*(connect(number) for number in range(scene.viewers)))
    print(json.dumps({"connect_s": time.perf_counter() - began}), flush=True)
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    await lines.readline()
    began = time.perf_counter()
    for one in viewers:
        one.reset()
    await lines.readline()
    seconds = time.perf_counter() - began
    updates = [one.binaries / max(1, scene.watches) if scene.watches else one.texts for one in viewers]
    messages = sum(one.texts + one.binaries for one in viewers)
    report = {
        "updates_per_s": sum(updates) / len(viewers) / seconds,
        "updates_per_s_least": min(updates) / seconds,
        "longest_pause_ms_p95": percentile([one.longest_s * 1e3 for one in viewers], 0.95),
        "messages_per_s": messages / len(viewers) / seconds,
        "bytes_per_s": sum(one.num_bytes for one in viewers) / len(viewers) / seconds,
    }
    print(json.dumps(report), flush=True)


class Viewers:
    """The process of the connected viewers."""

    def __init__(self, scene: Scene, port: int, path: str, core: int | None) -> None:
        arguments = [sys.executable, "-m", "benchmarks.fanout", "--view", json.dumps(asdict(scene)), str(port), path]
        self._process = subprocess.Popen(arguments, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        os.setpriority(os.PRIO_PROCESS, self._process.pid, LOWER_PRIORITY)
        if core is not None:
            os.sched_setaffinity(self._process.pid, {core})

    async def connected(self) -> float:
        """Wait for the first message of each viewer; return the seconds that it took."""
        found: dict[str, float] = json.loads(await asyncio.to_thread(self._line))
        return found["connect_s"]

    def begin(self) -> None:
        """Count from now on."""
        self._say("reset\n")

    async def counted(self) -> dict[str, float]:
        """Return the counts since `begin`."""
        self._say("stop\n")
        found: dict[str, float] = json.loads(await asyncio.to_thread(self._line))
        return found

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line)
        self._process.stdin.flush()

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the viewers ended")
        return line

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()


# --- measuring


async def train(clients: list[TrainingProcess], frames_per_s: float, stop: asyncio.Event) -> None:
    """Send frames of all runs, evenly, until `stop`."""
    start, sent = time.perf_counter(), 0
    while not stop.is_set():
        due = int((time.perf_counter() - start) * frames_per_s * len(clients))
        while sent < due:
            clients[sent % len(clients)].send_frame()
            sent += 1
        await asyncio.sleep(0.002)


async def probe_health(server: ServerProcess, stop: asyncio.Event) -> list[float]:
    """Return how long `/healthz` took, in milliseconds, every `HEALTH_S`."""

    def ask() -> float:
        began = time.perf_counter()
        with urllib.request.urlopen(f"{server.url}/healthz", timeout=30) as answer:
            answer.read()
        return (time.perf_counter() - began) * 1e3

    times = []
    while not stop.is_set():
        times.append(await asyncio.to_thread(ask))
        await asyncio.sleep(HEALTH_S)
    return times


async def measure(
    server: ServerProcess, clients: list[TrainingProcess], scene: Scene, seconds: float
) -> dict[str, Any]:
    """Train for a while; return cores of the server, acknowledgements and health in milliseconds."""
    for client in clients:
        client.latencies_s.clear()
    stop = asyncio.Event()
    training = asyncio.create_task(train(clients, scene.frames_per_s, stop))
    probing = asyncio.create_task(probe_health(server, stop))
    cpu_s, began = server.cpu_s(), time.perf_counter()
    await asyncio.sleep(seconds)
    cpu_s, took_s = server.cpu_s() - cpu_s, time.perf_counter() - began
    stop.set()
    await training
    health = await probing
    acks = [one * 1e3 for client in clients for one in client.latencies_s]
    return {
        "server_cores": cpu_s / took_s,
        "ack_ms_p50": percentile(acks, 0.5),
        "ack_ms_p99": percentile(acks, 0.99),
        "healthz_ms_p95": percentile(health, 0.95),
    }


async def drive(server: ServerProcess, scene: Scene, seconds: float, core: int | None) -> dict[str, Any]:
    """Measure a scene without viewers and with them."""
    clients = await connect_all(server.port, Load(scene.name, KEYS, ROWS, scene.runs, seconds))
    result: dict[str, Any] = {**asdict(scene)}
    settle_s = min(SETTLE_S, seconds)
    await measure(server, clients, scene, settle_s)
    result["without"] = await measure(server, clients, scene, seconds)
    with Viewers(scene, server.port, "live", core) as viewers:
        stop = asyncio.Event()
        training = asyncio.create_task(train(clients, scene.frames_per_s, stop))
        result["connect_s"] = await viewers.connected()
        await asyncio.sleep(settle_s)
        stop.set()
        await training
        viewers.begin()
        result["with"] = await measure(server, clients, scene, seconds)
        result["viewers_saw"] = await viewers.counted()
    result["frames_unacknowledged"] = await drain(clients)
    result["peak_mb"] = server.peak_mb()
    for client in clients:
        client.close()
    await asyncio.sleep(0.2)
    return result


async def drive_bare(scene: Scene, seen: dict[str, float], seconds: float, cores: Sequence[int | None]) -> float:
    """Return the cores of a plain broadcast of as many bytes in as many writes."""
    size = max(1, round(seen["bytes_per_s"] / seen["updates_per_s"]))
    with (
        BareBroadcast(size, seen["updates_per_s"], core=cores[0]) as bare,
        Viewers(scene, bare.port, "bare", cores[1]) as viewers,
    ):
        await viewers.connected()
        await asyncio.sleep(min(SETTLE_S, seconds) / 2)
        cpu_s, began = bare.cpu_s(), time.perf_counter()
        await asyncio.sleep(seconds)
        return (bare.cpu_s() - cpu_s) / (time.perf_counter() - began)


def scenes(viewers: int, runs: int, live_runs: int) -> tuple[Scene, ...]:
    """Return all loads; viewers of the list watch `live_runs` runs that report once a second."""
    return (
        Scene("one run", viewers, 1, 1),
        Scene("one run, a watch per chart", viewers, 1, KEYS),
        Scene(f"{runs} runs", viewers, runs, 1),
        Scene(f"list of {live_runs:,} live runs", viewers, live_runs, 0, 1.0),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--viewers", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=15.0, help="seconds per measurement")
    parser.add_argument("--only", type=int, metavar="N", help="only the Nth load, from 0")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, as a smoke test")
    parser.add_argument("--view", nargs=3, metavar=("SCENE", "PORT", "PATH"), help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if options.view:
        scene, port, path = options.view
        uvloop.run(view(Scene(**json.loads(scene)), int(port), path))
        return

    every = scenes(6, 2, 4) if options.quick else scenes(options.viewers, 100, options.viewers)
    seconds = 1.0 if options.quick else options.seconds
    cores: Sequence[int | None] = sorted(os.sched_getaffinity(0))
    if len(cores) < 2 or cores[0] != 0:
        cores = (None, None)
    else:
        os.sched_setaffinity(0, {cast("int", cores[1])})
    results: dict[str, Any] = {"machine": machine(), "scenes": []}
    rows = []
    for scene in every if options.only is None else every[options.only : options.only + 1]:
        with tempfile.TemporaryDirectory() as folder, ServerProcess(Path(folder), core=cores[0]) as server:
            one = uvloop.run(drive(server, scene, seconds, cores[1]))
        seen = one["viewers_saw"]
        one["floor_cores"] = uvloop.run(drive_bare(scene, seen, seconds, cores))
        results["scenes"].append(one)
        rows.append(_row(one))
    head = ["load", "viewers", "updates/s", "kB/s each", "cores", "without", "floor", "ack p99 ms", "without"]
    show("Fan-out to browsers", [*head, "healthz p95 ms", "connect s", "peak MB"], rows)
    write_results(options.output, "fanout", results)


def _row(one: dict[str, Any]) -> list[str]:
    seen, before, after = one["viewers_saw"], one["without"], one["with"]
    return [
        one["name"],
        f"{one['viewers']:,}",
        f"{seen['updates_per_s']:.1f}",
        f"{seen['bytes_per_s'] / 1e3:.1f}",
        f"{after['server_cores']:.3f}",
        f"{before['server_cores']:.3f}",
        f"{one['floor_cores']:.3f}",
        f"{after['ack_ms_p99']:.0f}",
        f"{before['ack_ms_p99']:.0f}",
        f"{after['healthz_ms_p95']:.0f}",
        f"{one['connect_s']:.1f}",
        f"{one['peak_mb']:.0f}",
    ]


if __name__ == "__main__":
    main()
