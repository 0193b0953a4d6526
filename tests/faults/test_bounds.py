"""Memory that stays bounded: of a training without a server, of a server with slow or very many clients."""

import asyncio
import json
import os
import resource
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as connect_async
from websockets.sync.client import connect

import recis.monitor
from recis.wire.codec import column, decode_server, encode
from recis.wire.messages import Ack, Frame, Hello, Points, Welcome
from tests.e2e.processes import RunningCommand, get_json, until
from tests.faults.reports import address_of, count, received, serve, stored

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180), pytest.mark.waits]

MIB = 1 << 20

LOGGING = """
import json, sys
import recis.bridge.opening
import recis.monitor
address, spool, calls, bound = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
if bound:
    recis.bridge.opening.SPOOL_BYTES = bound


def resident():
    for line in open("/proc/self/status"):
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) << 10


run = recis.monitor.init(address, run_id="bound", spool_dir=spool)
names = [f"metric/{number}" for number in range(10)]
for step in range(1000):
    run.log(dict.fromkeys(names, float(step)), step)
before = most = resident()
for step in range(1000, calls):
    run.log(dict.fromkeys(names, float(step)), step)
    if step % 10_000 == 0:
        most = max(most, resident())
print(json.dumps({"grown": max(most, resident()) - before, "dropped": run.dropped}), flush=True)
sys.stdin.readline()
print(json.dumps({"done": run.finish(timeout_s=90), "dropped": run.dropped}), flush=True)
"""


def resident_bytes(pid: int) -> int:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in text.splitlines() if line.startswith("VmRSS:")).split()[1]) << 10


def logging_process(address: str, spool: Path, calls: int, bound: int = 0) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", LOGGING, address, str(spool), str(calls), str(bound)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_ten_million_points_without_a_server_take_at_most_64_mib(tmp_path: Path) -> None:
    with logging_process("http://127.0.0.1:9", tmp_path / "spool", 1_000_000) as process:
        assert process.stdout is not None
        said = json.loads(process.stdout.readline())
        process.kill()
    assert said["grown"] <= 64 * MIB, said
    assert said["dropped"] == 0, "the spool on disk has room for them"


def test_a_spool_at_its_bound_drops_the_oldest_and_the_server_hears_how_many(tmp_path: Path) -> None:
    calls, bound, spool = 300_000, 8 * MIB, tmp_path / "spool"
    with serve(tmp_path / "server") as server:
        port = address_of(server).rpartition(":")[2]
    with logging_process(f"http://127.0.0.1:{port}", spool, calls, bound) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        said = json.loads(process.stdout.readline())
        assert said["dropped"] > 0
        assert said["grown"] <= 64 * MIB, said
        # One segment more than the bound: the spare one that is allocated in advance.
        assert sum(path.stat().st_size for path in spool.rglob("*.seg")) <= bound + 2 * MIB
        with serve(tmp_path / "server", port) as server:
            address = address_of(server)
            process.stdin.write("\n")
            process.stdin.flush()
            ended = json.loads(process.stdout.readline())
            steps = [step for step, _ in stored(address, "bound", "metric/9")]
            known = received(address, "bound")
    assert ended == {"done": True, "dropped": known["dropped"]}
    assert steps == list(range(steps[0], calls)), "the newest, without a hole"
    assert known["points"] == 10 * len(steps)
    assert known["points"] + known["dropped"] == 10 * calls, "a lost point that was not counted"
    assert known["missing"] == 0, "what was dropped is said once"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningCommand]:
    with serve(tmp_path / "server") as running:
        address_of(running)
        yield running


@contextmanager
def silent_browsers(address: str, names: list[str]) -> Iterator[None]:
    """Ten sockets that request everything and never read: the library stops reading when one message waits."""
    url = f"ws{address.removeprefix('http')}/ws/live"
    with ExitStack() as stack:
        for _ in range(10):
            made = connect(url, max_queue=1, ping_interval=None, close_timeout=0.1, compression=None)
            socket = stack.enter_context(made)
            socket.send(json.dumps({"type": "follow", "run": "fast"}))
            for place, name in enumerate(names):
                watch = {"type": "watch", "id": place, "run": "fast", "keys": [name], "points": 2000}
                socket.send(json.dumps(watch))
        yield


