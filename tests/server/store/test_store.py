"""What every engine does alike."""

import asyncio
import math
from pathlib import Path

import pytest
from recis_server.access import Access, digest_of
from recis_server.errors import InvalidValue, StoreUnavailable, Unauthorised
from recis_server.store import writer
from recis_server.store.sql import SqlStore
from recis_server.store.values import Commit, EventRow, TokenRow, TraceRow

from recis.wire.messages import Event, Result
from tests.server.realserver import until
from tests.server.store.databases import engine_of
from tests.server.store.streams import frame, greeting, one_pass, opened, points, read, run

pytestmark = pytest.mark.usefixtures("every_engine")


def test_points_come_back_as_they_were_sent(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path) as store:
            stream = await store.register(greeting(), 1)
            values = [0.5, math.nan, math.inf, -math.inf]
            await store.append(frame(stream, 1, points([1, 2, 3, 4], loss=values, lr=[1.0, 2.0, 3.0, 4.0])))
            found = await read(store, "loss")
            assert [step for step, _ in found] == [1, 2, 3, 4]
            assert found[0][1] == 0.5
            assert math.isnan(found[1][1])
            assert [value for _, value in found[2:]] == [math.inf, -math.inf]
            number, slices = await store.points("r", "lr", None, 2, 4)
            assert (number, slices[0].steps.tolist(), slices[0].times.tolist()) == (1, [2, 3], [2 * 10**9, 3 * 10**9])

    run(scenario)


def test_a_repeated_frame_changes_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path) as store:
            stream = await store.register(greeting(), 1)
            first = await store.append(frame(stream, 1, points([1], loss=[1.0]), one_pass(1)))
            again = await store.append(frame(stream, 1, points([1], loss=[1.0]), one_pass(1)))
            assert (first.number, again.number, again.frames) == (1, 1, ())
            assert len(await store.passes("r", None, None, None, None)) == 1
            found = await store.run("r")
            assert found is not None
            assert found.points == 1

    run(scenario)


def test_skipped_numbers_and_drops_are_counted(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path) as store:
            stream = await store.register(greeting(), 1)
            await store.append(frame(stream, 1, dropped=2))
            await store.append(frame(stream, 5, dropped=2))
            await store.append(frame(stream, 9, dropped=7))  # skipped because dropped: said once, as points
            found = await store.run("r")
            assert found is not None
            assert (found.missing, found.dropped) == (3, 7)

    run(scenario)


def test_a_newer_attempt_wins_for_a_step(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path) as store:
            first = await store.register(greeting(), 1)
            second = await store.register(greeting(writer="w2", attempt="b"), 2)
            assert (first.attempt, second.attempt) == (1, 2)
            await store.append(frame(second, 1, points([2, 3], loss=[20.0, 30.0])))
            # The older attempt's values come late, from its spool.
            await store.append(frame(first, 1, points([1, 2, 2, 9], loss=[1.0, 1.5, 2.0, 9.0])))
            assert await read(store, "loss") == [(1, 1.0), (2, 20.0), (3, 30.0)]
            found = await store.run("r")
            assert found is not None
            assert (found.last_step, found.summary, found.attempts) == (3, {"loss": 30.0}, 2)

    run(scenario)


def test_within_an_attempt_what_arrives_later_wins(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path) as store:
            stream = await store.register(greeting(), 1)
            await store.append(frame(stream, 1, points([5, 6], loss=[1.0, 2.0])))
            await store.append(frame(stream, 2, points([3, 5], loss=[3.0, 4.0]), points([5], loss=[5.0], lr=[0.1])))
            assert await read(store, "loss") == [(3, 3.0), (5, 5.0), (6, 2.0)]

    run(scenario)


def test_metrics_span_ranks_and_count_what_is_not_finite(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path) as store:
            zero = await store.register(greeting(world_size=2), 1)
            one = await store.register(greeting(writer="w1", rank=1, world_size=2), 1)
            await asyncio.gather(
                store.append(frame(zero, 1, points([1, 2], loss=[1.0, math.nan]))),
                store.append(frame(one, 1, points([1], loss=[3.0]))),
            )
            (metric,) = await store.metrics("r")
            assert (metric.key, metric.ranks, metric.count, metric.nan_count) == ("loss", (0, 1), 3, 1)
            assert (metric.first_step, metric.last_step) == (1, 2)
            assert math.isnan(metric.last_value)
            _, slices = await store.points("r", "loss", None, None, None)
            assert [one.rank for one in slices] == [0, 1]
            found = await store.run("r")
            assert found is not None
            assert (found.ranks, found.world_size) == ((0, 1), 2)

    run(scenario)


