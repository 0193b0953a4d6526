import asyncio
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from fastapi import WebSocket
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recis_server.live.viewer import Viewer
from recis_server.live.watch import Rows, Watch
from recis_server.query.charts import read_chart
from recis_server.store.points import compaction
from recis_server.store.points.buckets import Extent, bucketize, fit_width
from recis_server.store.upkeep.retention import Retention
from recis_server.store.values import Buckets, ChartRead, ChartSeries, PointsSlice, StoredFrame, StreamRow

from recis.wire.messages import Frame, Points
from tests.effort import examples
from tests.server.realserver import Parts, hello, parts, points
from tests.server.store.test_exact import keep_all

COLUMNS = ("x", "time", "min", "max", "mean", "last", "count", "nan")


@dataclass
class Page:
    """What a browser has of one watch: the messages applied as the protocol says."""

    width: int = 0
    num_snapshots: int = 0
    series: dict[tuple[str | int, ...], dict[float, tuple[float, ...]]] = field(default_factory=dict)

    def apply(self, message: bytes) -> dict[str, Any]:
        length = int.from_bytes(message[:4], "little")
        head: dict[str, Any] = json.loads(message[4 : 4 + length])
        assert (4 + length) % 8 == 0
        if head["type"] == "snapshot":
            self.series = {}
            self.width = head["width"]
            self.num_snapshots += 1
        assert head["width"] == self.width
        for one in head["series"]:
            start = 4 + length + one["offset"]
            columns = np.frombuffer(message, "<f8", one["n"] * 8, start).reshape(8, one["n"])
            name = (one["key"], one["rank"], *([one["attempt"]] if one["superseded"] else []))
            buckets = self.series.setdefault(name, {})
            buckets.update({bucket[0]: tuple(bucket) for bucket in columns.T.tolist()})
        return head


def rows(commit: int, steps: list[int], values: list[float] | None = None, key: str = "loss", rank: int = 0) -> Rows:
    return Rows(
        commit,
        key,
        rank,
        1,
        np.array(steps, dtype=np.int64),
        np.array(steps, dtype=np.int64) * 1_000_000_000,
        np.array(values if values is not None else steps, dtype=np.float64),
    )


def slice_of(one: Rows) -> PointsSlice:
    attempts = np.full(len(one.steps), one.attempt, dtype=np.int32)
    return PointsSlice(one.key, one.rank, one.steps, one.times, one.values, attempts, one.attempt)


def read_of(
    commit: int, *slices: PointsSlice, start: int | None = None, stop: int | None = None, points: int = 4
) -> ChartRead:
    """What the store would say of these points, each slice a series."""
    extents = [Extent(int(one.steps[0]), int(one.steps[-1]), len(one.steps)) for one in slices]
    width = fit_width(start, stop, points, extents, 0)
    firsts: dict[tuple[str, int], dict[int, int]] = {}
    for one in reversed(slices):
        firsts.setdefault((one.key, one.rank), {})[one.attempt] = int(one.steps[0])
    return ChartRead(
        commit,
        width,
        tuple(
            ChartSeries(
                one.key,
                one.rank,
                one.attempt,
                bucketize(one, width),
                one.superseded,
                first=int(one.steps[0]),
                last=int(one.steps[-1]),
            )
            for one in slices
        ),
        firsts,
    )


def watch(**options: Any) -> Watch:
    return Watch(7, "r1", ("loss",), **{"rank": 0, "start": None, "stop": None, "points": 4, **options})


def shown(one: Watch, *read: Rows, commit: int = 1) -> Page:
    """The watch after a snapshot of `read` as of `commit`."""
    page = Page()
    one.begin()
    message = one.snapshot(read_of(commit, *map(slice_of, read), start=one.start, stop=one.stop, points=one.points))
    assert message is not None
    page.apply(message)
    return page


def head_of(message: bytes) -> dict[str, Any]:
    head: dict[str, Any] = json.loads(message[4 : 4 + int.from_bytes(message[:4], "little")])
    return head


def send(one: Watch, page: Page) -> dict[str, Any]:
    message = one.delta()
    assert message is not None
    return page.apply(message)


def test_a_delta_has_the_whole_content_of_the_buckets_that_changed_and_no_others() -> None:
    one = watch()
    page = shown(one, rows(1, [0, 1, 2, 3, 4]))
    assert page.width == 2
    assert one.feed(rows(2, [5], [50.0]))
    head = send(one, page)
    assert (head["type"], head["id"], head["run"], head["series"][0]["n"]) == ("delta", 7, "r1", 1)
    assert page.series["loss", 0][4.0] == (4.0, 5.0, 4.0, 50.0, 27.0, 50.0, 2.0, 0.0)
    assert one.delta() is None