def test_browsers_that_never_read_cost_the_server_little(server: RunningCommand, tmp_path: Path) -> None:
    """A fast run of 10 metrics: first without viewers, then with ten browsers that view all charts and read nothing."""
    address = address_of(server)
    names = [f"metric/{number}" for number in range(10)]
    with recis.monitor.init(address, run_id="fast", spool_dir=str(tmp_path / "spool")) as run:
        step = 0

        def log_and_wait(steps: int) -> None:
            nonlocal step
            for _ in range(steps):
                run.log(dict.fromkeys(names, float(step)), step)
                step += 1
            until(lambda: count(address, "fast", "metric/9") == step, 60, "all of it on the server")

        log_and_wait(1000)
        for _ in range(10):
            log_and_wait(15_000)
        unwatched = resident_bytes(server.process.pid)
        with silent_browsers(address, names):
            most = 0
            for _ in range(20):
                log_and_wait(15_000)
                most = max(most, resident_bytes(server.process.pid))
        assert most - unwatched <= 128 * MIB, f"{(most - unwatched) / MIB:.0f} MiB"


@contextmanager
def as_many_files_as_may_be(server: RunningCommand) -> Iterator[None]:
    """Raise the limit of open files for this process and the server."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limits[1], limits[1]))
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (limits[1], limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_a_thousand_idle_trainings_cost_the_server_at_most_64_kib_each(server: RunningCommand) -> None:
    with as_many_files_as_may_be(server):
        asyncio.run(asyncio.wait_for(_stay_idle(server, 1000), 120))


async def _stay_idle(server: RunningCommand, number: int) -> None:
    url = f"ws{address_of(server).removeprefix('http')}/ws/ingest"
    async with AsyncExitStack() as stack:
        await _greet(stack, url, "first")
        before = resident_bytes(server.process.pid)
        for first in range(0, number, 50):
            await asyncio.gather(*[_greet(stack, url, f"idle-{first + one}") for one in range(50)])
        grown = resident_bytes(server.process.pid) - before
    assert grown <= number * (64 << 10), f"{grown / number / 1024:.0f} KiB each"


async def _greet(stack: AsyncExitStack, url: str, run: str) -> ClientConnection:
    socket = await stack.enter_async_context(connect_async(url, compression=None, ping_interval=None, open_timeout=60))
    await socket.send(encode(Hello(run=run, writer="w", attempt="a")))
    data = await socket.recv(decode=False)
    assert isinstance(decode_server(data), Welcome)
    return socket


def raw(message: bytes) -> bytes:
    """Return the bytes of a client's message, masked with zeros."""
    assert 125 < len(message) < 1 << 16
    return b"\x82\xfe" + len(message).to_bytes(2, "big") + bytes(4) + message


def test_trainings_that_never_read_their_answers_cost_the_server_little(server: RunningCommand) -> None:
    """Each repeats a frame as fast as possible, which is answered every time, and reads none of the answers."""
    address = address_of(server)
    url = f"ws{address.removeprefix('http')}/ws/ingest"
    with ExitStack() as stack:
        sockets = []
        for number in range(2):
            made = connect(url, max_queue=1, ping_interval=None, close_timeout=0.1, compression=None)
            socket = stack.enter_context(made)
            socket.send(encode(Hello(run=f"deaf-{number}", writer="w", attempt="a")))
            socket.recv()
            sockets.append(socket)

        def send(n: int, repeats: int) -> None:
            piece = raw(frame(n, 3)) * 1000
            for _ in range(repeats):
                for socket in sockets:
                    socket.socket.sendall(piece)
            for number in range(len(sockets)):
                until(lambda run=f"deaf-{number}": count(address, run, "a") == 3 * n, 60, "it is stored")  # type: ignore[misc]

        send(1, 1)
        before = resident_bytes(server.process.pid)
        for n in range(2, 6):
            send(n, 100)
        grown = resident_bytes(server.process.pid) - before
    assert grown <= 64 * MIB, f"{grown / MIB:.0f} MiB"


