"""A NATS cluster that loses nodes, a server that is cut off from one of its services, and tokens that are revoked."""

import asyncio
import contextlib
import itertools
import json
import time
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from recis_server.access import digest_of
from recis_server.store.engines.open import open_engine
from recis_server.store.sql import SqlStore
from recis_server.store.values import TokenRow
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

import recis.monitor
from scripts.nats import nats_cluster, nats_server
from scripts.postgres import postgres_server
from tests.e2e.processes import RunningCommand, get_json, put_json, until
from tests.faults.proxy import Proxy
from tests.faults.reports import Reported, address_of, meter, serve
from tests.replicas.test_failover import is_ready
from tests.replicas.test_storm import Browser, watching
from tests.server.s3server import CREDENTIALS, s3_server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.mark.usefixtures("impatient")
def test_servers_go_on_without_a_node_of_the_bus_without_the_bus_and_without_one_of_them(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        postgres = stack.enter_context(postgres_server(durable=True))
        nodes = stack.enter_context(nats_cluster(3))
        store = postgres.make_database()
        to_store = stack.enter_context(Proxy(postgres.port))
        cut_off = store.replace(f":{postgres.port}/", f":{urlsplit(to_store.address).port}/")
        bus = "nats://" + ",".join(node.url.removeprefix("nats://") for node in nodes)
        blobs = ("--blobs", f"file://{tmp_path / 'blobs'}")
        servers: list[RunningCommand] = []
        for place, url in enumerate((store, cut_off)):
            servers.append(serve(tmp_path / str(place), "0", "--store", url, "--bus", bus, *blobs))
            stack.enter_context(servers[-1])
        here, there = addresses = [address_of(server) for server in servers]
        between = stack.enter_context(Proxy(*[urlsplit(address).port or 0 for address in addresses]))
        reported = Reported(recis.monitor.init(between.address, run_id="one", spool_dir=str(tmp_path / "spool")))
        browsers = [Browser(address, "one") for address in addresses]

        def drawn() -> bool:
            return all(browser.last() == reported.num_rows - 1 for browser in browsers)

        def connected() -> int:
            return sum(meter(address, "recis_bus_connected") for address in addresses)

        with watching(browsers):
            reported.log(10)
            until(drawn, 60, "all is drawn")
            for node in nodes:  # one after another: whichever a server is connected to, it finds the next
                node.stop()
                reported.log(5)
                until(drawn, 60, "all is drawn without one node")
                until(lambda: connected() == 2, 60, "both servers have found another node")
                node.start()
            for node in nodes:
                node.stop()
            until(lambda: connected() == 0, 60, "it is noticed")
            reported.log(5)
            until(drawn, 60, "all is drawn without the bus")
            assert all(map(is_ready, addresses)), "both can serve"
            for node in nodes:
                node.start()
            until(lambda: connected() == 2, 60, "the bus is back")
            # One of the servers cannot reach the database: a proxy is told so, and the others serve.
            to_store.refusing = True
            to_store.cut()
            until(lambda: not is_ready(there), 60, "it is not ready")
            assert is_ready(here)
            reported.log(5)
            between.cut()
            to_store.refusing = False
            until(lambda: is_ready(there), 60, "it is ready again")
            until(drawn, 60, "all is drawn again")
            assert reported.run.finish(timeout_s=60)
            for browser in browsers:
                until(lambda b=browser: b.num_points() == reported.num_rows, 60, "each is drawn once")  # type: ignore[misc]
        for address in addresses:
            reported.check(address)
        asyncio.run(_revoke(store, addresses))


@pytest.mark.usefixtures("impatient")
def test_a_server_that_is_cut_off_from_the_bus_or_from_the_bucket_alone_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with contextlib.ExitStack() as stack:
        store = stack.enter_context(postgres_server(durable=True)).make_database()
        nats = stack.enter_context(nats_server())
        bucket = stack.enter_context(s3_server())
        to_bus, to_bucket = (stack.enter_context(Proxy(port)) for port in (urlsplit(nats.url).port or 0, bucket.port))
        cut_off = f"nats://{urlsplit(to_bus.address).netloc}"
        servers: list[RunningCommand] = []
        for place, (bus, port) in enumerate(((nats.url, None), (cut_off, urlsplit(to_bucket.address).port))):
            services = ("--store", store, "--bus", bus, "--blobs", bucket.url(port=port))
            servers.append(serve(tmp_path / str(place), "0", *services))
            stack.enter_context(servers[-1])
        here, there = map(address_of, servers)
        # The training is at the server that will be cut off; a browser and a caller are at the other one.
        run = recis.monitor.init(there, run_id="one", spool_dir=str(tmp_path / "spool"))
        reported, browser, applied = Reported(run), Browser(here, "one"), list[int]()
        run.control("rate", type="int", value=1, apply="each", on_change=applied.append)

        def is_applied(value: int) -> bool:
            reported.log(1)
            return value in applied

        def is_drawn() -> bool:
            return browser.last() == reported.num_rows - 1

        with watching([browser]):
            reported.log(10)
            until(is_drawn, 60, "all is drawn")
            to_bus.refusing = True
            to_bus.cut()
            until(lambda: not meter(there, "recis_bus_connected"), 60, "it is noticed")
            assert meter(here, "recis_bus_connected")
            assert all(map(is_ready, (here, there))), "both can serve"
            sent = put_json(f"{here}/api/v1/runs/one/controls/rate", {"value": 7})["id"]
            until(lambda: is_applied(7), 60, "a command of the other server is applied")
            command = f"{here}/api/v1/runs/one/commands/{sent}"
            until(lambda: get_json(command)["state"] == "applied", 60, "the other server knows")
            until(is_drawn, 60, "all is drawn at the other server")
            to_bus.refusing = False
            until(lambda: meter(there, "recis_bus_connected"), 60, "the bus is back")
            to_bucket.refusing = True
            to_bucket.cut()
            trace = tmp_path / "trace.json"
            trace.write_text(json.dumps({"traceEvents": [], "padding": "x" * 100_000}))
            run.upload_trace(trace, reported.num_rows)
            reported.log(10)
            until(is_drawn, 60, "points do not wait for the bucket")
            assert is_ready(here)
            to_bucket.refusing = False

            def is_stored() -> bool:
                found = get_json(f"{here}/api/v1/runs/one/traces")["traces"]
                return [one["state"] for one in found] == ["ready"]

            until(is_stored, 60, "the trace is in the bucket")
            assert run.finish(timeout_s=60)
        (found,) = get_json(f"{here}/api/v1/runs/one/traces")["traces"]
        for address in (here, there):
            reported.check(address)
            with urllib.request.urlopen(f"{address}/api/v1/traces/{found['id']}/download", timeout=30) as answer:
                assert answer.read() == trace.read_bytes()


async def _revoke(url: str, addresses: list[str]) -> None:
    """Revoke tokens while sockets are open at each server; others stay valid."""
    store = SqlStore(open_engine(url), exclusive=False)
    await store.open()
    scopes = {"live": "view", "ingest": "write", "trace": "write"}
    for token in ("gone", "stays"):
        for scope in ("view", "write"):
            text = f"{token}-{scope}"
            await store.add_token(TokenRow(text, "", scope, digest_of(text), time.time_ns()))

    def open_with(token: str, address: str, name: str) -> connect:
        headers = {"Authorization": f"Bearer {token}-{scopes[name]}"}
        return connect(f"{address.replace('http', 'ws')}/ws/{name}", additional_headers=headers)

    async def ended(socket: ClientConnection) -> int | None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                await socket.recv()
        return socket.close_code

    async with asyncio.timeout(60), contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(store.close)
        sockets: dict[str, list[ClientConnection]] = {"gone": [], "stays": []}
        for token, opened in sockets.items():
            for address, name in itertools.product(addresses, scopes):
                opened.append(await stack.enter_async_context(open_with(token, address, name)))
        for scope in ("view", "write"):
            assert await store.delete_token(f"gone-{scope}")
        assert await asyncio.gather(*map(ended, sockets["gone"])) == [4401] * len(addresses) * len(scopes)
        for socket in sockets["stays"]:
            await (await socket.ping())
