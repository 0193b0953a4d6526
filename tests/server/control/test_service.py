import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from recis_server.bus import Hint
from recis_server.control import liverun
from recis_server.control.liverun import AWAY_S, MAX_OPEN, START_S, RankConnection
from recis_server.control.service import LOOK_S, CommandService
from recis_server.errors import Conflict, InvalidValue, NotConnected, NotFound
from recis_server.query.shapes import controls_shape
from recis_server.store.values import CommandRow, StoredFrame, StreamRow

from recis.wire.messages import Command, Declare, Frame, FrameRecord, Hello, Result, Schedule, Seen
from tests.server.realserver import Parts, hello, parts, points, serving, trainer, until, until_async

SECOND = 1_000_000_000
INTERVAL = Declare(control="filter_interval", type="int", value=100, step=0, minimum=1, nullable=True, unit="steps")


class Clock:
    now_s = 1_000_000.0
    ahead_s = 0.0
    """Of the real monotonic clock."""

    def __call__(self) -> int:
        return int(self.now_s * SECOND)

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead_s


@dataclass
class Rank:
    """A training process without its connection."""

    server: "World"
    row: StreamRow
    commands: list[Command] = field(default_factory=list)
    schedules: list[Schedule] = field(default_factory=list)
    connection: RankConnection | None = None
    n: int = 0
    features: tuple[str, ...] = ()

    def take(self, record: Command | Schedule) -> None:
        if isinstance(record, Command):
            self.commands.append(record)
        else:
            self.schedules.append(record)

    async def attach(self) -> None:
        await self.server.parts.presence.joined(self.row)
        greeting = Hello(run="r1", writer=self.row.writer, attempt="a", features=self.features)
        given = await self.server.commands.greeting(self.row, greeting)
        self.commands.extend(given)
        self.connection = await self.server.commands.attach(self.row, greeting, self.take, given)

    async def see(self, command: str, step: int | None = None) -> None:
        assert self.connection is not None
        await self.server.commands.seen(self.connection, Seen(command=command, step=step))

    async def leave(self) -> None:
        assert self.connection is not None
        self.server.commands.detach(self.connection)
        await self.server.parts.presence.left(self.row, expected=True)

    async def report(self, *records: FrameRecord) -> None:
        self.n += 1
        await self.server.parts.store.append(StoredFrame(self.row, Frame(n=self.n, records=records), time.time_ns()))

    async def answer(self, command: Command, step: int, state: Any = "applied", message: str = "") -> None:
        new = command.value if state == "applied" else 100
        result = Result(
            command=command.id,
            control=command.control,
            state=state,
            step=step,
            time_ns=step * SECOND,
            old=100,
            new=new,
            message=message,
        )
        await self.report(result)


@dataclass
class World:
    """A commands with a clock of its own beside the other parts."""

    parts: Parts
    commands: CommandService
    clock: Clock
    hints: list[Hint]

    async def rank(
        self,
        number: int = 0,
        *,
        world_size: int = 1,
        attempt: str = "a1",
        controls: Any = (INTERVAL,),
        features: tuple[str, ...] = (),
        process: str = "w",
    ) -> Rank:
        greeting = hello(writer=f"{attempt}-{process}{number}", attempt=attempt, rank=number, world_size=world_size)
        one = Rank(self, await self.parts.store.register(greeting, 1), features=features)
        await one.attach()
        await one.report(*controls)
        return one

    async def ask(self, value: Any = 200, control: str = "filter_interval", **options: Any) -> CommandRow:
        return await self.commands.request("r1", {control: value}, actor="ann", **options)

    async def state(self, command: str, state: str) -> CommandRow:
        """Waits until the command is in `state`, as the commands has followed it."""

        async def look() -> CommandRow | None:
            row = await self.parts.store.command("r1", command)
            return row if row is not None and row.state == state else None

        return await until_async(look)


@asynccontextmanager
async def world(folder: Path) -> AsyncIterator[World]:
    async with parts(folder) as made:
        await made.commands.close()
        clock = Clock()
        hints: list[Hint] = []
        made.bus.subscribe(hints.append)
        opened = World(made, _service(made, clock), clock, hints)
        await opened.commands.open()
        try:
            yield opened
        finally:
            await opened.commands.close()


def _service(made: Parts, clock: Clock) -> CommandService:
    return CommandService(made.store, made.presence, made.bus, clock=clock, monotonic=clock.monotonic)