def test_a_server_ends_in_time_whatever_a_training_has_sent(server: RunningCommand) -> None:
    """Far more small frames than can be committed in time; unacknowledged ones are sent again."""
    address = address_of(server)
    url = f"ws{address.removeprefix('http')}/ws/ingest"
    with connect(url, ping_interval=None, close_timeout=0.1, compression=None) as socket:
        socket.send(encode(Hello(run="many", writer="w", attempt="a")))
        socket.recv()
        for n in range(1, 20_000):
            socket.send(frame(n))
        until(lambda: count(address, "many", "a") > 0, 60, "the first of them")
        assert server.interrupt() == 0
    assert "will be sent again" in server.output
    with serve(server.folder) as again:
        stored_now = count(address_of(again), "many", "a")
        assert 0 < stored_now < 19_999
        url = f"ws{address_of(again).removeprefix('http')}/ws/ingest"
        with connect(url) as socket:
            socket.send(encode(Hello(run="many", writer="w", attempt="a")))
            welcome = decode_server(socket.recv(decode=False))
            assert isinstance(welcome, Welcome)
            assert welcome.acked == stored_now, "what is stored is acknowledged, without a hole"


def frame(n: int, rows: int = 1) -> bytes:
    """Return a frame of `rows` steps with one value each."""
    steps = column(range(n * rows, (n + 1) * rows), "<i8")
    return encode(
        Frame(n=n, records=(Points(keys=("a",), steps=steps, times=steps, values=column([1.0] * rows, "<f8")),))
    )


def test_a_thousand_trainings_that_stream_do_not_make_the_server_grow(server: RunningCommand) -> None:
    with as_many_files_as_may_be(server):
        asyncio.run(asyncio.wait_for(_stream(server, 1000), 150))


async def _stream(server: RunningCommand, number: int) -> None:
    url = f"ws{address_of(server).removeprefix('http')}/ws/ingest"

    async def one_frame(socket: ClientConnection, n: int) -> None:
        await socket.send(frame(n, 100))
        while True:
            answer = decode_server(await socket.recv(decode=False))
            if isinstance(answer, Ack) and answer.n == n:
                return

    async with AsyncExitStack() as stack:
        sockets: list[ClientConnection] = []
        for first in range(0, number, 50):
            sockets += await asyncio.gather(*[_greet(stack, url, f"streaming-{first + one}") for one in range(50)])
        used = []
        for n in range(1, 25):
            await asyncio.gather(*[one_frame(socket, n) for socket in sockets])
            used.append(resident_bytes(server.process.pid))
    # The state of a thousand runs exists after the first frames; a further 1.6 million points need no more memory.
    grown = used[-1] - used[7]
    assert grown <= 48 * MIB, [f"{one / MIB:.0f}" for one in used]
    assert used[-1] <= 500 * MIB, [f"{one / MIB:.0f}" for one in used]


def test_a_large_trace_costs_the_server_little_on_its_way_in_and_out(server: RunningCommand, tmp_path: Path) -> None:
    """A trace of a quarter of a gigabyte; 2.1 GB cost as much (docs/performance.md)."""
    address = address_of(server)
    small, large = tmp_path / "small.json", tmp_path / "large.json.gz"
    small.write_text("{}")
    piece = os.urandom(MIB)
    with large.open("wb") as file:
        for _ in range(256):
            file.write(piece)

    def arrived() -> dict[str, str]:
        rows = get_json(f"{address}/api/v1/runs/large/traces")["traces"]
        return {row["name"]: row["id"] for row in rows if row["state"] == "ready"}

    most = 0

    def look() -> None:
        nonlocal most
        most = max(most, resident_bytes(server.process.pid))

    with recis.monitor.init(address, run_id="large", spool_dir=str(tmp_path / "spool")) as run:
        run.log({"loss": 1.0}, 1)
        run.upload_trace(small, 1)
        until(lambda: count(address, "large", "loss") == 1, 60, "the run")
        until(lambda: small.name in arrived(), 60, "the small trace")
        before = resident_bytes(server.process.pid)
        run.upload_trace(large, 2)

        def is_there() -> bool:
            look()
            return large.name in arrived()

        until(is_there, 120, "the large trace")
    url = f"{address}/api/v1/traces/{arrived()[large.name]}/download"
    for offset in (0, 100 * MIB):
        request = urllib.request.Request(url, headers={"Range": f"bytes={offset}-"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            size = 0
            while part := answer.read(MIB):
                size += len(part)
                look()
        assert size == 256 * MIB - offset
    assert most - before <= 64 * MIB, f"{(most - before) / MIB:.0f} MiB"
