"""Servers that share a store, while they, the bus and connections are killed: all is stored once, and seen."""

import asyncio
import contextlib
import json
import random
import signal
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect

import recis.monitor
from tests.e2e.processes import get_json, until
from tests.faults.reports import KEYS, Reported, count, meter
from tests.replicas.deployment import Deployment, deployment
from tests.server.live.page import Page
from tests.server.store.streams import one_pass

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

NUM_SERVERS = 3
NUM_FAULTS = 5


class Browser:
    """A page that watches a run at one server, and connects again when it has to."""

    def __init__(self, address: str, run: str) -> None:
        self._url = address.replace("http", "ws") + "/ws/live"
        self.run = run
        self.page = Page()
        self.told: list[dict[str, Any]] = []

    async def watch(self) -> None:
        while True:
            with contextlib.suppress(Exception):
                async with connect(self._url, max_size=None) as connection:
                    await connection.send(json.dumps({"type": "follow", "run": self.run}))
                    watch = {"type": "watch", "id": 1, "run": self.run, "keys": [KEYS[0]], "rank": 0, "points": 2000}
                    await connection.send(json.dumps(watch))
                    async for message in connection:
                        if isinstance(message, bytes):
                            self.page.apply(message)
                            continue
                        self.told.append(json.loads(message))
                        if self.told[-1]["type"] == "error":  # as while the database is away
                            break
            await asyncio.sleep(0.2)

    def last(self) -> float:
        """The newest step that it has drawn."""
        return max((x for series in self.page.series.values() for x in series), default=-1.0)

    def has(self, kind: str, text: str) -> bool:
        """Whether a message of this type with a text has arrived."""
        return any(one["type"] == kind and text in json.dumps(one) for one in self.told)

    def num_points(self) -> float:
        """How many points its buckets have."""
        return sum(bucket[6] for series in self.page.series.values() for bucket in series.values())


@contextlib.contextmanager
def watching(browsers: list[Browser]) -> Iterator[None]:
    """Run browsers on a thread of their own."""
    loop = asyncio.new_event_loop()
    ended = asyncio.Event()

    async def watch() -> None:
        tasks = [asyncio.create_task(browser.watch()) for browser in browsers]
        await ended.wait()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    thread = threading.Thread(target=lambda: loop.run_until_complete(watch()))
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()
        loop.close()


@pytest.mark.usefixtures("impatient")
def test_a_storm_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """Two runs report through a proxy that sends each connection to another server, while everything is killed."""
    chance = random.Random(3)
    with deployment(tmp_path, NUM_SERVERS) as servers:
        reported = [
            Reported(recis.monitor.init(servers.proxy.address, run_id=name, spool_dir=str(tmp_path / name)))
            for name in ("one", "two")
        ]
        browsers = [Browser(address, "one") for address in servers.addresses]
        with watching(browsers):
            for turn in range(2 * NUM_FAULTS):
                for _ in range(8):
                    for each in reported:
                        each.log(5)
                    time.sleep(0.05)
                _break(servers, turn, chance)
            for each in reported:
                each.log(5)
                assert each.run.finish(timeout_s=120.0)
            for browser in browsers:
                until(lambda b=browser: b.last() == reported[0].num_rows - 1, 60, "all is drawn")  # type: ignore[misc]
                until(lambda b=browser: b.num_points() == reported[0].num_rows, 60, "each is drawn once")  # type: ignore[misc]
        for address in servers.addresses:
            for each in reported:
                each.check(address)
                until(lambda e=each, a=address: _state(a, e.run.id) == "finished", 60, "it has finished")  # type: ignore[misc]


