"""What servers know of the ranks that are connected to others."""

from collections.abc import Iterable, Mapping

import pytest
from recis_server.bus import MemoryBus
from recis_server.ingest import roster as module
from recis_server.ingest.roster import Roster

from tests.server.linked import LinkedBus, linked
from tests.server.realserver import until
from tests.server.store.streams import run

Present = dict[str, tuple[Iterable[int], str]]


async def opened(bus: LinkedBus) -> tuple[Roster, Present]:
    present: Present = {}
    roster = Roster(bus)

    def own() -> Mapping[str, tuple[Iterable[int], str]]:
        return present

    await roster.open(own)
    return roster, present


def test_servers_tell_each_other_who_joins_and_who_leaves() -> None:
    async def scenario() -> None:
        buses = linked(3)
        (first, one), (second, two), (third, _) = [await opened(bus) for bus in buses]
        heard: list[str] = []
        third.subscribe(heard.append)
        one["r"] = ((0, 1, 2, 5), "running")
        first.changed("r")
        two["r"] = ((3,), "stalled")
        two["s"] = ((0,), "stalled")
        second.changed("r")
        second.changed("s")
        await until(lambda: third.ranks("r") == {0, 1, 2, 3, 5} and third.ranks("s") == {0})
        assert set(heard) == {"r", "s"}
        assert (third.state("r"), third.state("s"), third.state("t")) == ("running", "stalled", None)
        assert third.states() == {"r": "running", "s": "stalled"}
        assert second.ranks("r") == {0, 1, 2, 5}
        del one["r"]
        first.changed("r")
        await until(lambda: third.ranks("r") == {3})
        assert third.state("r") == "stalled"
        # One that comes later asks.
        late, _ = await opened(linked_to(buses))
        await until(lambda: late.ranks("s") == {0})
        for roster in (first, second, third, late):
            await roster.close()

    run(scenario)


def linked_to(buses: list[LinkedBus]) -> LinkedBus:
    bus = LinkedBus()
    bus.peers = list(buses)
    for other in buses:
        other.peers.append(bus)
    return bus


def test_a_server_that_was_killed_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REPEAT_S", 0.05)
    monkeypatch.setattr(module, "LAST_S", 0.5)

    async def scenario() -> None:
        near, far = linked()
        (killed, present), (other, _) = await opened(near), await opened(far)
        heard: list[str] = []
        other.subscribe(heard.append)
        present["r"] = ((0,), "running")
        # Told every few seconds, although nobody said that it has changed.
        await until(lambda: other.ranks("r") == {0}, 60)
        (first,) = other._runs["r"].values()
        await until(lambda: next(iter(other._runs["r"].values())).until_s > first.until_s + module.LAST_S, 60)
        assert other.ranks("r") == {0}
        await killed.close()
        await until(lambda: "r" not in other._runs, 60)
        assert heard == ["r", "r"]
        assert other.state("r") is None
        await other.close()

    run(scenario)


def test_without_other_servers_it_is_empty() -> None:
    async def scenario() -> None:
        roster = Roster(MemoryBus())
        await roster.open(lambda: {"r": ((0,), "running")})
        roster.changed("r")
        assert roster.ranks("r") == frozenset()
        assert roster.states() == {}
        await roster.close()

    run(scenario)
