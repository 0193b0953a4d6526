import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recis_server.errors import NotFound, StoreUnavailable
from recis_server.live import channel as channel_module
from recis_server.live import channels as module
from recis_server.live import chart as chart_module
from recis_server.live.channels import Channels
from recis_server.live.chart import View
from recis_server.live.viewer import Viewer
from recis_server.query.charts import read_chart
from recis_server.store.points import compaction
from recis_server.store.upkeep.retention import Retention
from recis_server.store.values import Buckets, ChartRead, StoredFrame, StreamRow

from recis.wire.messages import Frame, Points
from tests.effort import examples
from tests.server.live.page import COLUMNS, Browser, Page
from tests.server.realserver import Parts, hello, parts, points, until
from tests.server.store.test_exact import keep_all

LOSS = View("r1", ("loss",), 0, None, None, 400)


@dataclass(eq=False)
class Watching:
    """Channels over a real store, sent only when a test says so, and the browsers that watch."""

    server: Parts
    browsers: dict[Viewer, Browser] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.runs: set[str] = set()
        self.channels = Channels(self.server.store, self.runs.add, self.send)
        self.server.store.subscribe(self.channels.on_commit)

    async def send(self, viewers: Iterable[Viewer]) -> None:
        for viewer in tuple(viewers):
            viewer.flush()

    def join(self, *views: View, first_id: int = 1) -> Viewer:
        browser = Browser()
        viewer = Viewer(browser, lambda _: None)
        self.browsers[viewer] = browser
        for watch_id, view in enumerate(views, first_id):
            self.channels.subscribe(viewer, watch_id, view)
        return viewer

    async def round(self) -> None:
        """Work out what changed, send it, and wait for the snapshots that are missing."""
        for run in tuple(self.runs):
            self.runs.discard(run)
            for _ in self.channels.step(run):
                pass
        await self.send(self.browsers)
        while self.channels._reads:
            await asyncio.gather(*self.channels._reads.values())

    async def settle(self) -> None:
        for _ in range(10):
            await self.round()
            if not self.runs:
                return
        raise AssertionError("channels without new commits come to rest")

    def page(self, viewer: Viewer, watch_id: int = 1) -> Page:
        return self.browsers[viewer].pages[watch_id]


async def report(server: Parts, stream: StreamRow, n: int, *records: Points) -> None:
    await server.store.append(StoredFrame(stream, Frame(n=n, records=records), 1))


async def expected(server: Parts, view: View) -> dict[tuple[str | int | None, ...], Buckets]:
    rank: Any = "all" if view.rank is None else view.rank
    chart = await read_chart(
        server.store, view.run, view.keys, rank, view.start, view.stop, view.points, superseded=view.superseded
    )
    return {
        (series.key, series.rank, *([series.attempt] if series.superseded else [])): series.buckets
        for series in chart.series
        if len(series.buckets)
    }


def assert_same(page: Page, wanted: dict[tuple[str | int | None, ...], Buckets]) -> None:
    assert set(page.series) == set(wanted)
    for name, buckets in wanted.items():
        found = page.series[name]  # type: ignore[index]
        columns = np.array(sorted(found.values())).T
        for column, known, said in zip(COLUMNS, buckets.columns(), columns, strict=True):
            # Sums are made in another order; everything else is the same to the last bit.
            tolerance = 1e-7 if column == "mean" else 0.0
            np.testing.assert_allclose(said, known, rtol=0, atol=tolerance, err_msg=f"{name} {column}")


def test_a_chart_is_worked_out_once_for_all_who_watch_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with parts(tmp_path) as server:
            stream = await server.store.register(hello(), 1)
            await report(server, stream, 1, points([1, 2], loss=[1.0, 2.0], qps=[3.0, 4.0]))
            watching = Watching(server)
            both = [watching.join(LOSS, LOSS._replace(keys=("qps",)), first_id=place) for place in range(20)]
            own = watching.join(LOSS._replace(start=2, stop=50))
            await watching.settle()
            assert (len(watching.channels), watching.channels.num_watches) == (3, 41)
            assert (watching.channels.num_snapshots, watching.channels.num_changes) == (3, 0)
            for step in range(3, 8):
                await report(server, stream, step, points([step], loss=[1.0], qps=[2.0]))
                await watching.settle()
            late = watching.join(LOSS, first_id=77)
            await watching.settle()
            assert watching.channels.num_snapshots == 3, "the one at hand, and the changes since then"
            assert watching.channels.num_changes == 3 * 5
            for place, viewer in enumerate(both):
                assert watching.page(viewer, place).series == watching.page(both[0], 0).series
                assert watching.page(viewer, place).num_snapshots == 1
                watching.channels.unsubscribe(viewer, place)
                watching.channels.unsubscribe(viewer, place + 1)
            assert watching.page(late, 77).series == watching.page(both[0], 0).series
            assert_same(watching.page(own), await expected(server, LOSS._replace(start=2, stop=50)))
            watching.channels.unsubscribe(late, 77)
            watching.channels.unsubscribe(own, 1)
            assert (len(watching.channels), watching.channels.is_watched("r1")) == (0, False)

    asyncio.run(scenario())