def _break(servers: Deployment, turn: int, chance: random.Random) -> None:
    """One fault, and its end."""
    match turn % NUM_FAULTS:
        case 0:
            servers.proxy.cut()
        case 1:
            place = chance.randrange(NUM_SERVERS)
            servers.kill(place)
            servers.proxy.cut()
            servers.restart(place)
        case 2:
            servers.nats.stop()
            servers.proxy.cut()
            servers.nats.start()
        case 3:
            servers.postgres.stop(signal.SIGQUIT)  # as a crash
            servers.postgres.start()
        case 4:
            place = chance.randrange(NUM_SERVERS)
            servers.freeze(place)
            servers.proxy.cut()
            time.sleep(1.0)  # longer than a commit takes
            servers.thaw(place)


def _state(address: str, run: str) -> str:
    return str(get_json(f"{address}/api/v1/runs/{run}")["state"])


@pytest.mark.usefixtures("impatient")
def test_every_server_shows_what_trains_at_another(tmp_path: Path) -> None:
    """Charts, states and ranks, and who waits for whom, over the bus; and without it, a little later."""
    with deployment(tmp_path, NUM_SERVERS) as servers:
        here, there, _ = servers.addresses
        run = Reported(recis.monitor.init(here, run_id="one", spool_dir=str(tmp_path / "spool")))
        browser = Browser(there, "one")
        run.log(10)
        until(lambda: _known(there, "one") and count(there, "one", KEYS[0]) == 10, 60, "it is committed")
        with watching([browser]):
            until(lambda: _state(there, "one") == "running", 60, "the other server knows that it is connected")
            until(lambda: browser.last() == 9, 60, "the snapshot is drawn")
            snapshots = browser.page.num_snapshots
            for last in range(10, 60):
                run.log(1)
                until(lambda last=last: browser.last() == last, 60, f"step {last} is drawn")  # type: ignore[misc]
            assert browser.page.num_snapshots <= snapshots + 2, "deltas, not snapshots"
            assert _bus(there)["received"] > 40
            # Nobody may delete it, wherever its training is connected.
            with pytest.raises(OSError, match="409"):
                get_json(_delete(f"{there}/api/v1/runs/one"))
            # Without the bus by looking at the store.
            servers.nats.stop()
            until(lambda: _bus(there)["connected"] == 0, 60, "it is noticed")
            run.log(1)
            run.run.alert("only on the disk")
            run.run.filter_pass(one_pass(60))
            trace = tmp_path / "trace.json"
            trace.write_text('{"traceEvents": [{"ph": "X", "name": "one", "ts": 0, "dur": 1, "pid": 1, "tid": 1}]}')
            run.run.upload_trace(trace, 60)
            until(lambda: browser.last() == 60, 60, "it is drawn all the same")
            for kind, text in (("event", "only on the disk"), ("passes", '"step": 60'), ("trace", "trace.json")):
                until(lambda k=kind, t=text: browser.has(k, t), 60, f"{kind} is told")  # type: ignore[misc]
            servers.nats.start()
            until(lambda: _bus(there)["connected"] == _bus(here)["connected"] == 1, 60, "the bus is back")
            run.log(1)
            until(lambda: browser.last() == 61, 60, "it is drawn")
            until(lambda: browser.num_points() == 62, 60, "each is drawn once")
            assert run.run.finish(timeout_s=60)
            until(lambda: _state(there, "one") == "finished", 60, "it has finished")
        sent = _bus(here)["sent"]
        other = Reported(recis.monitor.init(here, run_id="two", spool_dir=str(tmp_path / "spool")))
        for _ in range(10):
            other.log(10)
            time.sleep(0.1)
        assert other.run.finish(timeout_s=60)
        assert _bus(here)["sent"] - sent < 40, "nothing is sent of what nobody watches"
        other.check(there)


def _delete(url: str) -> urllib.request.Request:
    return urllib.request.Request(url, method="DELETE")


def _known(address: str, run: str) -> bool:
    return any(one["id"] == run for one in get_json(f"{address}/api/v1/runs")["runs"])


def _bus(address: str) -> dict[str, int]:
    return {name: meter(address, f"recis_bus_{name}") for name in ("sent", "received", "connected")}
