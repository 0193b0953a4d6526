"""The real command in a separate process: killed at any moment, it loses and duplicates nothing it acknowledged."""

import asyncio
import os
import signal
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from recis_server.errors import StoreError
from recis_server.serving import serving
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

import recis.monitor
from recis.wire.codec import decode_server, encode
from recis.wire.messages import Ack, Frame, Refuse, Status, Welcome
from tests.server.httpserver import serve, settings
from tests.server.realserver import hello, points

PER_FRAME = 10


def one_frame(n: int) -> Frame:
    steps = list(range(n * PER_FRAME, (n + 1) * PER_FRAME))
    return Frame(n=n, records=(points(steps, loss=[float(step) for step in steps], lr=[0.5] * PER_FRAME),))


async def write_until_cut(url: str, acked: int, pid: int, kill_after: int) -> int:
    """Stream frames from `acked` + 1 on, kill the server after this many acknowledgements, and return the last one."""
    with suppress(WebSocketException, OSError):
        async with connect(url.replace("http", "ws") + "/ws/ingest", compression=None) as writer:
            await writer.send(encode(hello()))
            welcome = decode_server(await writer.recv(decode=False))
            assert isinstance(welcome, Welcome)
            assert welcome.acked >= acked, "an acknowledged frame is gone"
            acked, sent, until = welcome.acked, welcome.acked, welcome.acked + kill_after
            while acked < until:
                while sent < acked + 20:
                    sent += 1
                    await writer.send(encode(one_frame(sent)))
                record = decode_server(await writer.recv(decode=False))
                assert isinstance(record, Ack)
                acked = record.n
            for _ in range(10):
                sent += 1
                await writer.send(encode(one_frame(sent)))
            os.kill(pid, signal.SIGKILL)
    return acked


@pytest.mark.slow
def test_a_killed_server_loses_and_doubles_nothing(tmp_path: Path) -> None:
    acked = 0
    for round_ in range(5):
        with serve(tmp_path / "data") as server:
            acked = asyncio.run(write_until_cut(server.url, acked, server.child.pid, 7 + 13 * round_))
            server.child.wait(10)
    with serve(tmp_path / "data") as server:
        run = httpx.get(f"{server.url}/api/v1/runs/r1").json()
        answer = httpx.get(f"{server.url}/api/v1/runs/r1/series?key=loss&points=0").json()
        (series,) = answer["series"]
        metrics = httpx.get(f"{server.url}/api/v1/runs/r1/metrics").json()["metrics"]
    whole, rest = divmod(len(series["x"]), PER_FRAME)
    assert rest == 0
    assert whole >= acked > 80
    assert series["x"] == list(range(PER_FRAME, (whole + 1) * PER_FRAME))
    assert series["last"] == [float(step) for step in series["x"]]
    assert run["received"] == {"points": 2 * PER_FRAME * whole, "missing": 0, "dropped": 0}
    assert [metric["count"] for metric in metrics] == [PER_FRAME * whole] * 2
    assert run["summary"]["loss"] == series["last"][-1]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_and_ends_with_code_0(tmp_path: Path, number: signal.Signals) -> None:
    async def write(url: str, pid: int) -> None:
        async with connect(url.replace("http", "ws") + "/ws/ingest") as writer:
            await writer.send(encode(hello()))
            await writer.recv()
            await writer.send(encode(one_frame(1)))
            os.kill(pid, number)
            with suppress(WebSocketException):
                while True:
                    record = decode_server(await writer.recv(decode=False))
                    assert isinstance(record, Ack) or (isinstance(record, Refuse) and record.retry)

    with serve(tmp_path / "data") as server:
        asyncio.run(write(server.url, server.child.pid))
        assert server.child.wait(60) == 0
    log = (tmp_path / "data.log").read_text()
    assert "Traceback" not in log
    assert "ERROR" not in log
    assert "WARNING" not in log, "expected an end with everything committed, before its limit"


@pytest.mark.slow
def test_a_port_in_use_is_told(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(settings(tmp_path / "one")) as server:
            port = int(server.url.rpartition(":")[2])
            with pytest.raises(StoreError, match=f"expected a free port, got 127.0.0.1:{port}"):
                async with serving(settings(tmp_path / "two", port=port)):
                    pass

    asyncio.run(scenario())


@pytest.mark.slow
def test_others_are_not_served_without_a_token(tmp_path: Path) -> None:
    async def scenario() -> None:
        with pytest.raises(StoreError, match=r"--host 0\.0\.0\.0: expected a token"):
            async with serving(settings(tmp_path, host="0.0.0.0")):
                pass
        async with serving(settings(tmp_path, host="0.0.0.0", insecure=True)) as server:
            assert server.url.startswith("http://0.0.0.0:")
        async with serving(settings(tmp_path, host="0.0.0.0", token_file=tmp_path / "token")) as server:
            assert server.token == (tmp_path / "token").read_text().strip()

    asyncio.run(scenario())


@pytest.mark.slow
def test_a_server_can_be_embedded_and_leaves_nothing_behind(tmp_path: Path) -> None:
    async def scenario() -> None:
        before = 0
        for round_ in range(4):
            async with serving(settings(tmp_path)) as server, httpx.AsyncClient() as client:
                assert (await client.get(f"{server.url}/readyz")).status_code == 200
                async with connect(server.url.replace("http", "ws") + "/ws/ingest") as writer:
                    await writer.send(encode(hello(writer=f"w{round_}")))
                    await writer.recv()
                    await writer.send(encode(Frame(n=1, records=(Status(state="finished", time_ns=1),))))
                    await writer.recv()
                server.stop()
                await server.stopped()
            now = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
            before = before or now
            assert now <= before

    asyncio.run(scenario())


@pytest.mark.slow
def test_without_uvloop_the_loop_is_asyncios(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['uvloop'] = None\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with serve(tmp_path / "data") as server:
        with recis.monitor.init(server.url, run_id="r", spool_dir=str(tmp_path / "spool")) as run:
            run.log({"loss": 0.5}, 1)
        (series,) = httpx.get(f"{server.url}/api/v1/runs/r/series?key=loss&points=0").json()["series"]
        assert series["last"] == [0.5]
