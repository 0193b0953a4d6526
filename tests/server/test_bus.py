import asyncio

import pytest
from recis_server.bus import Hint, MemoryBus, open_bus


def test_every_listener_hears_every_hint() -> None:
    bus = MemoryBus()
    first: list[Hint] = []
    second: list[Hint] = []
    bus.subscribe(first.append)
    bus.subscribe(second.append)
    bus.publish(Hint("trace", "r1", "t1"))
    assert first == second == [Hint("trace", "r1", "t1")]


async def closed_bus() -> list[Hint]:
    bus = open_bus("memory://")
    heard: list[Hint] = []
    await bus.open()
    bus.subscribe(heard.append)
    await bus.close()
    await bus.close()
    bus.publish(Hint("run", "r1"))
    return heard


def test_a_closed_bus_tells_nobody() -> None:
    assert asyncio.run(closed_bus()) == []


@pytest.mark.parametrize("url", ["nats://localhost", "", "memory", "redis://x"])
def test_another_scheme_is_refused_with_what_was_expected(url: str) -> None:
    with pytest.raises(ValueError, match=r"expected memory://") as caught:
        open_bus(url)
    assert repr(url) in str(caught.value)
