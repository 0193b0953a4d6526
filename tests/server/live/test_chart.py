import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from recis_server.live.chart import LiveChart, View
from recis_server.live.rows import Rows, select_rows
from recis_server.store.points.buckets import Extent, bucketize, fit_width
from recis_server.store.values import ChartRead, ChartSeries, PointsSlice, StoredFrame, StreamRow

from recis.wire.messages import Frame
from tests.server.live.page import Page
from tests.server.realserver import points


def rows(
    commit: int,
    steps: list[int],
    values: list[float] | None = None,
    key: str = "loss",
    rank: int = 0,
    *,
    attempt: int = 1,
) -> Rows:
    return Rows(
        commit,
        rank,
        attempt,
        (key,),
        np.array([0]),
        np.array(steps, dtype=np.int64),
        np.array(steps, dtype=np.int64) * 1_000_000_000,
        np.array(values if values is not None else steps, dtype=np.float64),
    )


def slice_of(one: Rows) -> PointsSlice:
    attempts = np.full(len(one.steps), one.attempt, dtype=np.int32)
    return PointsSlice(one.keys[0], one.rank, one.steps, one.times, one.values, attempts, one.attempt)


def fed(one: LiveChart, new: Rows) -> bool:
    """Whether there is something to send after these points."""
    one.feed(new)
    return one.stale or bool(one._changes)


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


def chart(**options: Any) -> LiveChart:
    return LiveChart(View("r1", ("loss",), **{"rank": 0, "start": None, "stop": None, "points": 4, **options}))


def shown(one: LiveChart, *read: Rows, commit: int = 1) -> Page:
    """The watch after a snapshot of `read` as of `commit`."""
    page = Page()
    one.begin()
    message = one.snapshot(
        read_of(commit, *map(slice_of, read), start=one.view.start, stop=one.view.stop, points=one.view.points)
    )
    assert message is not None
    page.apply(message)
    return page


def head_of(message: bytes) -> dict[str, Any]:
    head: dict[str, Any] = json.loads(message[4 : 4 + int.from_bytes(message[:4], "little")])
    return head


def send(one: LiveChart, page: Page) -> dict[str, Any]:
    message = one.delta()
    assert message is not None
    return page.apply(message)


def test_a_delta_has_the_whole_content_of_the_buckets_that_changed_and_no_others() -> None:
    one = chart()
    page = shown(one, rows(1, [0, 1, 2, 3, 4]))
    assert page.width == 2
    assert fed(one, rows(2, [5], [50.0]))
    head = send(one, page)
    assert (head["type"], head["run"], head["series"][0]["n"]) == ("delta", "r1", 1)
    assert page.series["loss", 0][4.0] == (4.0, 5.0, 4.0, 50.0, 27.0, 50.0, 2.0, 0.0)
    assert one.delta() is None


def test_what_the_snapshot_holds_already_is_not_counted_again() -> None:
    one = chart()
    one.begin()
    fed(one, rows(4, [1]))
    fed(one, rows(5, [2]))
    fed(one, rows(6, [3]))
    page = Page()
    message = one.snapshot(read_of(5, slice_of(rows(5, [1, 2]))))
    assert message is not None
    page.apply(message)
    assert list(page.series["loss", 0]) == [1.0, 2.0]
    send(one, page)
    assert list(page.series["loss", 0]) == [1.0, 2.0, 3.0]
    # A commit that the listener hears of late is in the snapshot too.
    fed(one, rows(5, [9]))
    assert one.delta() is None


@pytest.mark.parametrize("steps", [[3], [4], [6, 6], [7, 5]])
def test_a_step_that_is_written_again_asks_for_a_new_snapshot(steps: list[int]) -> None:
    one = chart(points=100)
    shown(one, rows(1, [1, 2, 3, 4]))
    assert fed(one, rows(2, steps))
    assert one.stale


def test_points_of_another_attempt_ask_for_a_new_snapshot() -> None:
    one = chart(points=100)
    shown(one, rows(1, [1, 2, 3, 4]))
    assert fed(one, replace(rows(2, [5]), attempt=2))
    assert one.stale


def test_a_snapshot_has_what_was_superseded_and_a_delta_has_not() -> None:
    one = chart(points=4, superseded=True)
    one.begin()
    lost = replace(slice_of(rows(1, [2, 3, 4, 5, 6, 7])), superseded=True)
    kept = slice_of(replace(rows(1, [1, 2, 3, 4, 5]), attempt=2))
    message = one.snapshot(read_of(1, kept, lost))
    assert message is not None
    heads = [(series["superseded"], series["attempt"], series["n"]) for series in head_of(message)["series"]]
    assert heads == [(False, 2, 3), (True, 1, 3)]
    assert fed(one, replace(rows(2, [6]), attempt=2))
    assert not one.stale
    message = one.delta()
    assert message is not None
    assert [series["superseded"] for series in head_of(message)["series"]] == [False]


def test_a_view_that_is_outgrown_asks_for_a_new_snapshot() -> None:
    one = chart(points=4)
    shown(one, rows(1, [1, 2, 3]))
    fed(one, rows(2, [4]))
    assert not one.stale
    fed(one, rows(3, [5]))
    assert one.stale


