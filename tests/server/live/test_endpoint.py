import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from recis_server import __version__
from recis_server.bus import Hint
from recis_server.live.limits import ViewerLimits
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus
from websockets.frames import Frame, Opcode

from recis.wire.messages import Declare, Event, Pass, Result, Status
from tests.server.httpserver import serve
from tests.server.realserver import Parts, Trainer, hello, points, raw, serving, trainer, until, until_async

INTERVAL = Declare(control="filter_interval", type="int", value=100, step=0, minimum=1)


@dataclass
class Browser:
    """A page's connection: keeps what it is told."""

    connection: ClientConnection
    told: list[dict[str, Any]] = field(default_factory=list)
    charts: list[tuple[dict[str, Any], bytes]] = field(default_factory=list)

    async def say(self, message: Any) -> None:
        await self.connection.send(message if isinstance(message, str | bytes) else json.dumps(message))

    async def read(self) -> None:
        """Reads until the connection ends."""
        async for message in self.connection:
            if isinstance(message, str):
                self.told.append(json.loads(message))
            else:
                length = int.from_bytes(message[:4], "little")
                self.charts.append((json.loads(message[4 : 4 + length]), message[4 + length :]))

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [message for message in self.told if message["type"] == kind]

    async def until(self, kind: str, condition: Callable[[dict[str, Any]], object] = lambda _: True) -> dict[str, Any]:
        """The first message of this kind that fits."""
        await until(lambda: any(condition(message) for message in self.of(kind)))
        return next(message for message in self.of(kind) if condition(message))


@asynccontextmanager
async def browser(server: Parts) -> AsyncIterator[Browser]:
    async with raw(server, "/ws/live") as connection:
        one = Browser(connection)
        reading = asyncio.create_task(one.read())
        try:
            yield one
        finally:
            await connection.close()
            await reading