def test_listeners_hear_commits_in_order_and_before_the_writer(tmp_path: Path) -> None:
    async def scenario() -> None:
        heard: list[int] = []
        async with opened(tmp_path) as store:
            store.subscribe(lambda commit: heard.append(commit.number))
            stream = await store.register(greeting(), 1)

            async def append(n: int) -> Commit:
                commit = await store.append(frame(stream, n, points([n], loss=[1.0])))
                assert commit.number in heard
                return commit

            for first in range(1, 31, 10):
                await asyncio.gather(*(append(n) for n in range(first, first + 10)))
            assert heard == sorted(set(heard))
            assert len(await read(store, "loss")) == 30

    run(scenario)


def test_a_frame_that_fits_no_column_leaves_the_others_of_its_batch_alone(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path) as store:
            stream = await store.register(greeting(), 1)
            other = await store.register(greeting(run="other", writer="w2"), 1)
            bad, good = await asyncio.gather(
                store.append(frame(stream, 1, points([1], loss=[1.0]), one_pass(2**63))),
                store.append(frame(other, 1, points([1], loss=[1.0]))),
                return_exceptions=True,
            )
            assert isinstance(bad, InvalidValue)
            assert isinstance(good, Commit)
            assert len(good.frames) == 1
            assert await store.metrics("r") == ()
            await store.append(frame(stream, 1, points([1], loss=[2.0])))
            assert await read(store, "loss") == [(1, 2.0)]

    run(scenario)


def test_a_frame_that_answers_a_command_is_not_held_back_for_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with opened(tmp_path) as store:
            stream = await store.register(greeting(), 1)
            monkeypatch.setattr(writer, "GATHER_S", 3600.0)
            answer = Result(command="c1", control="a", state="applied", step=1, time_ns=1, old=1, new=2)
            async with asyncio.timeout(60):
                await store.append(frame(stream, 1, points([1], loss=[1.0]), answer))
            assert await read(store, "loss") == [(1, 1.0)]

    run(scenario)


def test_everything_is_there_after_opening_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path) as store:
            stream = await store.register(greeting(), 1)
            await store.append(frame(stream, 1, points([1], loss=[1.0], lr=[2.0])))
        async with opened(tmp_path) as store:
            stream = await store.register(greeting(), 2)
            assert stream.acked == 1
            commit = await store.append(frame(stream, 2, points([2], loss=[3.0], lr=[4.0])))
            assert commit.number == 2
            assert await read(store, "loss") == [(1, 1.0), (2, 3.0)]
            keysets = await store._read(lambda db: db.execute("SELECT count(DISTINCT keyset) FROM keyset").fetchone())
            assert keysets == (1,)

    run(scenario)


def test_a_closed_store_says_so(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path) as store:
            stream = await store.register(greeting(), 1)
        with pytest.raises(StoreUnavailable):
            await store.append(frame(stream, 1))
        with pytest.raises(StoreUnavailable):
            await store.run("r")

    run(scenario)


def test_events_passes_traces_and_tokens_keep_their_order(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path) as store:
            stream = await store.register(greeting(), 1)
            event = Event(kind="alert", time_ns=5, text="Loss is NaN", level="error", step=3, data={"x": math.nan})
            await store.append(frame(stream, 1, event, one_pass(200), one_pass(100), one_pass(100, "item")))
            added = await store.add_event("r", EventRow(0, "attempt", "info", 6, None, None, "again", {}))
            events = await store.events("r")
            assert [one.kind for one in events] == ["alert", "attempt"]
            assert added.id == events[1].id > events[0].id
            assert math.isnan(events[0].data["x"])
            assert [one.kind for one in await store.events("r", 1)] == ["attempt"]
            passes = await store.passes("r", "user", 0, 100, 200)
            assert [(one.record.step, one.record.table) for one in passes] == [(100, "user")]
            assert [one.record.step for one in await store.passes("r", None, None, None, None)] == [100, 100, 200]
            for number in (1, 2):
                await store.put_trace(
                    TraceRow(f"t{number}", "r", "n", 0, 1, number, 1, "0" * 64, "ready", number, "b", {"gpu": 0.5})
                )
            assert [one.id for one in await store.traces("r")] == ["t2", "t1"]
            found = await store.trace("t1")
            assert found is not None
            assert found.summary == {"gpu": 0.5}
            await store.add_token(TokenRow("id", "name", "view", "d" * 64, 1))
            assert [one.scope for one in await store.tokens()] == ["view"]
            assert await store.delete_token("id")
            assert not await store.delete_token("id")

    run(scenario)


