"""A NATS cluster that loses nodes, a server that is cut off from the database, and tokens that are revoked."""

import asyncio
import contextlib
import time
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
from scripts.nats import nats_cluster
from scripts.postgres import postgres_server
from tests.e2e.processes import RunningCommand, until
from tests.faults.proxy import Proxy
from tests.faults.reports import Reported, address_of, meter, serve
from tests.replicas.test_failover import is_ready
from tests.replicas.test_storm import Browser, watching

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


async def _revoke(url: str, addresses: list[str]) -> None:
    """Revoke a token while a socket is open at each server; another one stays valid."""
    store = SqlStore(open_engine(url), exclusive=False)
    await store.open()
    for token in ("gone", "stays"):
        await store.add_token(TokenRow(token, "", "view", digest_of(token), time.time_ns()))

    def open_with(token: str, address: str) -> connect:
        headers = {"Authorization": f"Bearer {token}"}
        return connect(address.replace("http", "ws") + "/ws/live", additional_headers=headers)

    async def ended(socket: ClientConnection) -> int | None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                await socket.recv()
        return socket.close_code

    async with asyncio.timeout(60), contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(store.close)
        sockets: dict[str, list[ClientConnection]] = {"gone": [], "stays": []}
        for token, opened in sockets.items():
            for address in addresses:
                opened.append(await stack.enter_async_context(open_with(token, address)))
        assert await store.delete_token("gone")
        assert await asyncio.gather(*map(ended, sockets["gone"])) == [4401] * len(addresses)
        for socket in sockets["stays"]:
            await (await socket.ping())