def test_what_the_snapshot_holds_already_is_not_counted_again() -> None:
    one = watch()
    one.begin()
    one.feed(rows(4, [1]))
    one.feed(rows(5, [2]))
    one.feed(rows(6, [3]))
    page = Page()
    message = one.snapshot(read_of(5, slice_of(rows(5, [1, 2]))))
    assert message is not None
    page.apply(message)
    assert list(page.series["loss", 0]) == [1.0, 2.0]
    send(one, page)
    assert list(page.series["loss", 0]) == [1.0, 2.0, 3.0]
    # A commit that the listener hears of late is in the snapshot too.
    one.feed(rows(5, [9]))
    assert one.delta() is None


@pytest.mark.parametrize("steps", [[3], [4], [6, 6], [7, 5]])
def test_a_step_that_is_written_again_asks_for_a_new_snapshot(steps: list[int]) -> None:
    one = watch(points=100)
    shown(one, rows(1, [1, 2, 3, 4]))
    assert one.feed(rows(2, steps))
    assert one.stale


def test_points_of_another_attempt_ask_for_a_new_snapshot() -> None:
    one = watch(points=100)
    shown(one, rows(1, [1, 2, 3, 4]))
    assert one.feed(replace(rows(2, [5]), attempt=2))
    assert one.stale


def test_a_snapshot_has_what_was_superseded_and_a_delta_has_not() -> None:
    one = watch(points=4, superseded=True)
    one.begin()
    lost = replace(slice_of(rows(1, [2, 3, 4, 5, 6, 7])), superseded=True)
    kept = slice_of(replace(rows(1, [1, 2, 3, 4, 5]), attempt=2))
    message = one.snapshot(read_of(1, kept, lost))
    assert message is not None
    heads = [(series["superseded"], series["attempt"], series["n"]) for series in head_of(message)["series"]]
    assert heads == [(False, 2, 3), (True, 1, 3)]
    assert one.feed(replace(rows(2, [6]), attempt=2))
    assert not one.stale
    message = one.delta()
    assert message is not None
    assert [series["superseded"] for series in head_of(message)["series"]] == [False]


def test_a_view_that_is_outgrown_asks_for_a_new_snapshot() -> None:
    one = watch(points=4)
    shown(one, rows(1, [1, 2, 3]))
    one.feed(rows(2, [4]))
    assert not one.stale
    one.feed(rows(3, [5]))
    assert one.stale


def test_a_view_with_both_ends_keeps_its_grid_whatever_comes() -> None:
    one = watch(start=0, stop=64)
    page = shown(one)
    assert page.width == 16
    for step in range(64):
        assert one.feed(rows(2 + step, [step]))
        assert not one.stale
        send(one, page)
    assert (page.num_snapshots, page.width) == (1, 16)
    assert list(page.series["loss", 0]) == [0.0, 16.0, 32.0, 48.0]


def test_points_outside_of_the_view_and_of_other_ranks_are_nothing() -> None:
    one = watch(start=10, stop=20, rank=1)
    shown(one)
    assert not one.feed(rows(2, [12], rank=0))
    assert not one.feed(rows(2, [9], rank=1))
    assert not one.feed(rows(2, [20], rank=1))
    assert one.feed(rows(3, [9, 10, 11, 20], rank=1))
    page = Page(width=4)
    send(one, page)
    assert list(page.series["loss", 1].values()) == [(8.0, 11.0, 10.0, 11.0, 10.5, 11.0, 2.0, 0.0)]


def test_steps_on_both_sides_of_zero_fit_even_into_one_point() -> None:
    one = watch(points=1)
    page = shown(one, rows(1, [-3, 2]))
    assert (page.width, list(page.series["loss", 0])) == (4, [-4.0, 0.0])


def test_a_rank_that_comes_later_joins() -> None:
    one = watch(rank=None)
    page = shown(one, rows(1, [1, 2]))
    one.feed(rows(2, [1], rank=5))
    send(one, page)
    assert page.series["loss", 5] == {1.0: (1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0)}


def test_more_than_is_kept_during_a_read_means_reading_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recis_server.live.watch.MAX_BUFFERED_ROWS", 10)
    one = watch()
    one.begin()
    one.feed(rows(2, list(range(11))))
    assert one.snapshot(read_of(1)) is None
    assert one.stale


def test_rows_that_nobody_fetches_are_folded_into_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recis_server.live.watch.MAX_ROWS", 10)
    one = watch(points=4, start=0)
    page = shown(one, rows(1, list(range(64))))
    assert page.width == 16
    one = watch(points=1000)
    page = shown(one, rows(1, [0]))
    for step in range(1, 900):
        one.feed(rows(step + 1, [step]))
        assert all(len(series.rows) <= 10 for series in one._series.values())
    send(one, page)
    assert list(page.series["loss", 0]) == [float(step) for step in range(900)]


def test_a_bucket_without_a_finite_value_has_no_extremes() -> None:
    one = watch()
    page = shown(one, rows(1, [0, 1, 2, 3, 4]))
    one.feed(rows(2, [6], [float("nan")]))
    send(one, page)
    _, time, low, high, mean, last, count, nan = page.series["loss", 0][6.0]
    assert (time, count, nan) == (6.0, 1.0, 1.0)
    assert np.isnan([low, high, mean, last]).all()


# --- against the real store and the HTTP answer


