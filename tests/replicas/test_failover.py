"""The primary of the database fails, and its standby is promoted: servers, trainings and browsers go on."""

import asyncio
import signal
import urllib.error
from pathlib import Path

import pytest
from recis_server.errors import StoreUnavailable
from recis_server.store.engines.postgres import PostgresEngine
from recis_server.store.sql import SqlStore

import recis.monitor
from scripts.postgres import postgres_server
from tests.e2e.processes import get_json, until
from tests.faults.reports import Reported
from tests.replicas.deployment import deployment
from tests.replicas.test_storm import Browser, watching
from tests.server.store.streams import frame, greeting, points, read

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

NUM_SERVERS = 2


def is_ready(address: str) -> bool:
    try:
        get_json(f"{address}/readyz")
    except urllib.error.HTTPError:
        return False
    return True


@pytest.mark.usefixtures("impatient")
def test_nothing_is_lost_or_doubled_and_everybody_goes_on(tmp_path: Path) -> None:
    with deployment(tmp_path, NUM_SERVERS, has_standby=True) as servers:
        assert servers.standby is not None
        reported = Reported(recis.monitor.init(servers.proxy.address, run_id="one", spool_dir=str(tmp_path / "spool")))
        browsers = [Browser(address, "one") for address in servers.addresses]

        def drawn() -> bool:
            return all(browser.last() == reported.num_rows - 1 for browser in browsers)

        reported.log(20)
        with watching(browsers):
            until(drawn, 60, "all is drawn")
            for _ in range(20):  # some of these are on their way when the primary fails
                reported.log(5)
            servers.postgres.stop(signal.SIGQUIT)
            reported.log(20)
            until(lambda: not any(map(is_ready, servers.addresses)), 60, "no server is ready")
            servers.standby.promote()
            until(lambda: all(map(is_ready, servers.addresses)), 60, "all servers are ready")
            reported.log(20)
            assert reported.run.finish(timeout_s=120.0)
            until(drawn, 60, "all is drawn")
            for browser in browsers:
                until(lambda b=browser: b.num_points() == reported.num_rows, 60, "each is drawn once")  # type: ignore[misc]
        for address in servers.addresses:
            reported.check(address)


def test_a_sole_server_goes_on_and_leaves_a_database_that_is_read_only() -> None:
    with postgres_server(durable=True) as primary, postgres_server(durable=True, primary=primary) as standby:
        url = primary.make_database()
        primary.wait_for_standby()
        engine = PostgresEngine(url.replace("127.0.0.1:", f"127.0.0.1:{standby.port},127.0.0.1:"))

        async def scenario() -> None:
            store = SqlStore(engine)
            await store.open()
            row = await store.register(greeting(), 1)

            async def written(number: int) -> bool:
                try:
                    await store.append(frame(row, number, points([number], loss=[float(number)])))
                except StoreUnavailable:
                    await asyncio.sleep(0.1)
                    return False
                return True

            async def write(number: int) -> None:
                async with asyncio.timeout(60):
                    while not await written(number):
                        pass

            await write(1)
            await asyncio.to_thread(primary.set_read_only, True)
            assert not await written(2)
            await asyncio.to_thread(primary.set_read_only, False)
            await write(2)
            await asyncio.to_thread(primary.stop, signal.SIGQUIT)
            assert not await written(3)
            await asyncio.to_thread(standby.promote)
            await write(3)
            assert await read(store, "loss") == [(1, 1.0), (2, 2.0), (3, 3.0)]
            await store.close()

        asyncio.run(scenario())
