import math
import sqlite3
from collections import defaultdict

from hypothesis import given, settings
from hypothesis import strategies as st
from recis_server.store.engines.sqlite import migrate
from recis_server.store.tables.frames import FrameBatch
from recis_server.store.tables.keyset_cache import KeySetCache
from recis_server.store.tables.registration import register
from recis_server.store.tables.rows import read_metrics

from tests.effort import examples
from tests.server.store.streams import frame, greeting, points

HOUR = 3600 * 10**9
VALUES = st.sampled_from([0.0, 1.5, -2.0, 1e308, -1e308, math.nan, math.inf, -math.inf])
# (attempt, keys, rows of (step, one value per key), whether the memory of the tables is lost before)
REPORTS = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from([("loss",), ("loss", "qps"), ("qps", "loss"), ("qps",)]),
        st.lists(st.tuples(st.integers(-3, 6), VALUES, VALUES), min_size=1, max_size=3),
        st.booleans(),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=examples(200), deadline=None)
@given(REPORTS, st.permutations([1, 2, 3]))
def test_series_are_what_all_their_points_say(
    reports: list[tuple[int, tuple[str, ...], list[tuple[int, float, float]], bool]], ages_h: list[int]
) -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection, "memory")
    batch = FrameBatch((sqlite3.Error,))
    rows = [
        register(
            connection,
            greeting(writer=f"w{one}", attempt=f"a{one}", time_ns=100 * HOUR, started_ns=(100 - age_h) * HOUR),
            1000 * HOUR,
        )
        for one, age_h in enumerate(ages_h)
    ]
    arrived: dict[str, list[tuple[int, int, int, float]]] = defaultdict(list)
    for number, (attempt, keys, report, forgets) in enumerate(reports, start=1):
        if forgets:
            batch.forget()
        columns = {key: [row[1 + place] for row in report] for place, key in enumerate(keys)}
        batch.begin(connection)
        batch.apply(connection, [frame(rows[attempt], number, points([row[0] for row in report], **columns))])
        for key, values in columns.items():
            for (step, *_), value in zip(report, values, strict=True):
                arrived[key].append((-ages_h[attempt], step, number, value))
    found = {one.key: one for one in read_metrics(connection, KeySetCache(), "r")}
    connection.close()
    assert list(found) == list(dict.fromkeys(key for _, keys, _, _ in reports for key in keys))
    for key, all_points in arrived.items():
        one = found[key]
        assert one.count == len(all_points)
        assert one.nan_count == sum(not math.isfinite(value) for *_, value in all_points)
        assert one.first_step == min(step for _, step, _, _ in all_points)
        # Of the newest (attempt, step) what arrived last.
        newest = max(range(len(all_points)), key=lambda place: (*all_points[place][:2], place))
        assert one.last_step == all_points[newest][1]
        assert repr(one.last_value) == repr(all_points[newest][3])
