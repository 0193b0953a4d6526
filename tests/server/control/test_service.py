import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from recis_server.bus import Hint
from recis_server.control.liverun import AWAY_S, MAX_OPEN, START_S
from recis_server.errors import Conflict, InvalidValue, NotConnected, NotFound

from recis.wire.messages import Command, Hello, Result, Seen
from tests.server.control.world import (
    INTERVAL,
    PLAN,
    Rank,
    World,
    new_service,
    run,
    told_all,
)
from tests.server.realserver import hello, points, serving, trainer, until, until_async


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
        await until_async(lambda: told_all(ranks))
        await ranks[0].answer(ranks[0].commands[0], 60, state)
        for rank in ranks:
            await rank.leave()
        if restarts:
            await world.commands.close()
            world.commands = new_service(world.parts, world.clock)
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
