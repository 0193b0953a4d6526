"""Values, controls and runs of requests that are refused, and those that are accepted."""

import math
from pathlib import Path
from typing import Any

import pytest
from recis_server.errors import InvalidValue, NotFound

from recis.wire.messages import Declare
from tests.server.control.world import (
    INTERVAL,
    World,
    run,
)


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


def test_a_text_that_is_no_unicode_is_refused(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await world.rank(controls=[Declare(control="note", type="str")])
        with pytest.raises(InvalidValue, match="Unicode"):
            await world.ask("\ud800", "note")
        assert (await world.ask("<b>🦊</b>\0", "note")).value == "<b>🦊</b>\0"

    run(tmp_path, scenario)
