"""What only a bus between servers can do: go away, come back, and fill up."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from nats.errors import AuthorizationError
from recis_server.bus import Hint
from recis_server.bus import nats as module
from recis_server.bus.nats import NatsBus
from recis_server.errors import StoreError

from scripts.nats import NatsServer, nats_cluster, nats_server
from scripts.ports import free_port
from tests.server.realserver import until

pytestmark = [pytest.mark.slow, pytest.mark.waits]


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(scenario(), 60))


async def heard_by(bus: NatsBus, other: NatsBus, run_id: str) -> None:
    """Waits until what one bus publishes is heard by the other."""
    heard: list[Hint] = []
    other.subscribe(heard.append)
    async with asyncio.timeout(50):
        while Hint("run", run_id) not in heard:
            bus.publish(Hint("run", run_id))
            await asyncio.sleep(0.02)


def test_servers_of_another_deployment_are_not_heard(nats: NatsServer) -> None:
    async def scenario() -> None:
        one, same, foreign = (NatsBus(nats.url, name) for name in ("a", "a", "b"))
        for bus in (one, same, foreign):
            await bus.open()
        heard: list[Hint] = []
        foreign.subscribe(heard.append)
        await heard_by(one, same, "r")
        await heard_by(foreign, foreign, "own")
        assert heard == [Hint("run", "own")]
        for bus in (one, same, foreign):
            await bus.close()

    run(scenario)


def test_a_bus_that_goes_away_comes_back_and_everybody_reads_again(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        with nats_server() as server:
            one, other = NatsBus(server.url, "d"), NatsBus(server.url, "d")
            renewed: list[str] = []
            for bus, name in ((one, "one"), (other, "other")):
                await bus.open()
                bus.subscribe_renewed(lambda name=name: renewed.append(name))  # type: ignore[misc]
            await heard_by(one, other, "first")
            server.stop()
            await until(lambda: not one.counts()["connected"] and not other.counts()["connected"], 30)
            before = one.counts()["dropped"]
            for _ in range(10):
                one.publish(Hint("run", "lost"))
            assert one.counts()["dropped"] == before + 10
            server.start()
            await until(lambda: set(renewed) == {"one", "other"}, 30)
            # The subscriptions are there again.
            await heard_by(one, other, "second")
            assert one.counts()["reconnects"] == 1
            await one.close()
            await other.close()

    run(scenario)
    assert "the bus is unavailable (NATS at 127.0.0.1:" in caplog.text


def test_a_node_of_a_cluster_may_end() -> None:
    async def scenario() -> None:
        with nats_cluster(2) as servers:
            hosts = ",".join(server.url.removeprefix("nats://") for server in servers)
            one, other = NatsBus(f"nats://{hosts}", "d"), NatsBus(f"nats://{hosts}", "d")
            await one.open()
            await other.open()
            await heard_by(one, other, "first")
            servers[0].stop()
            await heard_by(one, other, "second")
            await heard_by(other, one, "third")
            await one.close()
            await other.close()

    run(scenario)


def test_what_does_not_fit_is_dropped_and_counted(nats: NatsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 100)

    async def scenario() -> None:
        bus = NatsBus(nats.url, "d")
        await bus.open()
        bus.send("tail", bytes(2 << 20))
        assert bus.counts()["dropped"] == 1
        for _ in range(150):
            bus.send("tail", b"x")
        assert bus.counts()["dropped"] >= 51
        await until(lambda: bus.counts()["sent"] + bus.counts()["dropped"] == 151, 30)
        await bus.close()

    run(scenario)


def test_a_message_that_is_none_is_counted_and_harms_nobody(nats: NatsServer) -> None:
    async def scenario() -> None:
        one, other = NatsBus(nats.url, "m"), NatsBus(nats.url, "m")
        await one.open()
        await other.open()
        await heard_by(one, other, "first")
        one.send("hints", b"\xff\xff nonsense")
        await until(lambda: other.counts()["malformed"] == 1, 30)
        await heard_by(one, other, "second")
        await one.close()
        await other.close()

    run(scenario)


def test_the_reason_of_a_server_is_not_hidden_by_the_end_of_its_connection() -> None:
    async def scenario() -> None:
        bus = NatsBus("nats://127.0.0.1:1", "d")
        for error in (ConnectionRefusedError("no"), AuthorizationError(), ConnectionResetError("reset")):
            await bus._on_error(error)
        assert "uthorization" in bus._last_error

    run(scenario)


def test_a_bus_that_cannot_be_reached_is_one_line_without_the_password() -> None:
    async def scenario() -> None:
        away = NatsBus(f"nats://user:secret@127.0.0.1:{free_port()}", "d")
        with pytest.raises(StoreError, match=r"--bus: expected a NATS server .* NATS at 127.0.0.1:\d+: ") as caught:
            await away.open()
        assert "secret" not in caught.value.message
        with nats_server("--user", "me", "--pass", "right") as server:
            host = server.url.removeprefix("nats://")
            wrong = NatsBus(f"nats://me:secret@{host}", "d")
            with pytest.raises(StoreError, match=r"accepts this login, .*Authorization") as caught:
                await wrong.open()
            assert "secret" not in caught.value.message
            right = NatsBus(f"nats://me:right@{host}", "d")
            await right.open()
            await right.close()

    run(scenario)