def test_an_export_gives_every_series_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path) as store:
            stream = await store.register(greeting(), 1)
            await store.append(frame(stream, 1, points([1, 2], loss=[1.0, 2.0], lr=[3.0, 4.0])))
            assert [one.key async for one in store.export("r", None)] == ["loss", "lr"]
            assert [one.values.tolist() async for one in store.export("r", ["lr"])] == [[3.0, 4.0]]

    run(scenario)


def test_nothing_is_added_to_a_run_that_is_gone(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path) as store:
            stream = await store.register(greeting(), 1)
            await store.append(frame(stream, 1, points([1], loss=[1.0])))
            await store.delete_run("r")
            late = TraceRow("t", "r", "n", 0, 1, 1, 1, "0" * 64, "ready", 1, "traces/t")
            with pytest.raises(StoreUnavailable, match="was deleted"):
                await store.put_trace(late)
            assert (await store.add_event("r", EventRow(0, "disconnected", "info", 1, None, 0, "", {}))).id == 0
            assert await store.events("r") == ()
            assert await store.traces("r") == ()

    run(scenario)


def test_very_many_names_are_all_told_with_what_each_rank_said(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path) as store:
            names = [f"layer/{number}" for number in range(3000)]
            for rank in (2, 0):
                row = await store.register(greeting(writer=f"w{rank}", rank=rank, world_size=3), 1)
                wide = points([1, 5 - rank], **{name: [1.0, float(rank)] for name in names})
                await store.append(frame(row, 1, wide, points([3], loss=[math.nan])))
            metrics = await store.metrics("r")
            assert [one.key for one in metrics] == [*names, "loss"]
            assert {(one.ranks, one.count, one.first_step, one.last_step, one.last_value) for one in metrics[:-1]} == {
                ((0, 2), 4, 1, 5, 0.0)
            }
            loss = metrics[-1]
            assert (loss.ranks, loss.count, loss.nan_count, loss.last_step) == ((0, 2), 2, 2, 3)
            assert math.isnan(loss.last_value)
            assert await store.metrics("nobody") == ()
            assert (await store.has_run("r"), await store.has_run("nobody")) == (True, False)

    run(scenario)


def test_a_token_that_another_process_revokes_ends_what_it_holds(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path) as store:
            access = Access(store, None)
            await access.open()
            beside = SqlStore(engine_of(tmp_path), exclusive=False)
            await beside.open()
            assert (await access.grant(["gone"])).digest is None
            for token in ("gone", "stays"):
                await beside.add_token(TokenRow(token, "", "view", digest_of(token), 1))
            ends: list[str] = []

            async def hold(token: str) -> None:
                grant = await access.require([token], "view")
                try:
                    async with access.held(grant):
                        await asyncio.Event().wait()
                except Unauthorised:
                    ends.append(token)

            holds = [asyncio.create_task(hold(token)) for token in ("gone", "stays", "gone")]
            await asyncio.sleep(0)
            await until(lambda: len(access._held) == 2)
            await beside.delete_token("gone")
            await until(lambda: len(ends) == 2)
            assert ends == ["gone", "gone"]
            assert (await access.grant(["gone"])).scopes == frozenset()
            # What is known stays while the store is away.
            await store.close()
            assert (await access.grant(["stays"])).scopes == {"view"}
            for one in holds:
                one.cancel()
            await asyncio.gather(*holds, return_exceptions=True)
            await beside.close()
            await access.close()

    run(scenario)
