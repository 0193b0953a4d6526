import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

from hypothesis import given, settings
from hypothesis import strategies as st
from recis_server.query.charts import read_chart
from recis_server.store.frames import FrameBatch
from recis_server.store.interface import PointsSlice
from recis_server.store.points import read_points
from recis_server.store.registration import register
from recis_server.store.schema import migrate

from tests.server.store.streams import frame, greeting, points

HOUR = 3600 * 10**9
NUM_ATTEMPTS = 4
Reports = list[tuple[int, int, list[int]]]
REPORTS: st.SearchStrategy[Reports] = st.lists(
    st.tuples(
        st.integers(0, NUM_ATTEMPTS - 1), st.integers(0, 1), st.lists(st.integers(-3, 12), min_size=1, max_size=8)
    ),
    max_size=10,
)


@contextmanager
def tables() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection, "memory")
    try:
        yield connection
    finally:
        connection.close()


def fill(connection: sqlite3.Connection, reports: Reports, ages_h: list[int]) -> dict[tuple[int, int, int], float]:
    """Stores the reports (attempt, rank, steps) as they come; every value is its place in the order of arrival.

    Returns the last value of each (attempt, rank, step), attempts by the order in which they were greeted.
    """
    batch = FrameBatch()
    numbers: dict[tuple[int, int], int] = defaultdict(int)
    written: dict[tuple[int, int, int], float] = {}
    arrivals = count()
    # Attempt 0 is greeted first, but each may have begun long before that.
    for attempt, age_h in enumerate(ages_h):
        began = (100 - age_h) * HOUR
        first = greeting(writer=f"w{attempt}-0", attempt=f"a{attempt}", time_ns=100 * HOUR, started_ns=began)
        register(connection, first, 1000 * HOUR)
    for attempt, rank, steps in reports:
        row = register(connection, greeting(writer=f"w{attempt}-{rank}", attempt=f"a{attempt}", rank=rank), 1000 * HOUR)
        batch.forget_run("r")
        numbers[attempt, rank] += 1
        values = [float(next(arrivals)) for _ in steps]
        written.update({(attempt, rank, step): value for step, value in zip(steps, values, strict=True)})
        batch.apply(connection, [frame(row, numbers[attempt, rank], points(steps, loss=values))])
    return written


def pairs(one: PointsSlice) -> dict[int, float]:
    assert one.steps.tolist() == sorted(set(one.steps.tolist()))
    return dict(zip(one.steps.tolist(), one.values.tolist(), strict=True))


@settings(deadline=None, max_examples=200)
@given(REPORTS, st.lists(st.integers(0, 3), min_size=NUM_ATTEMPTS, max_size=NUM_ATTEMPTS))
def test_each_step_shows_the_newest_attempt_and_every_older_value_is_kept_and_marked(
    reports: Reports, ages_h: list[int]
) -> None:
    with tables() as connection:
        written = fill(connection, reports, ages_h)
        found = read_points(connection, "r", "loss", None, None, None, superseded=True)
    by_age = sorted(range(NUM_ATTEMPTS), key=lambda attempt: (-ages_h[attempt], attempt))
    winners: dict[int, dict[int, int]] = {0: {}, 1: {}}
    for attempt in by_age:
        for of_attempt, rank, step in written:
            if of_attempt == attempt:
                winners[rank][step] = attempt
    expected: dict[tuple[int, bool, int], dict[int, float]] = defaultdict(dict)
    for (attempt, rank, step), value in written.items():
        winner = winners[rank][step]
        place = (rank, False, -1) if winner == attempt else (rank, True, attempt + 1)
        expected[place][step] = value
    assert {(one.rank, one.superseded, one.attempt if one.superseded else -1): pairs(one) for one in found} == expected
    for one in found:
        if one.superseded:
            assert set(one.attempts.tolist()) == {one.attempt}
        else:
            held = {winners[one.rank][step] for step in one.steps.tolist()}
            assert one.attempt == max(held, key=by_age.index) + 1
            assert [attempt - 1 for attempt in one.attempts.tolist()] == [
                winners[one.rank][s] for s in one.steps.tolist()
            ]


@settings(deadline=None, max_examples=100)
@given(REPORTS, st.integers(-3, 12), st.integers(0, 8), st.integers(1, 6))
def test_buckets_of_what_was_superseded_lie_on_the_same_grid_and_change_nothing_else(
    reports: Reports, start: int, length: int, most: int
) -> None:
    with tables() as connection:
        fill(connection, reports, [0] * NUM_ATTEMPTS)
        plain = read_points(connection, "r", "loss", None, start, start + length, superseded=False)
        both = read_points(connection, "r", "loss", None, start, start + length, superseded=True)
    without = read_chart("r", plain, "all", start, start + length, most)
    chart = read_chart("r", both, "all", start, start + length, most)
    assert chart.width == without.width
    kept = [one for one in chart.series if not one.superseded]
    assert [(one.rank, one.attempt) for one in kept] == [(one.rank, one.attempt) for one in without.series]
    for left, right in zip(kept, without.series, strict=True):
        assert [column.tolist() for column in left.buckets.columns()] == [
            column.tolist() for column in right.buckets.columns()
        ]
    for one, source in zip(chart.series, both, strict=True):
        assert sum(one.buckets.count) == len(source.steps)
        cells: dict[int, list[float]] = defaultdict(list)
        for step, value in pairs(source).items():
            cells[step // chart.width * chart.width].append(value)
        assert one.buckets.x.tolist() == sorted(cells)
        assert one.buckets.last.tolist() == [cells[x][-1] for x in sorted(cells)]
        assert one.buckets.min.tolist() == [min(cells[x]) for x in sorted(cells)]
        assert one.buckets.max.tolist() == [max(cells[x]) for x in sorted(cells)]