def test_a_browser_is_greeted_with_version_and_scope(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as server, browser(server) as page:
            hello = {"type": "hello", "version": __version__, "scope": "control", "session": None}
            assert await page.until("hello") == hello

    asyncio.run(scenario())


def test_a_follower_is_told_what_is_and_then_what_changes(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as server, trainer(server) as one, browser(server) as page:
            await one.report(points([1], loss=[0.5]), INTERVAL)
            await page.say({"type": "follow", "run": "r1"})
            run = (await page.until("run"))["run"]
            assert (run["id"], run["state"], run["last_step"]) == ("r1", "running", 1)
            assert [metric["key"] for metric in (await page.until("metrics"))["metrics"]] == ["loss"]
            assert (await page.until("controls"))["controls"][0]["desired"] == 100

            await one.report(points([2], loss=[0.4], auc=[0.7]))
            await page.until("run", lambda message: message["run"]["last_step"] == 2)
            await page.until("metrics", lambda message: len(message["metrics"]) == 2)

            done = Pass(
                table="us\ners", step=2, time_ns=2_000_000_000, interval=10, rows_before=5, evicted=2, rows_after=3,
                admitted=1, milliseconds=0.5, bytes=640,
            )  # fmt: skip
            await one.report(done, done)
            assert (await page.until("passes"))["passes"] == [
                {
                    "step": 2,
                    "time": 2.0,
                    "rank": 0,
                    "table": "us\ufffders",
                    "interval": 10,
                    "rows_before": 5,
                    "evicted": 2,
                    "rows_after": 3,
                    "admitted": 1,
                    "milliseconds": 0.5,
                    "bytes": 640,
                }
            ] * 2

            await one.report(Event(kind="alert", time_ns=1, text="Loss is NaN", level="error", step=2))
            event = (await page.until("event"))["event"]
            assert (event["kind"], event["text"], event["rank"]) == ("alert", "Loss is NaN", 0)

            command = await server.commands.request("r1", {"filter_interval": 7}, actor="ann")
            await page.until("command", lambda message: message["command"]["state"] == "pending")
            await page.until("controls", lambda message: message["controls"][0]["desired"] == 7)
            await one.report(
                Result(
                    command=command.id, control="filter_interval", state="applied", step=3, time_ns=1, old=100, new=7
                )
            )
            told = await page.until("command", lambda message: message["command"]["state"] == "applied")
            assert told["command"]["ranks"]["0"]["step"] == 3
            await page.until("event", lambda message: message["event"]["kind"] == "control")
            assert len(page.of("event")) == 2

            await one.report(Status(state="finished", time_ns=1))
            await page.until("run", lambda message: message["run"]["state"] == "finished")
            server.bus.publish(Hint("deleted", "r1"))
            assert await page.until("deleted") == {"type": "deleted", "run": "r1"}

    asyncio.run(scenario())


def test_a_run_is_told_at_most_twice_a_second(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as server, trainer(server) as one, browser(server) as page:
            await page.say({"type": "follow", "run": "r1"})
            await page.until("run")
            began = asyncio.get_running_loop().time()
            for step in range(20):
                await one.report(points([step], loss=[1.0]))
            await page.until("run", lambda message: message["run"]["last_step"] == 19)
            took = asyncio.get_running_loop().time() - began
            assert len(page.of("run")) <= 2 + 2 * took + 1

    asyncio.run(scenario())


def test_the_list_of_runs_is_told_without_following_each(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as server, browser(server) as page:
            await page.say({"type": "follow", "runs": True, "fields": ["state", "summary"], "metrics": ["loss"]})
            await page.until("hello")
            await until(lambda: len(server.hub.lists) == 1)

            def runs() -> dict[str, Any]:
                return {run["id"]: run for message in page.of("runs") for run in message["runs"]}

            async with trainer(server, hello("first", "w1")) as one, trainer(server, hello("second", "w2")):
                await one.report(points([1], loss=[0.5], auc=[0.7]), Event(kind="alert", time_ns=1, text="x"))
                await until(lambda: runs().get("first", {}).get("summary"))
                await until(lambda: "second" in runs())
                assert runs()["first"] == {"id": "first", "state": "running", "summary": {"loss": 0.5}}
            await until(lambda: runs()["first"]["state"] == "disconnected")
            assert not page.of("metrics")
            assert not page.of("event")
            await page.say({"type": "unfollow", "runs": True})
            await until(lambda: len(server.hub.lists) == 0)

    asyncio.run(scenario())


def test_what_is_watched_comes_as_a_snapshot_and_then_as_changed_buckets(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as server, trainer(server) as one, browser(server) as page:
            await one.report(points([1, 2, 3], loss=[1.0, 2.0, 3.0], secret=[9.0, 9.0, 9.0]))
            await page.say({"type": "watch", "id": 5, "run": "r1", "keys": ["loss"], "points": 2})
            await until(lambda: page.charts)
            head, body = page.charts[0]
            assert (head["type"], head["id"], head["run"], head["width"]) == ("snapshot", 5, "r1", 2)
            assert head["series"] == [
                {"key": "loss", "rank": 0, "attempt": 1, "superseded": False, "n": 2, "offset": 0}
            ]
            assert np.frombuffer(body, "<f8").reshape(8, 2)[0].tolist() == [0.0, 2.0]
            await one.report(points([4], loss=[4.0]))
            await until(lambda: len(page.charts) == 2)
            # Three buckets of two do not fit: a new snapshot of twice the width.
            assert (page.charts[1][0]["type"], page.charts[1][0]["width"]) == ("snapshot", 4)
            await one.report(points([5], loss=[50.0]))
            await until(lambda: len(page.charts) == 3)
            head, body = page.charts[2]
            assert head["type"] == "delta"
            assert np.frombuffer(body, "<f8").tolist() == [4.0, 5.0, 4.0, 50.0, 27.0, 50.0, 2.0, 0.0]
            await page.say({"type": "unwatch", "id": 5})
            await until(lambda: server.hub.channels.num_watches == 0)
            await one.report(points([6], loss=[1.0]))
            await page.say({"type": "watch", "id": 6, "run": "r1", "keys": ["secret", "later"], "rank": "all"})
            await until(lambda: len(page.charts) == 4)
            assert [series["key"] for series in page.charts[3][0]["series"]] == ["secret"]
            await one.report(points([7], later=[1.0]))
            await until(lambda: len(page.charts) == 5)
            assert [series["key"] for series in page.charts[4][0]["series"]] == ["later"]

    asyncio.run(scenario())


def test_a_watch_replaces_the_one_with_its_id_and_ends_with_its_connection(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as server, trainer(server) as one:
            await one.report(points([1], loss=[1.0], qps=[2.0]))
            async with browser(server) as page:
                await page.say({"type": "watch", "id": 1, "run": "r1", "keys": ["loss"]})
                await page.say({"type": "watch", "id": 1, "run": "r1", "keys": ["qps"]})
                await page.say({"type": "follow", "run": "r1"})
                await until(lambda: any(head["series"][0]["key"] == "qps" for head, _ in page.charts))
                await one.report(points([2], loss=[1.0], qps=[2.0]))
                await until(lambda: any(head["type"] == "delta" for head, _ in page.charts))
                deltas = [head for head, _ in page.charts if head["type"] == "delta"]
                assert {series["key"] for head in deltas for series in head["series"]} == {"qps"}
            await until(lambda: server.hub.channels.num_watches == 0 and not server.hub._topics)

    asyncio.run(scenario())


def test_ten_times_a_second_is_the_most_for_one_watch(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as server, trainer(server) as one, browser(server) as page:
            await one.report(points([0], loss=[1.0]))
            await page.say({"type": "watch", "id": 1, "run": "r1", "keys": ["loss"]})
            await until(lambda: page.charts)
            began = asyncio.get_running_loop().time()
            for step in range(1, 30):
                await one.report(points([step], loss=[1.0]))
            await until(lambda: sum(head["series"][0]["n"] for head, _ in page.charts if head["type"] == "delta") >= 29)
            took = asyncio.get_running_loop().time() - began
            assert len(page.charts) <= 10 * took + 2

    asyncio.run(scenario())


WATCH = {"type": "watch", "id": 9, "run": "r1", "keys": ["loss"]}


@pytest.mark.parametrize(
    ("message", "code", "field", "watch_id"),
    [
        ("not json", "invalid", "$", None),
        (b"binary", "invalid", "$", None),
        ({"type": "nonsense"}, "invalid", "$.type", None),
        ({"type": "follow", "run": "nope"}, "not_found", None, None),
        ({"type": "follow", "runs": True, "fields": ["nope"]}, "invalid", "$.fields", None),
        ({**WATCH, "points": 0}, "invalid", "$.points", None),
        ({**WATCH, "run": "nope"}, "not_found", None, 9),
        ("x" * 70_000, "too_large", None, None),
    ],
)
def test_bad_input_is_one_error_and_the_connection_lives(
    tmp_path: Path, message: Any, code: str, field: str | None, watch_id: int | None
) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as server, trainer(server) as one, browser(server) as page:
            await one.report(points([1], loss=[1.0]))
            await page.say(message)
            error = await page.until("error")
            assert (error["error"]["code"], error["error"]["field"], error.get("id")) == (code, field, watch_id)
            assert error["error"]["message"]
            await page.say({"type": "follow", "run": "r1"})
            await page.until("run")
            assert len(page.of("error")) == 1

    asyncio.run(scenario())


def test_a_browser_too_many_is_told_before_it_is_connected(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as server:
            server.hub.limits = ViewerLimits(1)
            async with browser(server) as page:
                await page.until("hello")
                with pytest.raises(InvalidStatus) as refused:
                    async with raw(server, "/ws/live"):
                        pass
                assert refused.value.response.status_code == 503
                assert b'"unavailable"' in (refused.value.response.body or b"")

            async def comes_in() -> bool:
                try:
                    async with browser(server) as again:
                        await again.until("hello")
                except InvalidStatus:
                    return False
                return True

            await until_async(comes_in)

    asyncio.run(scenario())
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


async def meters(url: str) -> dict[str, float]:
    """What the server says of browsers."""
    async with httpx.AsyncClient() as client:
        lines = (await client.get(f"{url}/metrics")).text.splitlines()
    pairs = [line.split() for line in lines if line.startswith("recis_live_")]
    return {name.removeprefix("recis_live_"): float(value) for name, value in pairs}


def stalled_viewer(url: str, requests: list[dict[str, Any]]) -> socket.socket:
    """A browser that connects and asks, and then reads nothing."""
    host, port = url.removeprefix("http://").split(":")
    one = socket.create_connection((host, int(port)))
    key = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13"
    head = f"GET /ws/live HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{key}\r\n\r\n"
    one.sendall(head.encode())
    assert b" 101 " in one.recv(4096)
    for request in requests:
        one.sendall(Frame(Opcode.TEXT, json.dumps(request).encode()).serialize(mask=True))
    return one


@pytest.mark.slow
def test_many_viewers_of_a_run_cost_one_chart_and_one_that_does_not_read_delays_nobody(tmp_path: Path) -> None:
    async def scenario(url: str) -> None:
        async with AsyncExitStack() as stack:
            link = await stack.enter_async_context(
                connect(f"ws{url.removeprefix('http')}/ws/ingest", compression=None, ping_interval=None)
            )
            one = Trainer(link)
            await one.send(hello())
            await one.receive()
            steps = list(range(10_000))
            await one.report(points(steps, loss=[1.0] * len(steps), qps=[2.0] * len(steps)))
            watch = {"type": "watch", "run": "r1", "keys": ["loss", "qps"]}
            stalled = stalled_viewer(url, [{**watch, "id": number, "points": 10_000} for number in range(25)])
            stack.callback(stalled.close)
            pages: list[Browser] = []
            reading: list[asyncio.Task[None]] = []
            for number in range(25):
                live = connect(
                    f"ws{url.removeprefix('http')}/ws/live", compression=None, max_size=None, ping_interval=None
                )
                page = Browser(await stack.enter_async_context(live))
                pages.append(page)
                reading.append(asyncio.create_task(page.read()))
                await page.say({**watch, "id": number, "points": 400})

            async def is_blocked() -> bool:
                return (await meters(url))["blocked"] == 1

            await until(lambda: all(page.charts for page in pages))
            await until_async(is_blocked)
            before = await meters(url)
            assert (before["viewers"], before["watches"], before["channels"]) == (26, 50, 2)
            assert before["snapshots"] == 2, "one for each channel"
            for step in range(10_000, 10_200, 10):
                await one.report(points(list(range(step, step + 10)), loss=[3.0] * 10, qps=[4.0] * 10))

            def newest(page: Browser) -> float:
                head, body = page.charts[-1]
                columns = np.frombuffer(body, "<f8", 8 * head["series"][0]["n"]).reshape(8, -1)
                return float(columns[1, -1])

            await until(lambda: all(newest(page) == 10_199.0 for page in pages), 30.0)
            after = await meters(url)
            assert after["snapshots"] == 2
            assert 2 <= after["changes"] - before["changes"] <= 2 * 20, "at most one for each frame and channel"
            assert all(not task.done() for task in reading)
            assert {head["id"] for page in pages for head, _ in page.charts} == set(range(25))

    with serve(tmp_path) as server:
        asyncio.run(scenario(server.url))
