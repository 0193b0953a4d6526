"""The list of runs against one that is counted by hand, while runs come, report, are edited and go."""

import asyncio
import base64
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import pytest
from msgspec import structs
from recis_server.errors import InvalidValue
from recis_server.store.sql import SqlStore
from recis_server.store.tables.runs import MAX_PAGE_CHARS
from recis_server.store.values import RunRow, RunsWanted, StreamRow

from recis.wire.messages import Hello, Status
from tests.server.store.streams import SECOND, frame, greeting, opened, points, run

pytestmark = pytest.mark.usefixtures("every_engine")

HOUR = 3600 * SECOND
NAMES = ("100%", "50_50", "Étude", "night run", "100x", "", "学习率", "back\\slash")
TAGS = ("baseline", "a%b", "学习", "É")
TEXTS = ("100%", "50_", "étude", "run night", "ÉTUDE baseline", "%", "_", "学习", "nobody", "r1", "\\", "  ")
KEYS = ("loss", "lr", "table/user/rows")
VALUES = (0.5, -1e300, math.nan, math.inf, -math.inf, 7.0)
SORTS = ("created_at", "updated_at", "name", "project", "last_step")


def same(row: RunRow) -> RunRow:
    return row


@dataclass
class Truth:
    """One run as it must be listed; `rows` are (attempt's place, step, rank, arrival, key, value)."""

    project: str
    name: str
    tags: tuple[str, ...]
    created_ns: int
    attempts: list[tuple[int, str]] = field(default_factory=list)
    streams: dict[str, StreamRow] = field(default_factory=dict)
    sent: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    states: dict[str, Literal["running", "finished", "failed"]] = field(default_factory=dict)
    rows: list[tuple[str, int, int, int, str, float]] = field(default_factory=list)

    def place(self, attempt: str) -> int:
        began = {name: (began_ns, number) for number, (began_ns, name) in enumerate(self.attempts)}
        return sorted(began, key=lambda name: began[name]).index(attempt)

    def summary(self, keys: tuple[str, ...] | None) -> dict[str, float]:
        newest: dict[str, tuple[tuple[int, ...], float]] = {}
        for attempt, step, rank, arrival, key, value in self.rows:
            place = (self.place(attempt), step, -rank, arrival)
            if (keys is None or key in keys) and (key not in newest or place > newest[key][0]):
                newest[key] = (place, value)
        return {key: value for key, (_, value) in sorted(newest.items())}

    def last_step(self) -> int | None:
        newest = max(((self.place(row[0]), row[1]) for row in self.rows), default=None)
        return None if newest is None else newest[1]


