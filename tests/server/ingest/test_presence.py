import asyncio
from pathlib import Path

import msgspec
import pytest
from recis_server.ingest.presence import Presence
from recis_server.store.values import StoredFrame, StreamRow

from recis.wire.messages import Frame, FrameRecord, Hello, Status
from tests.server.realserver import Parts, hello, parts, points

SECOND = 1_000_000_000


class Clock:
    now_s = 1000.0

    def __call__(self) -> int:
        return int(self.now_s * SECOND)


async def join(server: Parts, presence: Presence, greeting: Hello) -> StreamRow:
    row = await server.store.register(greeting, 1)
    await presence.joined(row)
    return row


async def commit(server: Parts, row: StreamRow, *records: FrameRecord, n: int = 1, received_ns: int = 1) -> None:
    await server.store.append(StoredFrame(row, Frame(n=n, records=records), received_ns))


def test_ranks_are_present_from_greeting_to_end(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with parts(tmp_path) as server:
            presence = server.presence
            assert not presence.connected("r1")
            first = await join(server, presence, hello(writer="w0", world_size=2))
            second = await join(server, presence, hello(writer="w1", rank=1, world_size=2))
            assert presence.ranks("r1") == (0, 1)
            assert presence.num_ranks() == 2
            await presence.left(first, expected=True)
            assert presence.ranks("r1") == (1,)
            await presence.left(second, expected=True)
            assert not presence.connected("r1")
            assert await server.store.events("r1") == ()

    asyncio.run(scenario())


def test_where_a_rank_is_now_follows_from_its_newest_step_and_its_own_clock(tmp_path: Path) -> None:
    now_s = 1.0

    async def scenario() -> None:
        nonlocal now_s
        async with parts(tmp_path) as server:
            presence = Presence(server.store, server.bus, monotonic=lambda: now_s)
            row = await join(server, presence, hello())
            assert presence.expected_step("r1", 0) is None
            assert presence.rate("r1", 0) is None
            # One step per second by the trainer's clock, whatever the rate of the commits.
            await commit(server, row, points([1, 2, 3], loss=[1.0, 1.0, 1.0]))
            await commit(server, row, points([10, 7], loss=[1.0, 1.0]), n=2)
            assert presence.rate("r1", 0) == pytest.approx(1.0)
            assert presence.expected_step("r1", 1) is None
            # It is extrapolated between two flushes, but only for a while, because the training may have stopped.
            for seconds, step in ((0.0, 10), (0.8, 10), (1.5, 11), (60.0, 12)):
                now_s = 1.0 + seconds
                assert presence.expected_step("r1", 0) == step

    asyncio.run(scenario())


def test_a_rank_that_goes_without_a_last_word_is_an_event(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with parts(tmp_path) as server:
            row = await join(server, server.presence, hello())
            await commit(server, row, points([5], loss=[1.0]))
            await server.presence.left(row, expected=False)
            (event,) = await server.store.events("r1")
            assert (event.kind, event.level, event.rank, event.step) == ("disconnected", "warning", 0, 5)

    asyncio.run(scenario())


@pytest.mark.parametrize("state", ["finished", "failed"])
def test_a_rank_that_said_how_it_ended_goes_quietly(tmp_path: Path, state: str) -> None:
    async def scenario() -> None:
        async with parts(tmp_path) as server:
            row = await join(server, server.presence, hello())
            await commit(server, row, msgspec.convert({"t": "status", "state": state, "time_ns": 1}, Status))
            await server.presence.left(row, expected=False)
            assert await server.store.events("r1") == ()

    asyncio.run(scenario())


def test_a_rank_counts_as_present_until_its_last_connection_is_gone(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with parts(tmp_path) as server:
            old = await join(server, server.presence, hello())
            new = await join(server, server.presence, hello())
            await server.presence.left(old, expected=True)
            assert server.presence.connected("r1")
            await server.presence.left(new, expected=False)
            assert not server.presence.connected("r1")

    asyncio.run(scenario())


def test_a_later_attempt_is_one_event_however_many_ranks_it_has(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with parts(tmp_path) as server:
            presence = server.presence
            for rank in (0, 1):
                row = await join(server, presence, hello(writer=f"a{rank}", rank=rank, world_size=2))
                await presence.left(row, expected=True)
            again = [hello(writer=f"b{rank}", rank=rank, world_size=2, attempt="a2") for rank in (0, 1)]
            await asyncio.gather(*(join(server, presence, greeting) for greeting in again))
            (event,) = await server.store.events("r1")
            assert (event.kind, event.data) == ("attempt", {"attempt": 2})
            # A newly started server does not know which events exist, and reads them.
            await join(server, Presence(server.store, server.bus), again[0])
            assert len(await server.store.events("r1")) == 1

    asyncio.run(scenario())


def test_an_older_attempt_that_is_sent_late_does_not_take_the_place_of_the_one_that_runs(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with parts(tmp_path) as server:
            live = await join(server, server.presence, hello())
            await commit(server, live, points([7], loss=[1.0]))
            greeting = msgspec.structs.replace(hello(writer="w0", attempt="a0"), time_ns=10**12, started_ns=10**9)
            late = await join(server, server.presence, greeting)
            done = Status(state="finished", time_ns=1)
            await commit(server, late, points([900], loss=[1.0]), done)
            assert server.presence.expected_step("r1", 0) == 7
            await server.presence.left(late, expected=False)
            assert server.presence.ranks("r1") == (0,)
            # The event is at the beginning of the attempt, not where it was sent.
            (event,) = await server.store.events("r1")
            assert (event.kind, event.time_ns) == ("attempt", late.started_ns)
            assert late.started_ns < live.started_ns

    asyncio.run(scenario())


def test_silence_is_judged_by_connection_and_by_the_runs_own_pace(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with parts(tmp_path) as server:
            clock = Clock()
            presence = Presence(server.store, server.bus, monotonic=lambda: clock.now_s)
            row = await join(server, presence, hello())

            def state() -> str | None:
                assert presence.live_states().get("r1") == presence.live_state("r1")
                return presence.live_state("r1")

            assert state() == "running"
            clock.now_s += 61
            assert state() == "stalled"
            # One step every ten seconds: 50 of its own steps are 500 s.
            for n, step in ((1, 1), (2, 2)):
                record = points([step * 10], loss=[1.0])
                record = msgspec.structs.replace(record, steps=step.to_bytes(8, "little"))
                await commit(server, row, record, n=n)
            clock.now_s += 499
            assert state() == "running"
            # Sensors are also read in a training that hangs.
            await commit(server, row, points([2], **{"system/host/cpu_percent": [1.0]}), n=3)
            clock.now_s += 2
            assert state() == "stalled"
            await commit(server, row, points([2], **{"system/host/cpu_percent": [1.0], "loss": [1.0]}), n=4)
            assert state() == "running"
            clock.now_s += 501
            await presence.left(row, expected=True)
            assert state() is None

    asyncio.run(scenario())


def test_a_clock_that_is_set_makes_nobody_silent(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with parts(tmp_path) as server:
            clock = Clock()
            presence = Presence(server.store, server.bus, clock=clock, monotonic=lambda: 5.0)
            row = await join(server, presence, hello())
            await commit(server, row, points([1], loss=[1.0]), received_ns=clock())
            for seconds in (-86_400.0, 10 * 86_400.0):
                clock.now_s += seconds
                assert presence.live_state("r1") == "running"

    asyncio.run(scenario())


def test_a_connection_that_is_lost_again_and_again_is_one_event(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with parts(tmp_path) as server:
            clock = Clock()
            presence = Presence(server.store, server.bus, clock=clock)
            told: list[str] = []
            server.bus.subscribe(lambda hint: told.append(hint.id) if hint.topic == "events" else None)
            for _ in range(37):
                for rank in (0, 1):
                    row = await join(server, presence, hello(writer=f"w{rank}", rank=rank, world_size=2))
                    await presence.left(row, expected=False)
                clock.now_s += 2
            first, second = await server.store.events("r1")
            assert [one.rank for one in (first, second)] == [0, 1]
            assert first.text == "rank 0 lost its connection 37 times within 72 s"
            assert first.data == {"attempt": 1, "times": 37, "last": 1072.0}
            assert (first.level, first.time_ns) == ("warning", 1000 * SECOND)
            # Browsers are notified each time, of the same event.
            assert set(told) == {str(first.id), str(second.id)}
            assert len(told) == 74
            # Ten minutes later it is a new event.
            clock.now_s += 600
            row = await join(server, presence, hello(writer="w0", world_size=2))
            await presence.left(row, expected=False)
            *_, third = await server.store.events("r1")
            assert (third.text, third.data) == ("rank 0 lost its connection", {"attempt": 1})

    asyncio.run(scenario())


@pytest.mark.parametrize("attempts", [("a1", "a1"), ("a1", "a2")], ids=["of one attempt", "of two"])
def test_two_processes_that_report_as_one_rank_are_one_event(tmp_path: Path, attempts: tuple[str, str]) -> None:
    async def scenario() -> None:
        async with parts(tmp_path) as server:
            clock = Clock()
            greetings = [
                msgspec.structs.replace(
                    hello(writer=f"w{n}", rank=3, world_size=4, attempt=attempt),
                    host=f"host-{n}",
                    pid=n,
                    time_ns=n * SECOND,
                )
                for n, attempt in enumerate(attempts, 1)
            ]

            async def talk(presence: Presence) -> None:
                rows = []
                for greeting in greetings:
                    clock.now_s = greeting.pid
                    rows.append(await server.store.register(greeting, clock()))
                    await presence.joined(rows[-1], greeting)
                for n in (1, 2):
                    await commit(server, rows[0], points([n + 10**6], loss=[1.0]), n=rows[0].acked + n)
                await presence.close()
                for row in rows:
                    await presence.left(row, expected=True)

            await talk(Presence(server.store, server.bus, clock=clock))
            event, *attempt = sorted(await server.store.events("r1"), key=lambda event: event.kind == "attempt")
            assert len(attempt) == len(set(attempts)) - 1
            assert (event.kind, event.level, event.rank) == ("rank_conflict", "warning", 3)
            assert event.text.endswith("process 1 on host-1 and process 2 on host-2")
            assert event.data == {"attempt": 1, "writers": ["w1", "w2"]}
            # A server that was started since finds the event.
            await talk(Presence(server.store, server.bus, clock=clock))
            assert len(await server.store.events("r1")) == len(set(attempts))

    asyncio.run(scenario())
