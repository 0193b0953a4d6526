"""The values that a process receives when it starts."""

from pathlib import Path

import pytest
from recis_server.control import liverun
from recis_server.errors import InvalidValue, NotFound
from recis_server.query.shapes import controls_shape
from recis_server.store.values import CommandRow

from recis.wire.messages import Command, Declare, Result
from tests.server.control.world import INTERVAL, PLAN, Rank, World, fields_of, has_command, pair, run
from tests.server.realserver import hello, until_async


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
        await third.report(Result(**{**fields_of(result), "command": "again-forged"}))
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
                await until_async(lambda rank=rank: has_command(rank, row.id))  # type: ignore[misc]
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