class World:
    """A store and what must be in it; every change is made by chance."""

    def __init__(self, store: SqlStore, seed: int) -> None:
        self.store = store
        self.chance = random.Random(seed)
        self.truth: dict[str, Truth] = {}
        self.arrivals = 0
        self.known: dict[tuple[str, ...] | None, dict[str, RunRow]] = {}

    async def greet(self) -> None:
        chance = self.chance
        self.arrivals += 1
        name = f"r{chance.randrange(12)}"
        attempt, rank = chance.choice("abc"), chance.randrange(3)
        received_ns = 1000 * HOUR + self.arrivals // 4  # several have the same time
        began_ns = received_ns - chance.randrange(3) * HOUR
        hello = greeting(
            name,
            f"{attempt}{rank}",
            attempt,
            rank=rank,
            project=chance.choice(("p", "q")),
            name=chance.choice(NAMES),
            tags=tuple(chance.sample(TAGS, chance.randrange(3))),
            time_ns=received_ns,
            started_ns=began_ns,
        )
        stream = await self.store.register(hello, received_ns)
        one = self.truth.setdefault(name, Truth(hello.project, hello.name or name, hello.tags, received_ns))
        if hello.writer in one.streams:
            return
        self._fill_in(name, one, hello)
        if attempt not in [known for _, known in one.attempts]:
            one.attempts.append((began_ns, attempt))
        one.streams[hello.writer] = stream
        one.states[hello.writer] = "running"

    def _fill_in(self, name: str, one: Truth, hello: Hello) -> None:
        one.name = (hello.name or name) if one.name == name else one.name
        one.tags = one.tags or hello.tags

    def _writer(self) -> tuple[Truth, str, StreamRow] | None:
        if not self.truth:
            return None
        one = self.truth[self.chance.choice(sorted(self.truth))]
        writer = self.chance.choice(sorted(one.streams))
        return one, writer, one.streams[writer]

    async def report(self) -> None:
        found = self._writer()
        if found is None:
            return
        one, writer, stream = found
        chance = self.chance
        records = []
        for _ in range(chance.randrange(1, 3)):
            keys = chance.sample(KEYS, chance.randrange(1, 4))
            steps = [chance.randrange(-3, 12) for _ in range(chance.randrange(1, 4))]
            columns = {key: [chance.choice(VALUES) for _ in steps] for key in keys}
            records.append(points(steps, **columns))
            for place, step in enumerate(steps):
                self.arrivals += 1
                attempt = writer[0]
                one.rows += [(attempt, step, stream.rank, self.arrivals, key, columns[key][place]) for key in keys]
        one.sent[writer] = one.sent.get(writer, 0) + 1
        one.dropped[writer] = one.dropped.get(writer, 0) + chance.randrange(2)
        stored = frame(stream, one.sent[writer], *records, dropped=one.dropped[writer])
        # A clock that stands still or goes back must not hide a change.
        await self.store.append(structs.replace(stored, received_ns=chance.randrange(3)))

    async def edit(self) -> None:
        if not self.truth:
            return
        run_id = self.chance.choice(sorted(self.truth))
        one = self.truth[run_id]
        one.name = self.chance.choice([name for name in NAMES if name])
        one.tags = tuple(self.chance.sample(TAGS, 1))
        await self.store.update_run(run_id, name=one.name, tags=one.tags, notes=None)

    async def end(self) -> None:
        found = self._writer()
        if found is None:
            return
        one, writer, stream = found
        one.sent[writer] = one.sent.get(writer, 0) + 1
        one.states[writer] = self.chance.choice(("finished", "failed", "running"))
        await self.store.append(frame(stream, one.sent[writer], Status(state=one.states[writer], time_ns=1)))

    async def delete(self) -> None:
        if self.truth and self.chance.random() < 0.3:
            run_id = self.chance.choice(sorted(self.truth))
            del self.truth[run_id]
            await self.store.delete_run(run_id)

    # --- what is read

    async def check(self) -> None:
        chance = self.chance
        keys = chance.choice((None, ("loss",), ("lr", "loss"), ()))
        wanted = RunsWanted(
            project=chance.choice((None, "p")),
            text=chance.choice((None, *TEXTS)),
            sort=chance.choice(("", "-")) + chance.choice(SORTS),
            limit=chance.choice((1, 2, 5, 100)),
            keys=keys,
        )
        known = self.known.setdefault(keys, {})
        listed: list[RunRow] = []
        while True:
            page = await self.store.runs_anew(wanted, known, same)
            assert repr(page) == repr(await self.store.runs(wanted))
            assert len(page.runs) == wanted.limit or page.next_cursor is None
            known.update({row.id: row for row in page.runs})
            listed += page.runs
            if page.next_cursor is None:
                break
            wanted = replace(wanted, cursor=page.next_cursor)
        wanted = replace(wanted, cursor=None)
        assert {row.id for row in listed} == {name for name in self.truth if self._is_wanted(name, wanted)}
        assert [row.id for row in listed] == [row.id for row in self._in_order(listed, wanted.sort)]
        for row in listed:
            self._compare(row, keys)

    def _is_wanted(self, name: str, wanted: RunsWanted) -> bool:
        one = self.truth[name]
        text = "\n".join((name, one.project, one.name, *one.tags)).casefold()
        words = (wanted.text or "").casefold().split()
        return wanted.project in (None, one.project) and all(word in text for word in words)

    def _in_order(self, rows: list[RunRow], sort: str) -> list[RunRow]:
        value: dict[str, Callable[[RunRow], Any]] = {
            "created_at": lambda row: row.created_ns,
            "updated_at": lambda row: row.updated_ns,
            "name": lambda row: row.name.encode(),
            "project": lambda row: row.project,
            "last_step": lambda row: -1 if row.last_step is None else row.last_step,
        }
        by = value[sort.removeprefix("-")]
        return sorted(rows, key=lambda row: (by(row), row.id), reverse=sort.startswith("-"))

    def _compare(self, row: RunRow, keys: tuple[str, ...] | None) -> None:
        one = self.truth[row.id]
        newest = max(one.streams.values(), key=lambda stream: stream.order).attempt
        states = {one.states[writer] for writer, stream in one.streams.items() if stream.attempt == newest}
        state = "failed" if "failed" in states else "running" if "running" in states else "finished"
        expected = (
            (one.project, one.name, one.tags, one.created_ns, state),
            tuple(sorted({stream.rank for stream in one.streams.values()})),
            (len(one.attempts), len(one.rows), sum(one.dropped.values()), one.last_step()),
            one.summary(keys),
        )
        listed = (
            (row.project, row.name, row.tags, row.created_ns, row.state),
            row.ranks,
            (row.attempts, row.points, row.dropped, row.last_step),
            row.summary,
        )
        assert repr(listed) == repr(expected)