def test_a_view_with_both_ends_keeps_its_grid_whatever_comes() -> None:
    one = chart(start=0, stop=64)
    page = shown(one)
    assert page.width == 16
    for step in range(64):
        assert fed(one, rows(2 + step, [step]))
        assert not one.stale
        send(one, page)
    assert (page.num_snapshots, page.width) == (1, 16)
    assert list(page.series["loss", 0]) == [0.0, 16.0, 32.0, 48.0]


def test_points_outside_of_the_view_and_of_other_ranks_are_nothing() -> None:
    one = chart(start=10, stop=20, rank=1)
    shown(one)
    assert not fed(one, rows(2, [12], rank=0))
    assert not fed(one, rows(2, [9], rank=1))
    assert not fed(one, rows(2, [20], rank=1))
    assert fed(one, rows(3, [9, 10, 11, 20], rank=1))
    page = Page(width=4)
    send(one, page)
    assert list(page.series["loss", 1].values()) == [(8.0, 11.0, 10.0, 11.0, 10.5, 11.0, 2.0, 0.0)]


def test_steps_on_both_sides_of_zero_fit_even_into_one_point() -> None:
    one = chart(points=1)
    page = shown(one, rows(1, [-3, 2]))
    assert (page.width, list(page.series["loss", 0])) == (4, [-4.0, 0.0])


def test_a_rank_that_comes_later_joins() -> None:
    one = chart(rank=None)
    page = shown(one, rows(1, [1, 2]))
    fed(one, rows(2, [1], rank=5))
    send(one, page)
    assert page.series["loss", 5] == {1.0: (1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0)}


def test_more_than_is_kept_during_a_read_means_reading_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recis_server.live.chart.MAX_BUFFERED_ROWS", 10)
    one = chart()
    one.begin()
    fed(one, rows(2, list(range(11))))
    assert one.snapshot(read_of(1)) is None
    assert one.stale


def test_rows_that_nobody_fetches_are_folded_into_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recis_server.live.changes.MAX_ROWS", 10)
    one = chart(points=4, start=0)
    page = shown(one, rows(1, list(range(64))))
    assert page.width == 16
    one = chart(points=1000)
    page = shown(one, rows(1, [0]))
    for step in range(1, 900):
        fed(one, rows(step + 1, [step]))
        assert one._changes._num_rows <= 10
    send(one, page)
    assert list(page.series["loss", 0]) == [float(step) for step in range(900)]


def test_a_bucket_without_a_finite_value_has_no_extremes() -> None:
    one = chart()
    page = shown(one, rows(1, [0, 1, 2, 3, 4]))
    fed(one, rows(2, [6], [float("nan")]))
    send(one, page)
    _, time, low, high, mean, last, count, nan = page.series["loss", 0][6.0]
    assert (time, count, nan) == (6.0, 1.0, 1.0)
    assert np.isnan([low, high, mean, last]).all()


def test_a_series_reported_among_different_names_is_one_in_order_of_steps() -> None:
    one = chart(points=100)
    page = shown(one)
    stream = StreamRow("r1", "w1", 0, 1, 0, 1)
    often = points([1, 2, 4, 5], loss=[1.0, 2.0, 4.0, 5.0], other=[0.0] * 4)
    seldom = points([3, 6], auc=[0.0, 0.0], loss=[3.0, 6.0])
    found = select_rows(1 + 1, StoredFrame(stream, Frame(n=1, records=(often, seldom)), 1), one.keys)
    assert found is not None
    assert fed(one, found)
    assert not one.stale, "a chart that is read anew at every commit"
    send(one, page)
    assert [bucket[5] for bucket in page.series["loss", 0].values()] == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    # A step that is there twice is for the store to decide.
    again = points([8, 7], loss=[8.0, 7.0]), points([8], loss=[9.0], auc=[0.0])
    found = select_rows(3, StoredFrame(stream, Frame(n=2, records=again), 1), one.keys)
    assert found is not None
    one.feed(found)
    assert one.stale
    nothing = StoredFrame(stream, Frame(n=3, records=(points([9], auc=[1.0]),)), 1)
    assert select_rows(4, nothing, one.keys) is None


def test_series_of_one_report_are_folded_apart() -> None:
    one = LiveChart(View("r1", ("a", "b", "late"), 0, 0, 64, 4))
    page = Page()
    one.begin()
    message = one.snapshot(ChartRead(1, 16, ()))
    assert message is not None
    page.apply(message)
    stream = StreamRow("r1", "w1", 0, 1, 0, 1)
    for number, steps in enumerate(([0, 15], [17], [18, 40])):
        values = [float(step) for step in steps]
        series = {"a": values, "b": [-value for value in values], **({"late": values} if number == 2 else {})}
        found = select_rows(
            2 + number, StoredFrame(stream, Frame(n=1 + number, records=(points(steps, **series),)), 1), one.keys
        )
        assert found is not None
        one.feed(found)
        send(one, page)
    assert {x: bucket[2:7] for x, bucket in page.series["b", 0].items()} == {
        0.0: (-15.0, 0.0, -7.5, -15.0, 2.0),
        16.0: (-18.0, -17.0, -17.5, -18.0, 2.0),
        32.0: (-40.0, -40.0, -40.0, -40.0, 1.0),
    }
    assert list(page.series["a", 0]) == [0.0, 16.0, 32.0]
    assert [bucket[6] for bucket in page.series["late", 0].values()] == [1.0, 1.0]