def test_one_who_does_not_read_gets_a_snapshot_and_delays_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel_module, "MAX_LOG", 4)

    async def scenario() -> None:
        async with parts(tmp_path) as server:
            stream = await server.store.register(hello(), 1)
            await report(server, stream, 1, points([1], loss=[1.0]))
            watching = Watching(server)
            reads, stalled, pauses = (watching.join(LOSS) for _ in range(3))
            await watching.settle()
            watching.browsers[stalled].is_reading = False
            for step in range(2, 12):
                watching.browsers[pauses].is_reading = step % 3 == 0
                await report(server, stream, step, points([step], loss=[float(step)]))
                await watching.settle()
                assert len(watching.page(reads).series["loss", 0]) == step
            assert len(watching.page(stalled).series["loss", 0]) == 1
            watching.browsers[stalled].is_reading = watching.browsers[pauses].is_reading = True
            await watching.settle()
            for viewer in (reads, stalled, pauses):
                assert_same(watching.page(viewer), await expected(server, LOSS))
            counts = [watching.page(viewer).num_snapshots for viewer in (reads, pauses, stalled)]
            assert counts == [1, 1, 2]

    asyncio.run(scenario())


def test_a_chart_that_cannot_be_read_is_one_error_for_each_who_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with parts(tmp_path) as server:
            await server.store.register(hello(), 1)
            watching = Watching(server)
            viewers = [watching.join(LOSS, first_id=4), watching.join(LOSS, first_id=5)]
            failures = iter([NotFound("no run"), ValueError("a mistake")])

            async def fail(*_: Any, **__: Any) -> None:
                raise next(failures)

            monkeypatch.setattr(module, "read_chart", fail)
            await watching.settle()
            for viewer, watch_id in zip(viewers, (4, 5), strict=True):
                viewer.flush()
                (error,) = watching.browsers[viewer].of("error")
                assert (error["error"]["code"], error["id"]) == ("not_found", watch_id)
                assert not viewer.watch_ids()
            other = watching.join(LOSS)
            await watching.settle()
            other.flush()
            assert watching.browsers[other].of("error")[0]["error"]["code"] == "internal"
            assert len(watching.channels) == 0

    asyncio.run(scenario())


def test_a_chart_is_read_as_soon_as_the_store_is_available_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with parts(tmp_path) as server:
            stream = await server.store.register(hello(), 1)
            await report(server, stream, 1, points([1, 2], loss=[1.0, 2.0]))
            watching = Watching(server)
            viewer = watching.join(LOSS)
            outage = iter([StoreUnavailable("no store")] * 3)

            async def read_when_available(*arguments: Any, **options: Any) -> Any:
                if (failure := next(outage, None)) is not None:
                    raise failure
                return await read_chart(*arguments, **options)

            monkeypatch.setattr(module, "read_chart", read_when_available)
            monkeypatch.setattr(module, "AGAIN_S", 0.0)
            await watching.settle()
            assert_same(watching.page(viewer), await expected(server, LOSS))
            assert watching.browsers[viewer].of("error") == []

    asyncio.run(scenario())


@pytest.mark.parametrize("max_buffered", [1 << 20, 5])
def test_what_is_committed_and_worked_out_while_a_snapshot_is_read_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, max_buffered: int
) -> None:
    """Even if it rewrites steps or is more than is kept, and nothing follows that would be a reason to look again."""
    monkeypatch.setattr(chart_module, "MAX_BUFFERED_ROWS", max_buffered)

    async def scenario() -> None:
        async with parts(tmp_path) as server:
            stream = await server.store.register(hello(), 1)
            await report(server, stream, 1, points(list(range(10)), loss=[1.0] * 10))
            num_reads = 0

            async def read(*args: Any, **options: Any) -> ChartRead:
                nonlocal num_reads
                num_reads += 1
                found = await read_chart(*args, **options)
                if num_reads == 1:
                    await report(server, stream, 2, points(list(range(5, 15)), loss=[2.0] * 10))
                    (channel,) = server.hub.channels._subscribers
                    await until(lambda: not channel._frames)
                return found

            monkeypatch.setattr(module, "read_chart", read)
            browser = Browser()
            await server.hub.watch(server.hub.viewer(browser), 1, LOSS)
            await until(lambda: browser.pages and len(browser.pages[1].series["loss", 0]) == 15)
            assert_same(browser.pages[1], await expected(server, LOSS))
            assert num_reads == 2

    asyncio.run(scenario())


def test_snapshots_at_hand_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SNAPSHOT_BYTES", 1000)
    monkeypatch.setattr(channel_module, "MAX_FRAME_BYTES", 100)

    async def scenario() -> None:
        async with parts(tmp_path) as server:
            stream = await server.store.register(hello(), 1)
            steps = list(range(30))
            await report(server, stream, 1, points(steps, loss=[1.0] * 30))
            watching = Watching(server)
            views = [LOSS._replace(points=100 + place) for place in range(3)]
            viewers = [watching.join(view) for view in views]
            await watching.settle()
            assert sum(one.snapshot_bytes > 0 for one in watching.channels._subscribers) == 1
            await report(server, stream, 2, points(list(range(30, 60)), loss=[1.0] * 30))
            assert not any(one._frames for one in watching.channels._subscribers), "not kept until the next step"
            await watching.settle()
            for viewer, view in zip(viewers, views, strict=True):
                assert_same(watching.page(viewer), await expected(server, view))

    asyncio.run(scenario())


