"""What both buses do alike."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from recis_server.bus import Bus, Hint, open_bus

from tests.server.realserver import until, until_async

Make = Callable[[], Bus]


@pytest.fixture(params=["memory", pytest.param("nats", marks=pytest.mark.slow)])
def make(request: pytest.FixtureRequest) -> Make:
    """Returns a bus that is not open yet; all of them are of one deployment."""
    if request.param == "memory":
        return lambda: open_bus("memory://")
    url = request.getfixturevalue("nats").url
    deployment = request.node.name.replace("[", "-").replace("]", "")
    return lambda: open_bus(url, deployment)


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(scenario(), 60))


def test_every_listener_of_a_server_hears_every_hint_of_it_once_and_at_once(make: Make) -> None:
    async def scenario() -> None:
        bus, other = make(), make()
        await bus.open()
        await other.open()
        first: list[Hint] = []
        second: list[Hint] = []
        bus.subscribe(first.append)
        bus.subscribe(second.append)
        hints = [Hint("trace", "r1", f"t{place}") for place in range(3)]
        for hint in hints:
            bus.publish(hint)
        assert first == second == hints
        if bus.has_peers:
            marker = Hint("trace", "r1", "of the other server")

            async def has_arrived() -> bool:
                other.publish(marker)
                return marker in first

            # Anything that came back would have come before this.
            await until_async(has_arrived, 30)
            assert [hint for hint in first if hint != marker] == hints
        await bus.close()
        await other.close()

    run(scenario)


def test_servers_on_one_bus_hear_each_other(make: Make) -> None:
    async def scenario() -> None:
        one, other = make(), make()
        await one.open()
        await other.open()
        heard: list[Hint] = []
        data: list[bytes] = []
        own: list[bytes] = []
        other.subscribe(heard.append)
        other.receive("tail.r", data.append)
        one.receive("tail.r", own.append)
        if one.has_peers:
            # Both subscriptions are made when a message arrives.
            async with asyncio.timeout(30):
                while not (heard and data):
                    one.publish(Hint("run", "r"))
                    one.send("tail.r", b"first")
                    await asyncio.sleep(0.01)
            first = len(data)
            hints = [Hint("command", "r", str(place)) for place in range(200)]
            for hint in hints:
                one.publish(hint)
                one.send("tail.r", hint.id.encode())
                one.send("tail.other", b"nobody listens")
            await until(lambda: heard[-1] == hints[-1] and data[-1] == b"199", 30)
            assert heard[-200:] == hints
            assert data[-200:] == [hint.id.encode() for hint in hints]
            other.ignore("tail.r")
            for _ in range(50):
                one.send("tail.r", b"late")
            one.publish(Hint("run", "end"))
            await until(lambda: heard[-1] == Hint("run", "end"), 30)
            assert b"late" not in data
            assert first <= len(data) - 200
        else:
            one.publish(Hint("run", "r"))
            one.send("tail.r", b"first")
            await asyncio.sleep(0)
            assert (heard, data) == ([], [])
        assert own == []
        await one.close()
        await other.close()

    run(scenario)


def test_a_closed_bus_tells_nobody(make: Make) -> None:
    async def scenario() -> None:
        bus = make()
        heard: list[Hint] = []
        await bus.open()
        bus.subscribe(heard.append)
        await bus.close()
        await bus.close()
        bus.publish(Hint("run", "r1"))
        bus.send("tail", b"x")
        assert heard == []

    run(scenario)
