import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

from hypothesis import given, settings
from hypothesis import strategies as st
from recis_server.store.engines.sqlite import migrate
from recis_server.store.points.chart import read_buckets
from recis_server.store.points.series import read_points
from recis_server.store.tables.frames import FrameBatch
from recis_server.store.tables.registration import register
from recis_server.store.values import PointsSlice

from tests.effort import examples
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

AGES = st.lists(st.integers(0, 3), min_size=NUM_ATTEMPTS, max_size=NUM_ATTEMPTS)


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
    batch = FrameBatch((sqlite3.Error,))
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
        batch.begin(connection)
        batch.apply(connection, [frame(row, numbers[attempt, rank], points(steps, loss=values))])
    return written


def pairs(one: PointsSlice) -> dict[int, float]:
    assert one.steps.tolist() == sorted(set(one.steps.tolist()))
    return dict(zip(one.steps.tolist(), one.values.tolist(), strict=True))


def by_start(ages_h: list[int]) -> list[int]:
    """The attempts, the one that began first first."""
    return sorted(range(NUM_ATTEMPTS), key=lambda attempt: (-ages_h[attempt], attempt))


def is_behind(written: dict[tuple[int, int, int], float], order: list[int], attempt: int, rank: int, step: int) -> bool:
    """Whether a newer attempt has reported this rank at the step or before it."""
    newer = order[order.index(attempt) + 1 :]
    return any(of in newer and of_rank == rank and first <= step for of, of_rank, first in written)


@settings(deadline=None, max_examples=examples(200))
@given(REPORTS, AGES)
def test_a_newer_attempt_speaks_from_its_first_step_on(reports: Reports, ages_h: list[int]) -> None:
    with tables() as connection:
        written = fill(connection, reports, ages_h)
        found = read_points(connection, "r", "loss", None, None, None, superseded=False)
    order = by_start(ages_h)
    expected: dict[int, dict[int, tuple[int, float]]] = defaultdict(dict)
    for (attempt, rank, step), value in written.items():
        if not is_behind(written, order, attempt, rank, step):
            expected[rank][step] = (attempt, value)
    assert [one.rank for one in found] == sorted(expected)
    for one in found:
        wanted = expected[one.rank]
        assert pairs(one) == {step: value for step, (_, value) in wanted.items()}
        assert [attempt - 1 for attempt in one.attempts.tolist()] == [wanted[step][0] for step in one.steps.tolist()]
        assert one.attempt == max((attempt for attempt, _ in wanted.values()), key=order.index) + 1
        assert not one.superseded


@settings(deadline=None, max_examples=examples(200))
@given(REPORTS, AGES, st.integers(-3, 12), st.integers(0, 15))
def test_what_a_newer_attempt_has_gone_back_behind_is_kept_apart(
    reports: Reports, ages_h: list[int], start: int, length: int
) -> None:
    with tables() as connection:
        written = fill(connection, reports, ages_h)
        found = read_points(connection, "r", "loss", None, start, start + length, superseded=True)
    order = by_start(ages_h)
    expected: dict[tuple[int, int], dict[int, float]] = defaultdict(dict)
    for (attempt, rank, step), value in written.items():
        if start <= step < start + length:
            behind = is_behind(written, order, attempt, rank, step)
            expected[rank, attempt + 1 if behind else 0][step] = value
    assert {(one.rank, one.attempt if one.superseded else 0): pairs(one) for one in found} == expected
    for one in found:
        if one.superseded:
            assert set(one.attempts.tolist()) == {one.attempt}
    # Each rank's own points first, then attempt by attempt as they began.
    places = [(one.rank, order.index(one.attempt - 1) if one.superseded else -1) for one in found]
    assert places == sorted(places)


@settings(deadline=None, max_examples=examples(100))
@given(REPORTS, st.integers(1, 6))
def test_buckets_of_what_is_superseded_lie_on_the_grid_of_the_others(reports: Reports, most: int) -> None:
    with tables() as connection:
        fill(connection, reports, [0] * NUM_ATTEMPTS)
        found = read_points(connection, "r", "loss", None, None, None, superseded=True)
        chart = read_buckets(connection, "r", ["loss"], None, None, None, most, superseded=True)
    assert [(one.rank, one.attempt, one.superseded) for one in chart.series] == [
        (one.rank, one.attempt, one.superseded) for one in found
    ]
    for one, source in zip(chart.series, found, strict=True):
        assert sum(one.buckets.count) == len(source.steps)
        cells: dict[int, list[float]] = defaultdict(list)
        for step, value in pairs(source).items():
            cells[step // chart.width * chart.width].append(value)
        assert one.buckets.x.tolist() == sorted(cells)
        assert one.buckets.last.tolist() == [cells[x][-1] for x in sorted(cells)]
        assert one.buckets.min.tolist() == [min(cells[x]) for x in sorted(cells)]
        assert one.buckets.max.tolist() == [max(cells[x]) for x in sorted(cells)]
