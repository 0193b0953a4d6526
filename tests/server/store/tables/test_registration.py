from pathlib import Path
from typing import Any

import pytest
from recis_server.store.values import RunsWanted

from recis.wire.messages import Declare, Status
from tests.server.store.streams import frame, greeting, opened, points, read, run

pytestmark = pytest.mark.usefixtures("every_engine")


HOUR = 3600 * 10**9


def test_a_run_is_what_its_first_rank_said_and_gaps_are_filled(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path) as store:
            await store.register(greeting(rank=1, world_size=2, writer="w1"), 5)
            await store.register(greeting(name="mine", tags=("x",), config={"lr": 1}, world_size=2, project="other"), 6)
            found = await store.run("r")
            assert found is not None
            assert (found.project, found.name, found.tags, found.config) == ("default", "mine", ("x",), {"lr": 1})
            assert (found.created_ns, found.attempts) == (5, 1)

    run(scenario)


def test_what_a_user_changed_stays(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path) as store:
            await store.register(greeting(name="first", tags=("x",)), 1)
            changed = await store.update_run("r", name="chosen", tags=["a", "b"], notes="n")
            assert changed is not None
            assert (changed.name, changed.tags, changed.notes) == ("chosen", ("a", "b"), "n")
            await store.register(greeting(name="first", tags=("x",), attempt="b", writer="w2"), 2)
            found = await store.run("r")
            assert found is not None
            assert (found.name, found.tags, found.notes, found.attempts) == ("chosen", ("a", "b"), "n", 2)
            await store.update_run("r", name="r", tags=[], archived=True)
            await store.register(greeting(name="first", tags=("x",), attempt="c", writer="w3"), 3)
            found = await store.run("r")
            assert found is not None
            assert (found.name, found.tags, found.notes, found.archived) == ("r", (), "n", True)
            assert await store.update_run("nobody", name="x", tags=None, notes=None) is None

    run(scenario)


def test_names_of_any_kind_are_kept_and_long_ones_cut(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path) as store:
            for number, name in enumerate(("../../etc", "a\0b", "🦊" * 10, "<script>alert(1)</script>", "x" * 10_000)):
                await store.register(greeting(run=f"r{number}", name=name, project=name, tags=(name,) * 100), 1)
                found = await store.run(f"r{number}")
                assert found is not None
                kept = name.replace("\0", "\N{REPLACEMENT CHARACTER}")
                assert found.name == (kept if len(name) <= 256 else "x" * 255 + "…")
                assert found.project == found.name
                assert len(found.tags) == 64

    run(scenario)


def test_a_config_of_any_shape_is_kept(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path) as store:
            await store.register(greeting(config={"a": {1: b"x"}, "b": [float("inf")]}), 1)
            found = await store.run("r")
            assert found is not None
            assert found.config == {"a": {"1": "b'x'"}, "b": [float("inf")]}

    run(scenario)


def test_the_state_is_what_the_ranks_of_the_newest_attempt_said(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path) as store:
            zero = await store.register(greeting(world_size=2), 1)
            one = await store.register(greeting(rank=1, world_size=2, writer="w1"), 1)

            async def state() -> tuple[str, str]:
                found = await store.run("r")
                assert found is not None
                return found.state, found.message

            await store.append(frame(zero, 1, Status(state="finished", time_ns=1)))
            assert await state() == ("running", "")
            await store.append(frame(one, 1, Status(state="failed", time_ns=1, message="ValueError: no")))
            assert await state() == ("failed", "ValueError: no")
            again = await store.register(greeting(attempt="b", writer="w2"), 2)
            assert await state() == ("running", "")
            await store.append(frame(again, 1, Status(state="finished", time_ns=1)))
            assert await state() == ("finished", "")

    run(scenario)


def test_an_attempt_that_begins_after_the_servers_clock_went_back_is_the_newer_one(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path) as store:
            first = await store.register(greeting(), 10 * HOUR)
            await store.append(frame(first, 1, points([1, 2, 3], loss=[1.0, 2.0, 3.0])))
            again = await store.register(
                greeting(attempt="b", writer="w2", time_ns=HOUR, started_ns=HOUR - 10**9), 8 * HOUR
            )
            assert again.order > first.order
            await store.append(frame(again, 1, points([2], loss=[20.0]), Status(state="finished", time_ns=1)))
            found = await store.run("r")
            assert found is not None
            assert (found.attempts, found.state, found.last_step) == (2, "finished", 2)
            assert await read(store, "loss") == [(1, 1.0), (2, 20.0)]

    run(scenario)


