"""Commits of one server, as another one that shares its store is told of them."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path

import pytest
from recis_server.live import tails as module
from recis_server.live.tails import Tails
from recis_server.store.engines.sqlite import SqliteEngine
from recis_server.store.sql import SqlStore
from recis_server.store.tables.runs import count_change
from recis_server.store.values import Commit

from recis.wire.messages import Points
from tests.server.linked import LinkedBus, linked
from tests.server.realserver import until, until_async
from tests.server.store.streams import frame, greeting, points, run


@dataclass
class Told:
    """What a server was told."""

    commits: list[Commit] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    changed: set[str] = field(default_factory=set)
    altered: list[str] = field(default_factory=list)

    def steps(self, run_id: str = "r") -> list[int]:
        """The steps of all points, in the order in which they were told."""
        return [
            int.from_bytes(record.steps, "little")
            for commit in self.commits
            for stored in commit.frames
            for record in stored.frame.records
            if stored.stream.run == run_id and isinstance(record, Points)
        ]


@dataclass
class Two:
    """A server that commits, and one that is told."""

    store: SqlStore
    near: LinkedBus
    far: LinkedBus
    tails: Tails
    told: Told
    own: Told
    followed: set[str]

    async def commit(self, n: int, run_id: str = "r") -> None:
        row = await self.store.register(greeting(run_id), 1)
        await self.store.append(frame(row, n, points([n], loss=[float(n)])))


@asynccontextmanager
async def two(folder: Path, *, has_list: bool = False) -> AsyncIterator[Two]:
    near, far = linked()
    store = SqlStore(SqliteEngine(folder / "recis.db"))
    await store.open()
    beside = SqlStore(SqliteEngine(folder / "recis.db"), exclusive=False)
    await beside.open()
    told, own, followed = Told(), Told(), set[str]()
    first, second = Tails(store, near), Tails(beside, far)
    first.subscribe(own.commits.append, own.missed.append, own.changed.update, own.altered.append)
    second.subscribe(told.commits.append, told.missed.append, told.changed.update, told.altered.append)
    await first.open(set, lambda: False)
    await second.open(lambda: set(followed), lambda: has_list)
    try:
        yield Two(store, near, far, second, told, own, followed)
    finally:
        for end in (second.close, first.close, beside.close, store.close):
            await end()


async def follow(both: Two, run_id: str = "r") -> None:
    """Follows a run, and waits until its commits are told."""
    both.followed.add(run_id)
    both.tails.follow(run_id)
    await until(lambda: both.tails._followed[run_id].version is not None)
    both.told.missed.clear()


def test_commits_of_a_followed_run_are_told_once_and_in_order(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with two(tmp_path) as both:
            await both.commit(1)
            await both.commit(1, "other")
            await follow(both)
            late: list[Callable[[], None]] = []

            def swap(subject: str, deliver: Callable[[], None]) -> None:
                """Each second message overtakes the one before it."""
                if subject.startswith("tail."):
                    late.append(deliver)
                    if len(late) == 2:
                        for one in reversed(late):
                            one()
                        late.clear()
                else:
                    deliver()

            both.near.pass_on = swap
            for n in range(2, 22):
                await both.commit(n)
            await both.commit(2, "other")
            await until(lambda: both.told.steps()[-1:] == [21])
            assert both.told.steps() == list(range(2, 22))
            assert both.told.missed == []
            assert both.told.steps("other") == []
            assert both.own.steps() == list(range(1, 22))
            stored = both.told.commits[-1].frames[0]
            assert (stored.stream.writer, stored.stream.rank, stored.received_ns) == ("w", 0, 21 * 10**9)

    run(scenario)


def test_nothing_is_sent_of_a_run_that_nobody_follows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LAST_S", 0.2)

    async def scenario() -> None:
        async with two(tmp_path) as both:
            await both.commit(1)
            assert both.near.sent == []
            await follow(both)
            await both.commit(2)
            await until(lambda: both.told.steps() == [2])
            both.followed.clear()
            await until(lambda: "r" not in both.tails._followed)
            steps = count(3)

            async def is_silent() -> bool:
                before = len(both.near.sent)
                await both.commit(next(steps))
                return len(both.near.sent) == before

            await until_async(is_silent, 30)

    run(scenario)


@pytest.mark.parametrize("lost", ["one", "all that follow"])
def test_lost_commits_are_noticed(tmp_path: Path, lost: str) -> None:
    async def scenario() -> None:
        async with two(tmp_path) as both:
            await both.commit(1)
            await follow(both)
            await both.commit(2)
            await until(lambda: both.told.steps() == [2])
            both.near.pass_on = lambda subject, deliver: None
            await both.commit(3)
            if lost == "one":
                both.near.pass_on = lambda subject, deliver: deliver()
                await both.commit(4)
            await until(lambda: both.told.missed == ["r"], 60)
            both.near.pass_on = lambda subject, deliver: deliver()
            await both.commit(5)
            await until(lambda: both.told.steps()[-1] == 5)
            assert both.told.steps() == ([2, 4, 5] if lost == "one" else [2, 5])
            assert both.told.missed == ["r"]

    run(scenario)


def test_other_changes_and_a_deletion_are_noticed_without_a_message(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with two(tmp_path) as both:
            await both.commit(1)
            await follow(both)
            await both.commit(2)
            await until(lambda: both.told.steps() == [2])
            # As a server that shares its store does with every command, trace and event.
            await both.store._writer.call(partial(count_change, run_id="r"), run="r")
            await until(lambda: both.told.altered == ["r"])
            await both.commit(3)
            await until(lambda: both.told.steps() == [2, 3])
            assert both.told.missed == []
            await both.store.delete_run("r")
            await until(lambda: both.told.missed == ["r"])
            assert both.told.altered == ["r"]

    run(scenario)


def test_a_bus_that_was_away_means_that_all_is_read_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with two(tmp_path) as both:
            await both.commit(1)
            await follow(both)
            both.far.renew()
            assert both.told.missed == ["r"]

    run(scenario)


def test_servers_that_show_lists_are_told_which_runs_change(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with two(tmp_path, has_list=True) as both:
            await until(lambda: "lists" in both.far.sent, 60)
            await both.commit(1)
            await both.commit(1, "other")
            await until(lambda: both.told.changed == {"r", "other"}, 60)

    run(scenario)