def run(folder: Path, scenario: Callable[[World], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        async with world(folder) as made:
            await scenario(made)

    asyncio.run(main())


def test_a_command_goes_to_the_rank_and_into_the_ledger(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        rank = await world.rank()
        row = await world.ask(200, reason="too much memory")
        assert (row.state, row.value, row.requested_by, row.apply_at_step) == ("pending", 200, "ann", None)
        assert rank.commands == [
            Command(
                id=row.id, control="filter_interval", value=200, requested_by="ann", reason="too much memory", seq=1
            )
        ]
        assert await world.parts.store.command("r1", row.id) == row
        assert Hint("command", "r1", row.id) in world.hints

    run(tmp_path, scenario)


def test_what_a_request_reads_is_read_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(world: World) -> None:
        await world.rank()
        store, reads, together = world.parts.store, set[str](), asyncio.Event()

        def meeting(name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
            read = getattr(store, name)

            async def meet(*arguments: str) -> Any:
                reads.add(name)
                if len(reads) == 3:
                    together.set()
                async with asyncio.timeout(30):
                    await together.wait()
                return await read(*arguments)

            return meet

        for name in ("run", "controls", "command"):
            monkeypatch.setattr(store, name, meeting(name))
        await world.ask(200)
        monkeypatch.undo()

    run(tmp_path, scenario)


def test_a_command_is_delivered_when_seen_and_applied_when_answered_with_one_event(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        rank = await world.rank()
        row = await world.ask(200, reason="why not")
        await rank.see(row.id)
        assert (await world.state(row.id, "delivered")).ranks[0].state == "delivered"
        await rank.answer(rank.commands[0], step=41)
        done = await world.state(row.id, "applied")
        assert (done.ranks[0].old, done.ranks[0].new, done.ranks[0].step) == (100, 200, 41)
        (event,) = await until_async(lambda: world.parts.store.events("r1"))
        assert (event.kind, event.step, event.rank, event.text) == ("control", 41, 0, "filter_interval: 100 → 200")
        assert event.data == {
            "command": row.id,
            "control": "filter_interval",
            "old": 100,
            "new": 200,
            "by": "ann",
            "reason": "why not",
            "ranks": {"0": 41},
        }
        async with asyncio.timeout(10):
            while Hint("events", "r1") not in world.hints:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    run(tmp_path, scenario)


def test_a_rejected_command_says_why_and_is_no_event(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        rank = await world.rank()
        row = await world.ask(200)
        world.hints.clear()
        await rank.answer(rank.commands[0], step=41, state="rejected", message="not now")
        assert (await world.state(row.id, "rejected")).ranks[0].message == "not now"

        async def told() -> bool:
            return Hint("command", "r1", row.id) in world.hints

        await until_async(told)
        assert await world.parts.store.events("r1") == ()

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0, "at least 1"),
        (-1, "at least 1"),
        (1.5, "an integer"),
        (True, "an integer"),
        ("x", "an integer"),
        (math.nan, "an integer"),
        ([1], "an integer"),
        (10**30, "64 bits"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_and_nothing_is_stored(tmp_path: Path, value: Any, said: str) -> None:
    async def scenario(world: World) -> None:
        rank = await world.rank()
        with pytest.raises(InvalidValue) as caught:
            await world.ask(value)
        assert caught.value.field == "value"
        assert said in caught.value.message
        assert rank.commands == []
        assert await world.parts.store.commands("r1") == ()

    run(tmp_path, scenario)


@pytest.mark.parametrize("value", [math.nan, math.inf, "1", True, None, 10**400, 2.5])
def test_a_float_takes_finite_numbers_within_its_bounds(tmp_path: Path, value: Any) -> None:
    async def scenario(world: World) -> None:
        await world.rank(controls=[Declare(control="lr_scale", type="float", value=1.0, minimum=0, maximum=2)])
        with pytest.raises(InvalidValue, match=r"^lr_scale: expected"):
            await world.ask(value, "lr_scale")
        assert (await world.ask(2, "lr_scale")).value == 2.0

    run(tmp_path, scenario)


def test_none_is_taken_only_where_it_was_offered(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await world.rank(controls=[INTERVAL, Declare(control="log_step", type="int", value=1, minimum=1)])
        assert (await world.ask(None)).value is None
        with pytest.raises(InvalidValue, match="got null"):
            await world.ask(None, "log_step")

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    "value", [{"active": 0}, {"active": 101}, {"active": True}, {"x": 1}, 3, {"ranks": []}, {"ranks": [7]}]
)
def test_a_capture_takes_steps_and_ranks_that_there_are(tmp_path: Path, value: Any) -> None:
    async def scenario(world: World) -> None:
        await world.rank(controls=[Declare(control="profile", type="profile")])
        with pytest.raises(InvalidValue):
            await world.ask(value, "profile")

    run(tmp_path, scenario)


def test_a_capture_goes_to_the_ranks_that_it_names(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        profile = Declare(control="profile", type="profile")
        ranks = [await world.rank(number, world_size=3, controls=[profile]) for number in range(3)]
        row = await world.ask({"active": 3, "ranks": [1]}, "profile")
        assert list(row.ranks) == [1]
        assert row.apply_at_step is None
        assert [len(rank.commands) for rank in ranks] == [0, 1, 0]

    run(tmp_path, scenario)


def test_an_unknown_run_or_control_is_not_found(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        with pytest.raises(NotFound, match="no run r1"):
            await world.ask()
        await world.rank()
        with pytest.raises(NotFound, match=r"no control 'nope'; expected one of \['filter_interval'\]"):
            await world.ask(1, "nope")

    run(tmp_path, scenario)


def test_several_ranks_get_a_step_that_none_of_them_has_reached(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        ranks = [await world.rank(number, world_size=2) for number in (0, 1)]
        assert (await world.ask(5)).apply_at_step == 2
        # One step a second, the fastest at step 40: a flush and a delivery later it is at most at 42.
        await ranks[0].report(points([10, 40], loss=[1.0, 1.0]))
        await ranks[0].report(points([41], loss=[1.0]))
        await ranks[1].report(points([30], loss=[1.0]))
        row = await world.ask(7)
        assert row.apply_at_step == 43
        assert ranks[0].commands[-1] == ranks[1].commands[-1]
        await ranks[0].answer(ranks[0].commands[-1], step=43)
        assert (await world.parts.store.command("r1", row.id)).state == "delivered"  # type: ignore[union-attr]
        assert await world.parts.store.events("r1") == ()
        await ranks[1].answer(ranks[1].commands[-1], step=44)
        await world.state(row.id, "applied")
        (event,) = await until_async(lambda: world.parts.store.events("r1"))
        assert (event.step, event.rank, event.data["ranks"]) == (44, None, {"0": 43, "1": 44})

    run(tmp_path, scenario)


def test_the_same_id_is_the_same_command_and_another_ones_id_is_a_conflict(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        rank = await world.rank()
        first = await world.ask(200, command_id="mine")
        assert await world.ask(200, command_id="mine") == first
        assert len(rank.commands) == 1
        with pytest.raises(Conflict, match="mine"):
            await world.ask(300, command_id="mine")
        with pytest.raises(InvalidValue, match="letters"):
            await world.ask(200, command_id="../x")

    run(tmp_path, scenario)


def test_a_command_for_a_run_that_is_away_waits_unless_it_must_not(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        rank = await world.rank()
        await rank.leave()
        with pytest.raises(NotConnected):
            await world.ask(200, queue=False)
        assert await world.parts.store.commands("r1") == ()
        row = await world.ask(200)
        again = Rank(world, await world.parts.store.register(hello(writer="a1-w0"), 1))
        await again.attach()
        assert [command.id for command in again.commands] == [row.id]

    run(tmp_path, scenario)


def test_a_command_that_was_not_answered_is_offered_again_on_the_next_connection(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        rank = await world.rank()
        row = await world.ask(200)
        await rank.see(row.id)
        await rank.leave()
        again = Rank(world, await world.parts.store.register(hello(writer="a1-w0"), 1), n=1)
        await again.attach()
        assert [command.id for command in again.commands] == [row.id]
        await again.answer(again.commands[0], step=3)

        # The store knows of the answer a moment earlier.
        await until(lambda: row.id not in world.commands._runs["r1"].open)
        await again.leave()
        last = Rank(world, await world.parts.store.register(hello(writer="a1-w0"), 1))
        await last.attach()
        assert last.commands == []

    run(tmp_path, scenario)


def test_a_new_process_gets_a_command_when_it_has_declared_the_control(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        rank = await world.rank()
        await rank.leave()
        row = await world.ask(200)
        fresh = Rank(world, await world.parts.store.register(hello(writer="a2-w0", attempt="a2"), 1))
        await fresh.attach()
        assert fresh.commands == []
        await fresh.report(INTERVAL)
        assert [command.id for command in fresh.commands] == [row.id]

    run(tmp_path, scenario)


def test_a_new_attempt_is_offered_the_value_that_was_applied_last(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        rank = await world.rank()
        row = await world.ask(200)
        await rank.answer(rank.commands[0], step=3)
        await world.state(row.id, "applied")
        await rank.leave()
        second = await world.rank(attempt="a2")

        async def offered() -> list[Command]:
            return second.commands

        (command,) = await until_async(offered)
        assert (command.value, command.requested_by) == (200, "ann")
        assert command.reason == "restored on rank 0"
        # Said once: the value that the code sets later on its own is left alone.
        await second.answer(command, step=1)
        await world.state(command.id, "applied")
        await second.report(Declare(control="filter_interval", type="int", value=50, minimum=1))
        await world.ask(60)
        assert [command.value for command in second.commands] == [200, 60]

    run(tmp_path, scenario)


def test_a_new_attempt_that_has_the_value_already_is_left_alone(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        rank = await world.rank()
        row = await world.ask(100)
        await rank.answer(rank.commands[0], step=3)
        await world.state(row.id, "applied")
        await rank.leave()
        second = await world.rank(attempt="a2")
        marker = await world.ask(300)
        assert [command.id for command in second.commands] == [marker.id]

    run(tmp_path, scenario)


def test_nobody_answers_a_connected_run_expires_and_one_that_is_away_waits_longer(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        rank = await world.rank()
        here = await world.ask(200)
        world.clock.now_s += 599
        await world.commands.expire_due()
        assert (await world.commands.commands("r1"))[0].state == "pending"
        world.clock.now_s += 2
        await world.commands.expire_due()
        assert (await world.commands.commands("r1"))[0].state == "expired"
        # A late answer still counts: it says what the rank really did.
        await rank.answer(rank.commands[0], step=9)
        await world.state(here.id, "applied")
        await until_async(lambda: world.parts.store.events("r1"))
        await rank.leave()
        away = await world.ask(300)
        world.clock.now_s += 6 * 86_400
        assert (await world.commands.commands("r1"))[-1].state == "pending"
        world.clock.now_s += 2 * 86_400
        assert (await world.commands.commands("r1"))[-1] == await world.state(away.id, "expired")

    run(tmp_path, scenario)


def test_too_many_open_commands_are_refused(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await world.rank()
        for value in range(1, MAX_OPEN + 1):
            await world.ask(value)
        with pytest.raises(Conflict, match=str(MAX_OPEN)):
            await world.ask(5)

    run(tmp_path, scenario)


def test_a_command_reaches_a_training_process_over_its_connection_and_its_answer_comes_back(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path) as server, trainer(server) as one:
            await one.report(INTERVAL)
            row = await server.commands.request("r1", {"filter_interval": 7}, actor="ann")
            command = await one.receive()
            assert command == Command(id=row.id, control="filter_interval", value=7, requested_by="ann", seq=1)
            await one.send(Seen(command=row.id))
            await one.report(
                Result(command=row.id, control="filter_interval", state="applied", step=4, time_ns=1, old=100, new=7)
            )

            async def applied() -> bool:
                (known,) = await server.commands.commands("r1")
                return known.state == "applied"

            await until_async(applied)
            (control,) = await server.store.controls("r1")
            assert (control.value, control.step) == (7, 4)

    asyncio.run(main())


def test_a_text_that_is_no_unicode_is_refused(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await world.rank(controls=[Declare(control="note", type="str")])
        with pytest.raises(InvalidValue, match="Unicode"):
            await world.ask("\ud800", "note")
        assert (await world.ask("<b>🦊</b>\0", "note")).value == "<b>🦊</b>\0"

    run(tmp_path, scenario)


PLAN = ("schedule",)


async def pair(world: World, **more: Any) -> list[Rank]:
    """Two ranks that understand commands on hold."""
    ranks = [await world.rank(number, world_size=2, features=PLAN, **more) for number in (0, 1)]
    for rank in ranks:
        # One step a second, at step 40.
        await rank.report(points([30, 40], loss=[1.0, 1.0]))
    return ranks


def test_a_command_is_on_hold_until_every_rank_has_it_and_then_at_one_step(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        ranks = await pair(world)
        row = await world.ask(200)
        assert [(one.commands[-1].hold, one.commands[-1].apply_at_step) for one in ranks] == [(True, None)] * 2
        await ranks[0].see(row.id, 47)
        await asyncio.sleep(0)
        assert ranks[0].schedules == []
        await ranks[1].see(row.id, 45)
        await until_async(lambda: _told(ranks))
        assert ranks[0].schedules == ranks[1].schedules
        (schedule,) = ranks[0].schedules
        assert schedule.command == row.id
        assert schedule.apply_at_step is not None
        assert schedule.apply_at_step >= 49
        known = await world.parts.store.command("r1", row.id)
        assert known is not None
        assert (known.state, known.apply_at_step) == ("delivered", schedule.apply_at_step)

    run(tmp_path, scenario)


@pytest.mark.parametrize("state", ["applied", "rejected"])
@pytest.mark.parametrize("restarts", [False, True])
def test_a_command_is_settled_without_ranks_that_were_killed_with_it(
    tmp_path: Path, state: str, restarts: bool
) -> None:
    async def scenario(world: World) -> None:
        ranks = [await world.rank(number, world_size=2, features=PLAN) for number in (0, 1)]
        row = await world.ask(200)
        for rank in ranks:
            await rank.report(points([39, 40], loss=[0.5, 0.5]))
            await rank.see(row.id, 40)
        await until_async(lambda: _told(ranks))
        await ranks[0].answer(ranks[0].commands[0], 60, state)
        for rank in ranks:
            await rank.leave()
        if restarts:
            await world.commands.close()
            world.commands = _service(world.parts, world.clock)
            await world.commands.open()
        # The periodic check for runs without connections, before the ranks count as away.
        await world.commands.expire_due()
        await world.commands._look()
        assert (await world.state(row.id, "delivered")).ranks[0].state == state
        world.clock.ahead_s += (START_S if restarts else AWAY_S) + 1
        settled = await world.state(row.id, state)
        assert settled.ranks[1].state == "delivered"
        events = await world.parts.store.events("r1")
        assert [event.kind for event in events] == (["control"] if state == "applied" else [])
        # The part of the other rank is open until it is back, or for as long as commands wait.
        await world.commands.expire_due()
        world.clock.now_s += 8 * 86_400
        await world.commands.expire_due()
        known = await world.parts.store.command("r1", row.id)
        assert known is not None
        assert (known.state, known.ranks[1].state) == (state, "expired")

    run(tmp_path, scenario)


def test_an_open_command_of_a_deleted_run_is_not_given_to_another_run_of_its_name(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        rank = await world.rank()
        await rank.leave()
        await world.ask(200)
        await world.commands.expire_due()
        await world.parts.store.delete_run("r1")
        world.parts.bus.publish(Hint("deleted", "r1"))
        again = await world.rank(attempt="a2")
        await again.report(INTERVAL)
        assert again.commands == []

    run(tmp_path, scenario)


async def _told(ranks: list[Rank]) -> bool:
    return all(rank.schedules for rank in ranks)


def test_a_command_waits_for_ranks_that_are_about_to_declare_its_control(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(world: World) -> None:
        first = await world.rank(0, world_size=2, features=PLAN)
        await first.report(points([0, 1], loss=[1.0, 1.0]))
        asked = asyncio.create_task(world.ask(200))
        await asyncio.sleep(0.2)  # nothing may come of it
        assert not asked.done()
        second = await world.rank(1, world_size=2, features=PLAN, controls=())
        await asyncio.sleep(0.2)
        assert not asked.done()
        await second.report(INTERVAL)
        assert list((await asked).ranks) == [0, 1]

        # A rank that trains without it, and one that does not come, are not waited for.
        other = await world.rank(0, attempt="a2", world_size=3, features=PLAN)
        monkeypatch.setattr(liverun, "DECLARE_S", 0.1)
        assert list((await world.ask(300)).ranks) == [0, 1]
        assert other.commands

    run(tmp_path, scenario)


def test_ranks_that_have_just_started_are_waited_for_until_their_rate_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(liverun, "RATE_S", 60.0)

    async def scenario(world: World) -> None:
        ranks = [await world.rank(number, world_size=2, features=PLAN) for number in (0, 1)]
        row = await world.ask(200)
        for rank in ranks:
            await rank.see(row.id, 3)
        await ranks[0].report(points([0, 100], loss=[1.0, 1.0]))
        await asyncio.sleep(2 * LOOK_S)  # nothing may come of it
        assert ranks[0].schedules == ranks[1].schedules == []
        await ranks[1].report(points([0, 100], loss=[1.0, 1.0]))
        await until_async(lambda: _told(ranks))
        assert ranks[0].schedules == ranks[1].schedules

        # Ranks that report no steps are not waited for any longer than that.
        monkeypatch.setattr(liverun, "RATE_S", 0.0)
        silent = [await world.rank(number, world_size=2, features=PLAN, attempt="a2") for number in (0, 1)]
        row = await world.ask(300)
        for rank in silent:
            await rank.see(row.id, 3)
        await until_async(lambda: _told(silent))

    run(tmp_path, scenario)


def test_a_newer_command_takes_the_place_of_one_without_a_step_and_never_comes_before_one_with(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        ranks = await pair(world)
        first, second = await world.ask(200), await world.ask(300)
        known = await world.parts.store.command("r1", first.id)
        assert known is not None
        assert (known.state, known.superseded_by) == ("superseded", second.id)
        assert [one.schedules for one in ranks] == [[Schedule(command=first.id, withdrawn=True)]] * 2
        for rank in ranks:
            rank.schedules.clear()
            await rank.see(second.id, 1000)
        await until_async(lambda: _told(ranks))
        third = await world.ask(400)
        for rank in ranks:
            rank.schedules.clear()
            await rank.see(third.id, 40)  # a rank that is mistaken
        await until_async(lambda: _told(ranks))
        known = await world.parts.store.command("r1", second.id)
        assert known is not None
        assert known.apply_at_step is not None
        assert ranks[0].schedules[0].apply_at_step is not None
        assert ranks[0].schedules[0].apply_at_step >= known.apply_at_step >= 1002

    run(tmp_path, scenario)


def test_ranks_of_an_older_version_get_a_step_at_once(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        new = await world.rank(0, world_size=2, features=PLAN)
        old = await world.rank(1, world_size=2, controls=(INTERVAL, Declare(control="log_step", type="int", value=1)))
        await world.ask(200)
        assert [one.commands[-1].hold for one in (new, old)] == [False, False]
        assert new.commands[-1].apply_at_step == old.commands[-1].apply_at_step == 2
        with pytest.raises(InvalidValue, match="same ranks"):
            await world.commands.request("r1", {"filter_interval": 5, "log_step": 6}, actor="ann")

    run(tmp_path, scenario)


def test_a_process_that_starts_gets_what_its_rank_is_to_have_with_the_greeting(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        rank = await world.rank(features=PLAN)
        row = await world.ask(200, reason="less")
        await rank.answer(rank.commands[-1], step=5)
        await world.state(row.id, "applied")
        await rank.leave()
        open_one = await world.ask(300)
        second = await world.rank(features=PLAN, process="x")
        assert [(one.id, one.value, one.restores) for one in second.commands] == [(open_one.id, 300, "")]
        await second.answer(second.commands[0], step=0)
        await world.state(open_one.id, "applied")
        await second.leave()
        third = await world.rank(features=PLAN, process="y")
        (command,) = third.commands
        assert (command.value, command.restores) == (300, open_one.id)
        result = Result(
            command=command.id,
            control="filter_interval",
            state="applied",
            step=0,
            time_ns=1,
            old=100,
            new=300,
            restores=open_one.id,
        )
        await third.report(result)
        restored = await world.state(command.id, "applied")
        assert (restored.reason, restored.requested_by) == ("restored on rank 0 in attempt 1", "ann")
        # Nobody else's answer makes a line in the ledger.
        await third.report(Result(**{**_fields(result), "command": "again-forged"}))
        assert await world.parts.store.command("r1", "again-forged") is None

    run(tmp_path, scenario)


def test_a_rank_that_joins_a_grown_job_gets_what_all_others_are_to_have(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        async def differing() -> list[int]:
            (one,) = controls_shape(await world.parts.store.controls("r1"))
            return list(one["differs"])

        async def change(ranks: list[Rank], value: int) -> CommandRow:
            row = await world.ask(value)
            for rank in ranks:
                await until_async(lambda rank=rank: _has(rank, row.id))  # type: ignore[misc]
                await rank.answer(rank.commands[-1], step=50)
            return await world.state(row.id, "applied")

        first = await change(await pair(world), 200)
        joined = await world.rank(2, world_size=3, features=PLAN)
        (command,) = joined.commands
        assert (command.value, command.restores, command.requested_by) == (200, first.id, "ann")
        assert await differing() == [2]
        result = Result(command.id, "filter_interval", "applied", 0, 1, 100, 200, restores=first.id)
        await joined.report(result)
        assert (await world.state(command.id, "applied")).reason == "restored on rank 2 in attempt 1"
        assert await differing() == []

        # A smaller job is given another value meanwhile: the rank is to have that one when it is back.
        second = await change(await pair(world, attempt="a2"), 300)
        assert list(second.ranks) == [0, 1]
        assert await differing() == []
        again = await world.rank(2, world_size=3, features=PLAN, attempt="a3")
        assert [(one.value, one.restores) for one in again.commands] == [(300, second.id)]

        # Where the others differ there is no value to give.
        third = await world.ask(400)
        for rank, state in ((0, "applied"), (1, "rejected")):
            stream = await world.rank(rank, world_size=3, features=PLAN, attempt="a3")
            await stream.answer(next(one for one in stream.commands if one.value == 400), step=1, state=state)
        assert [one.value for one in (await world.rank(3, world_size=4, features=PLAN, attempt="a4")).commands] == []
        assert third.ranks.keys() == {0, 1, 2}

    run(tmp_path, scenario)


async def _has(rank: Rank, command: str) -> bool:
    return rank.commands[-1].id == command


def test_a_rank_gets_what_was_set_between_its_greeting_and_its_declaration(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await pair(world)
        late = await world.rank(2, world_size=3, features=PLAN, controls=())
        world.clock.ahead_s = liverun.STARTUP_S  # the command does not wait for its declaration any longer
        row = await world.ask(200)
        assert (list(row.ranks), late.commands) == ([0, 1], [])
        await late.report(INTERVAL)

        async def given() -> list[Command]:
            return late.commands

        (command,) = await until_async(given)
        assert (command.value, command.requested_by, command.reason) == (200, "ann", "restored on rank 2")
        await late.answer(command, step=0)
        assert (await world.state(command.id, "applied")).ranks.keys() == {2}

    run(tmp_path, scenario)


def _fields(result: Result) -> dict[str, Any]:
    return {name: getattr(result, name) for name in result.__struct_fields__}


def test_an_action_is_not_for_the_process_that_comes_after(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        stop = Declare(control="stop", type="action")
        rank = await world.rank(controls=[stop], features=PLAN)
        row = await world.ask(None, "stop")
        await rank.leave()
        again = await world.rank(controls=[stop], features=PLAN, process="x")
        assert again.commands == []
        ended = await world.state(row.id, "expired")
        assert "has ended" in ended.ranks[0].message
        with pytest.raises(InvalidValue, match="null or true"):
            await world.ask(3, "stop")
        with pytest.raises((InvalidValue, NotFound)):
            await world.commands.request("r1", {"stop": None, "filter_interval": 5}, actor="ann")

    run(tmp_path, scenario)


def test_a_command_is_taken_back_by_another_one(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        rank = await world.rank()
        row = await world.ask(200)
        with pytest.raises(Conflict, match="taken effect"):
            await world.commands.revert("r1", row.id, actor="bob")
        await rank.answer(rank.commands[0], step=3)
        await world.state(row.id, "applied")
        back = await world.commands.revert("r1", row.id, actor="bob")
        assert (back.value, back.requested_by, back.reverts, back.reason) == (100, "bob", row.id, f"reverts {row.id}")
        with pytest.raises(NotFound):
            await world.commands.revert("r1", "nobody", actor="bob")

    run(tmp_path, scenario)


def test_what_another_process_has_left_follows_no_commands(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        rank = await world.rank()
        await rank.leave()
        row = await world.parts.store.register(hello(writer="a1-w0"), 1)
        replay = Hello(run="r1", writer="a1-w0", attempt="a", features=("replay",))
        assert await world.commands.attach(row, replay, rank.take) is None
        with pytest.raises(NotConnected):
            await world.ask(200, queue=False)

    run(tmp_path, scenario)
