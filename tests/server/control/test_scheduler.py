"""The step at which all ranks of a run apply a command."""

import asyncio
from pathlib import Path

import pytest
from recis_server.control import liverun
from recis_server.control.service import LOOK_S
from recis_server.errors import InvalidValue

from recis.wire.messages import Declare, Schedule
from tests.server.control.world import (
    INTERVAL,
    PLAN,
    World,
    pair,
    run,
    told_all,
)
from tests.server.realserver import points, until_async


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


def test_a_command_is_on_hold_until_every_rank_has_it_and_then_at_one_step(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        ranks = await pair(world)
        row = await world.ask(200)
        assert [(one.commands[-1].hold, one.commands[-1].apply_at_step) for one in ranks] == [(True, None)] * 2
        await ranks[0].see(row.id, 47)
        await asyncio.sleep(0)
        assert ranks[0].schedules == []
        await ranks[1].see(row.id, 45)
        await until_async(lambda: told_all(ranks))
        assert ranks[0].schedules == ranks[1].schedules
        (schedule,) = ranks[0].schedules
        assert schedule.command == row.id
        assert schedule.apply_at_step is not None
        assert schedule.apply_at_step >= 49
        known = await world.parts.store.command("r1", row.id)
        assert known is not None
        assert (known.state, known.apply_at_step) == ("delivered", schedule.apply_at_step)

    run(tmp_path, scenario)


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
        await until_async(lambda: told_all(ranks))
        assert ranks[0].schedules == ranks[1].schedules

        # Ranks that report no steps are not waited for any longer than that.
        monkeypatch.setattr(liverun, "RATE_S", 0.0)
        silent = [await world.rank(number, world_size=2, features=PLAN, attempt="a2") for number in (0, 1)]
        row = await world.ask(300)
        for rank in silent:
            await rank.see(row.id, 3)
        await until_async(lambda: told_all(silent))

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
        await until_async(lambda: told_all(ranks))
        third = await world.ask(400)
        for rank in ranks:
            rank.schedules.clear()
            await rank.see(third.id, 40)  # a rank that is mistaken
        await until_async(lambda: told_all(ranks))
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