def test_of_a_ranks_writers_the_one_that_began_last_speaks_in_whatever_order_they_come(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path) as store:
            now = await store.register(greeting(time_ns=9 * HOUR, started_ns=9 * HOUR), 9 * HOUR)
            before = await store.register(
                greeting(writer="w2", time_ns=9 * HOUR, started_ns=8 * HOUR), 9 * HOUR + 10**9
            )
            await store.append(frame(before, 1, Status(state="running", time_ns=1)))
            await store.append(frame(now, 1, Status(state="finished", time_ns=1)))
            found = await store.run("r")
            assert found is not None
            assert (found.attempts, found.state) == (1, "finished")

    run(scenario)


def test_what_a_late_spool_says_of_an_older_attempt_does_not_speak_for_the_run(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path) as store:
            declared = Declare(control="lr_scale", type="float", value=2.0)
            live = await store.register(greeting(attempt="b", time_ns=50 * HOUR, started_ns=50 * HOUR), 100 * HOUR)
            await store.append(frame(live, 1, points([5, 6], loss=[50.0, 60.0]), declared))
            # Its clock is wrong by years; what counts is that it began two hours before it greets.
            late = await store.register(
                greeting(attempt="a", writer="w2", time_ns=9000 * HOUR, started_ns=8998 * HOUR), 101 * HOUR
            )
            assert (live.attempt, live.started_ns, late.attempt, late.started_ns) == (1, 100 * HOUR, 2, 99 * HOUR)
            assert live.order > late.order
            stale = Declare(control="lr_scale", type="float", value=1.0)
            old = Declare(control="old", type="float", value=1.0)
            ended = Status(state="failed", time_ns=1, message="killed")
            await store.append(frame(late, 1, points([6, 9], loss=[6.0, 9.0]), stale, old, ended))
            assert await read(store, "loss") == [(5, 50.0), (6, 60.0)]
            found = await store.run("r")
            assert found is not None
            assert (found.state, found.message, found.attempts) == ("running", "", 2)
            assert (found.last_step, found.summary) == (6, {"loss": 60.0})
            (metric,) = await store.metrics("r")
            assert (metric.last_step, metric.last_value) == (6, 60.0)
            assert [(one.control, one.value) for one in await store.controls("r")] == [("lr_scale", 2.0)]
            # The same after a restart of the writer's connection.
            again = await store.register(greeting(attempt="a", writer="w2"), 300 * HOUR)
            assert (again.attempt, again.acked, again.started_ns) == (2, 1, 99 * HOUR)

    run(scenario)


def test_runs_are_paged_sorted_and_searched(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path) as store:
            for number in range(7):
                project = "even" if number % 2 == 0 else "odd"
                await store.register(greeting(run=f"r{number}", project=project, name=f"Name{number // 4}"), number)
            seen: list[str] = []
            cursor: str | None = None
            while True:
                page = await store.runs(RunsWanted(sort="name", limit=3, cursor=cursor))
                seen += [row.id for row in page.runs]
                cursor = page.next_cursor
                if cursor is None:
                    break
            assert seen == [f"r{number}" for number in range(7)]
            page = await store.runs(RunsWanted(project="even", text="name1"))
            assert [row.id for row in page.runs] == ["r6", "r4"]
            assert page.next_cursor is None

    run(scenario)


def test_the_size_of_a_job_is_what_its_newest_process_says_and_ranks_beyond_have_no_controls(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path) as store:
            for rank in (0, 2):
                stream = await store.register(
                    greeting(rank=rank, world_size=3, writer=f"w{rank}", time_ns=HOUR, started_ns=HOUR), HOUR
                )
                await store.append(frame(stream, 1, Declare(control="lr", type="float", value=1.0)))

            async def found() -> tuple[int, list[int]]:
                row = await store.run("r")
                assert row is not None
                return row.world_size, [one.rank for one in await store.controls("r")]

            assert await found() == (3, [0, 2])
            now = 3 * HOUR
            later: dict[str, Any] = {"time_ns": now}
            # What a smaller job has left earlier is sent when the larger one trains.
            old = greeting(world_size=1, writer="old", attempt="old", started_ns=HOUR // 2, **later)
            await store.register(old, now)
            assert await found() == (3, [0, 2])
            await store.register(greeting(world_size=2, writer="new", started_ns=2 * HOUR, **later), now)
            assert await found() == (2, [0])

    run(scenario)
