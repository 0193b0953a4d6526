from recis_server.bus import Hint, MemoryBus
from recis_server.ingest.audience import LAST_S, MOST_FORGOTTEN, REPEAT_S, Audience


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def made() -> tuple[Audience, Clock, list[str], list[Hint]]:
    """Return an audience, its clock, the runs whose listeners were called, and the messages on the bus."""
    bus, clock = MemoryBus(), Clock()
    begun: list[str] = []
    told: list[Hint] = []
    audience = Audience(bus, monotonic=clock)
    audience.subscribe(begun.append)
    bus.subscribe(told.append)
    return audience, clock, begun, told


def test_a_look_lasts_for_a_while() -> None:
    audience, clock, begun, _ = made()
    assert not audience.is_watched("r1")
    audience.look("r1")
    assert audience.is_watched("r1")
    assert not audience.is_watched("r2")
    clock.now_s += LAST_S + 0.1
    assert not audience.is_watched("r1")
    audience.look("r1")
    assert begun == ["r1", "r1"]


def test_a_look_that_goes_on_is_told_now_and_then() -> None:
    audience, clock, begun, told = made()
    for _ in range(100):
        audience.look("r1")
        clock.now_s += REPEAT_S / 10
        assert audience.is_watched("r1")
    assert begun == ["r1"]
    assert 9 <= len(told) <= 11
    assert set(told) == {Hint("watched", "r1")}


def test_another_replica_hears_of_it() -> None:
    bus = MemoryBus()
    begun: list[str] = []
    here, there = Audience(bus), Audience(bus)
    there.subscribe(begun.append)
    here.look("r1")
    assert there.is_watched("r1")
    bus.publish(Hint("run", "r2"))
    assert begun == ["r1"]


def test_looks_of_long_ago_are_forgotten() -> None:
    audience, clock, _, _ = made()
    for number in range(3 * MOST_FORGOTTEN):
        audience.look(f"r{number}")
        clock.now_s += 1.0
    assert len(audience._until) <= MOST_FORGOTTEN + LAST_S + 1
    assert audience.is_watched(f"r{3 * MOST_FORGOTTEN - 1}")