@pytest.mark.parametrize("view", [(None, None), (0, None), (0, 4096), (None, 4096)])
def test_new_points_cost_no_snapshots_where_retention_has_dropped_single_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, view: tuple[int | None, int | None]
) -> None:
    monkeypatch.setattr(compaction, "IDLE_NS", -(10**19))

    async def scenario() -> None:
        async with parts(tmp_path) as server:
            stream = await server.store.register(hello(), 1)
            await report(server, stream, 1, points([*range(2000)], loss=[0.5] * 2000))
            await asyncio.to_thread(keep_all, tmp_path, Retention(1.0))
            one = View("r1", ("loss",), 0, *view, 4000)
            watching = Watching(server)
            viewer = watching.join(one)
            await watching.settle()
            for number in range(10):
                await report(server, stream, 2 + number, points([2000 + number], loss=[float(number)]))
                await watching.settle()
            page = watching.page(viewer)
            assert (page.num_snapshots, page.width) == (1, 64)
            assert_same(page, await expected(server, one))

    asyncio.run(scenario())


VALUES = st.one_of(st.floats(-1e6, 1e6), st.sampled_from([float("nan"), float("inf"), float("-inf"), 0.0]))
FRAMES = st.lists(
    st.tuples(
        st.integers(0, 1),  # rank
        st.sampled_from([0, 0, 1]),  # attempt
        st.sampled_from([1, 1, 1, 2, 17, -3]),  # how far the next step lies
        st.integers(1, 6),  # rows
        st.lists(VALUES, min_size=6, max_size=6),
        st.booleans(),  # whether browsers are told before the next frame
        st.booleans(),  # whether every second row comes among other names
        st.sampled_from(["", "", "", "join", "stall", "read"]),  # what one of the browsers does
    ),
    max_size=25,
)


def records_of(steps: list[int], values: list[float], *, mixed: bool) -> tuple[Points, ...]:
    """The rows as a training's outbox sends them: those of the same names together."""
    twice = [value * 2 for value in values]
    if not mixed or len(steps) < 2:
        return (points(steps, loss=values, qps=twice),)
    return (
        points(steps[::2], loss=values[::2], qps=twice[::2]),
        points(steps[1::2], auc=values[1::2], loss=values[1::2], qps=twice[1::2]),
    )


@pytest.mark.slow
@settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    frames=FRAMES,
    rank=st.sampled_from([None, 0]),
    view=st.sampled_from([(None, None), (5, None), (None, 40), (8, 30)]),
    num_points=st.sampled_from([1, 3, 8, 340]),
    superseded=st.booleans(),
    max_log=st.sampled_from([1, 3, 32]),
)
def test_what_a_browser_ends_up_with_is_what_http_answers(
    tmp_path_factory: pytest.TempPathFactory,
    frames: list[tuple[int, int, int, int, list[float], bool, bool, str]],
    rank: int | None,
    view: tuple[int | None, int | None],
    num_points: int,
    superseded: bool,
    max_log: int,
) -> None:
    """Whenever it came, and however often it read nothing."""

    async def scenario(folder: Path) -> None:
        async with parts(folder) as server:
            streams: list[StreamRow] = []
            for number in range(4):
                greeting = hello(writer=f"w{number}", attempt=f"a{number // 2}", rank=number % 2, world_size=2)
                streams.append(await server.store.register(greeting, 1))
            one = View("r1", ("loss", "qps"), rank, *view, num_points, superseded)
            watching = Watching(server)
            watching.join(one)
            steps, numbers = [0] * 4, [0] * 4
            for of_rank, attempt, distance, num_rows, values, told, mixed, event in frames:
                newest = watching.browsers[list(watching.browsers)[-1]]
                if event == "join":
                    watching.join(one, first_id=len(watching.browsers))
                elif event:
                    newest.is_reading = event == "read"
                number = of_rank + 2 * attempt
                steps[number] += distance
                row = [steps[number] + place for place in range(num_rows)]
                steps[number] = row[-1]
                numbers[number] += 1
                reporting = report(
                    server, streams[number], numbers[number], *records_of(row, values[:num_rows], mixed=mixed)
                )
                if told:
                    # While this frame is on its way: a read may see it or not.
                    await asyncio.gather(reporting, watching.round())
                else:
                    await reporting
            for browser in watching.browsers.values():
                browser.is_reading = True
            await watching.settle()
            wanted = await expected(server, one)
            for browser in watching.browsers.values():
                (page,) = browser.pages.values()
                assert_same(page, wanted)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(channel_module, "MAX_LOG", max_log)
        asyncio.run(scenario(tmp_path_factory.mktemp("store")))