@dataclass
class Viewing:
    """A watch fed by the commits of a real store and read from it, with a read that may be interrupted."""

    server: Parts
    watch: Watch
    page: Page = field(default_factory=Page)

    async def refresh(self) -> None:
        for _ in range(10):
            if not self.watch.stale:
                message = self.watch.delta()
            else:
                self.watch.begin()
                one = self.watch
                ranks = None if one.rank is None else [one.rank]
                read = await self.server.store.chart(
                    "r1", one.keys, ranks, one.start, one.stop, one.points, superseded=one.superseded
                )
                message = one.snapshot(read)
            if message is not None:
                self.page.apply(message)
            if not self.watch.stale:
                return
        raise AssertionError("a watch without new commits comes to rest")


async def expected(server: Parts, one: Watch, num_points: int) -> dict[tuple[str | int | None, ...], Buckets]:
    rank: Any = "all" if one.rank is None else one.rank
    chart = await read_chart(
        server.store, "r1", one.keys, rank, one.start, one.stop, num_points, superseded=one.superseded
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


@pytest.mark.parametrize("view", [(None, None), (0, None), (0, 4096), (None, 4096)])
def test_new_points_cost_no_snapshots_where_retention_has_dropped_single_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, view: tuple[int | None, int | None]
) -> None:
    monkeypatch.setattr(compaction, "IDLE_NS", -(10**19))

    async def scenario() -> None:
        async with parts(tmp_path) as server:
            stream = await server.store.register(hello(), 1)
            await server.store.append(
                StoredFrame(stream, Frame(n=1, records=(points([*range(2000)], loss=[0.5] * 2000),)), 1)
            )
            await asyncio.to_thread(keep_all, tmp_path, Retention(1.0))
            one = Watch(1, "r1", ("loss",), rank=0, start=view[0], stop=view[1], points=4000)
            viewing = Viewing(server, one)
            await server.hub.watch(Viewer(cast("WebSocket", None), server.store, server.hub.reads), one)
            await viewing.refresh()
            for number in range(10):
                record = points([2000 + number], loss=[float(number)])
                await server.store.append(StoredFrame(stream, Frame(n=2 + number, records=(record,)), 1))
                await viewing.refresh()
            assert (viewing.page.num_snapshots, viewing.page.width) == (1, 64)
            assert_same(viewing.page, await expected(server, one, 4000))

    asyncio.run(scenario())


VALUES = st.one_of(st.floats(-1e6, 1e6), st.sampled_from([float("nan"), float("inf"), float("-inf"), 0.0]))
FRAMES = st.lists(
    st.tuples(
        st.integers(0, 1),  # rank
        st.sampled_from([0, 0, 1]),  # attempt
        st.sampled_from([1, 1, 1, 2, 17, -3]),  # how far the next step lies
        st.integers(1, 6),  # rows
        st.lists(VALUES, min_size=6, max_size=6),
        st.booleans(),  # whether the browser is told before the next frame
        st.booleans(),  # whether every second row comes among other names
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
@settings(max_examples=examples(40), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    frames=FRAMES,
    rank=st.sampled_from([None, 0]),
    view=st.sampled_from([(None, None), (5, None), (None, 40), (8, 30)]),
    num_points=st.sampled_from([1, 3, 8, 340]),
    superseded=st.booleans(),
)
def test_what_a_browser_ends_up_with_is_what_http_answers(
    tmp_path_factory: pytest.TempPathFactory,
    frames: list[tuple[int, int, int, int, list[float], bool, bool]],
    rank: int | None,
    view: tuple[int | None, int | None],
    num_points: int,
    superseded: bool,
) -> None:
    async def scenario(folder: Path) -> None:
        async with parts(folder) as server:
            streams: list[StreamRow] = []
            for number in range(4):
                greeting = hello(writer=f"w{number}", attempt=f"a{number // 2}", rank=number % 2, world_size=2)
                streams.append(await server.store.register(greeting, 1))
            one = Watch(
                1,
                "r1",
                ("loss", "qps"),
                rank=rank,
                start=view[0],
                stop=view[1],
                points=num_points,
                superseded=superseded,
            )
            viewing = Viewing(server, one)

            viewer = Viewer(cast("WebSocket", None), server.store, server.hub.reads)
            await server.hub.watch(viewer, one)
            steps, numbers = [0] * 4, [0] * 4
            for of_rank, attempt, distance, num_rows, values, told, mixed in frames:
                number = of_rank + 2 * attempt
                steps[number] += distance
                row = [steps[number] + place for place in range(num_rows)]
                steps[number] = row[-1]
                numbers[number] += 1
                records = records_of(row, values[:num_rows], mixed=mixed)
                frame = StoredFrame(streams[number], Frame(n=numbers[number], records=records), 1)
                if told:
                    # While this frame is on its way: the read may see it or not.
                    await asyncio.gather(server.store.append(frame), viewing.refresh())
                else:
                    await server.store.append(frame)
            await viewing.refresh()
            assert_same(viewing.page, await expected(server, one, num_points))

    asyncio.run(scenario(tmp_path_factory.mktemp("store")))
