from pathlib import Path
from typing import Literal

import pytest
from recis_server.store.values import CommandRow, RankResult

from recis.wire.messages import Declare, Result
from tests.server.store.streams import frame, greeting, opened, run

pytestmark = pytest.mark.usefixtures("every_engine")


def command(name: str = "c1", value: int = 200) -> CommandRow:
    ranks = {0: RankResult("pending"), 1: RankResult("pending")}
    return CommandRow(name, "r", "filter_interval", value, "pending", "control", 5, "why", 12, ranks)


def result(state: Literal["applied", "rejected"], new: int, step: int) -> Result:
    return Result(
        command="c1",
        control="filter_interval",
        state=state,
        step=step,
        time_ns=9,
        old=100,
        new=new,
        message="m",
    )


def declared(value: int) -> Declare:
    return Declare(control="filter_interval", type="int", value=value, step=1, minimum=1, nullable=True, unit="steps")


def test_a_command_goes_from_pending_to_applied(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path) as store:
            zero = await store.register(greeting(world_size=2), 1)
            one = await store.register(greeting(rank=1, world_size=2, writer="w1"), 1)
            await store.append(frame(zero, 1, declared(100)))
            await store.append(frame(one, 1, declared(100)))
            assert await store.runs_with_open_commands() == ()
            assert await store.add_command(command(), "control") == command()
            assert await store.runs_with_open_commands() == ("r",)
            delivered = await store.command_delivered("r", "c1", 0)
            assert delivered is not None
            assert (delivered.state, delivered.ranks[0].state, delivered.ranks[1].state) == (
                "delivered",
                "delivered",
                "pending",
            )
            await store.append(frame(zero, 2, result("applied", 200, 12)))
            found = await store.command("r", "c1")
            assert found is not None
            assert found.state == "delivered"
            await store.append(frame(one, 2, result("applied", 200, 13)))
            found = await store.command("r", "c1")
            assert found is not None
            assert found.state == "applied"
            assert found.ranks[1] == RankResult("applied", 100, 200, 13, 9, "m")
            assert await store.runs_with_open_commands() == ()
            assert [(row.rank, row.value, row.step) for row in await store.controls("r")] == [
                (0, 200, 12),
                (1, 200, 13),
            ]

    run(scenario)


def test_a_known_id_is_the_same_command(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path) as store:
            await store.register(greeting(), 1)
            await store.add_command(command(), "control")
            assert (await store.add_command(command(value=300), "control")).value == 200
            assert len(await store.commands("r")) == 1
            assert await store.command("other", "c1") is None

    run(scenario)


def test_one_refusal_refuses_the_command(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path) as store:
            zero = await store.register(greeting(world_size=2), 1)
            one = await store.register(greeting(rank=1, world_size=2, writer="w1"), 1)
            await store.add_command(command(), "control")
            await store.append(frame(zero, 1, result("applied", 200, 12)))
            await store.append(frame(one, 1, result("rejected", 100, 12)))
            found = await store.command("r", "c1")
            assert found is not None
            assert found.state == "rejected"

    run(scenario)


@pytest.mark.parametrize("state", ["applied", "rejected"])
def test_a_command_is_settled_without_ranks_that_are_away_and_their_parts_stay_open(
    tmp_path: Path, state: Literal["applied", "rejected"]
) -> None:
    async def scenario() -> None:
        async with opened(tmp_path) as store:
            zero = await store.register(greeting(world_size=2), 1)
            await store.add_command(command(), "control")
            waiting = await store.conclude_command("r", "c1", (0, 1))
            assert waiting is not None
            assert waiting.state == "pending"
            await store.append(frame(zero, 1, result(state, 200, 12)))
            for away, expected in (((0,), "delivered"), ((1,), state)):
                found = await store.conclude_command("r", "c1", away)
                assert found is not None
                assert (found.state, found.ranks[1].state) == (expected, "pending")
            assert await store.runs_with_open_commands() == ("r",)
            assert len(await store.events("r")) == (state == "applied")

    run(scenario)


def test_an_open_command_can_expire_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path) as store:
            await store.register(greeting(), 1)
            await store.add_command(command(), "control")
            expired = await store.expire_command("r", "c1")
            assert expired is not None
            assert expired.state == "expired"
            assert await store.expire_command("r", "c1") is None
            assert await store.expire_command("r", "nobody") is None
            assert await store.command_delivered("r", "nobody", 0) is None

    run(scenario)


def test_every_change_has_its_audit_row(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path) as store:
            zero = await store.register(greeting(), 1)
            await store.append(frame(zero, 1, declared(100)))
            await store.add_command(command(), "anna")
            await store.command_delivered("r", "c1", 0)
            await store.append(frame(zero, 2, result("applied", 200, 12)))
            await store.expire_command("r", "c1")
            rows = await store._read(
                lambda db: db.execute("SELECT actor, action, before FROM audit ORDER BY id").fetchall()
            )
            assert [(actor, action) for actor, action, _ in rows] == [
                ("anna", "requested"),
                ("rank 0", "delivered"),
                ("rank 0", "applied"),
                ("server", "expired"),
            ]
            assert rows[0][2] == '{"0":100}'

    run(scenario)


def test_a_result_for_another_runs_command_is_not_believed(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path) as store:
            await store.register(greeting(), 1)
            stranger = await store.register(greeting(run="other", writer="x"), 1)
            await store.add_command(command(), "control")
            await store.append(frame(stranger, 1, result("applied", 200, 12)))
            found = await store.command("r", "c1")
            assert found is not None
            assert found.state == "pending"

    run(scenario)