@pytest.mark.parametrize("seed", range(4))
def test_lists_are_what_is_counted_by_hand(tmp_path: Path, seed: int) -> None:
    async def scenario() -> None:
        async with opened(tmp_path) as store:
            world = World(store, seed)
            changes = (world.greet, world.greet, world.report, world.report, world.report, world.edit, world.end)
            for _ in range(60):
                for change in world.chance.choices((*changes, world.delete), k=3):
                    await change()
                for _ in range(3):
                    await world.check()

    run(scenario)


def test_only_what_has_changed_is_read_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path) as store:
            streams = [await store.register(greeting(f"r{number}", f"w{number}"), number + 1) for number in range(9)]
            shown: list[str] = []

            def show(row: RunRow) -> RunRow:
                shown.append(row.id)
                return row

            known: dict[str, RunRow] = {}
            for turn, changed in enumerate((range(9), (), (3,), (4, 8)), 1):
                for number in changed:
                    await store.append(frame(streams[number], turn, points([turn], loss=[0.5])))
                shown.clear()
                page = await store.runs_anew(RunsWanted(sort="name"), known, show)
                assert shown == [f"r{number}" for number in changed]
                assert repr(page) == repr(await store.runs(RunsWanted(sort="name")))
                known.update({row.id: row for row in page.runs})

    run(scenario)


@pytest.mark.slow
def test_a_page_is_the_state_after_one_commit_whatever_others_read_meanwhile(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path) as store:
            first, second = [await store.register(greeting(name, name), 1) for name in ("first", "second")]
            known: dict[str, RunRow] = {}
            ended = asyncio.Event()
            acknowledged = 0

            async def read() -> int:
                pages = 0
                while not ended.is_set():
                    least = acknowledged
                    page = await store.runs_anew(RunsWanted(sort="name"), known, same)
                    one, other = (row.last_step or 0 for row in page.runs)
                    assert one in (other, other + 1)
                    assert other >= least, "older than what was acknowledged before"
                    known.update({row.id: row for row in page.runs})
                    pages += 1
                return pages

            readers = [asyncio.create_task(read()) for _ in range(3)]
            for step in range(1, 41):
                for stream in (first, second):
                    await store.append(frame(stream, step, points([step], loss=[0.5])))
                acknowledged = step
            ended.set()
            assert all(await asyncio.gather(*readers))

    run(scenario)


@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "",
        "bm90IGpzb24",
        base64.urlsafe_b64encode(b'["name", "a"]').decode(),
        base64.urlsafe_b64encode(b'["name", 1, "a"]').decode(),
        base64.urlsafe_b64encode(b'["-name", "a", "a"]').decode(),
        base64.urlsafe_b64encode(b"[" * 100_000).decode(),
    ],
)
def test_a_cursor_of_something_else_is_refused(tmp_path: Path, cursor: str) -> None:
    async def scenario() -> None:
        async with opened(tmp_path) as store:
            with pytest.raises(InvalidValue):
                await store.runs(RunsWanted(sort="name", cursor=cursor))

    run(scenario)


def test_a_cursor_beyond_what_is_stored_is_refused(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path) as store:
            for place in ("true", str(2**63), "1.5", "null"):
                cursor = base64.urlsafe_b64encode(f'["last_step", {place}, "a"]'.encode()).decode()
                with pytest.raises(InvalidValue):
                    await store.runs(RunsWanted(sort="last_step", cursor=cursor))

    run(scenario)


def test_what_is_too_much_for_one_page_comes_with_the_next(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path) as store:
            # Read in pieces of 512 at most: the second piece is more than a page may read.
            config = {"notes": "x" * (MAX_PAGE_CHARS // 512)}
            for number in range(520):
                await store.register(greeting(f"r{number:03d}", "w", config=config), 1)
            page = await store.runs(RunsWanted(sort="name", limit=1000))
            assert page.next_cursor is not None
            rest = await store.runs(RunsWanted(sort="name", limit=1000, cursor=page.next_cursor))
            assert rest.next_cursor is None
            assert [row.id for row in page.runs + rest.runs] == [f"r{number:03d}" for number in range(520)]
            assert len(page.runs) == 512

    run(scenario)
