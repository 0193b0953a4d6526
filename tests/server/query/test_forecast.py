import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from recis_server.query.forecast import LAST_PASSES, forecast
from recis_server.store.values import PassRow

from recis.wire.messages import Pass


def passes(
    steps: list[int], *, added: int = 100, evicted: int = 80, table: str = "user", rank: int = 0, attempt: int = 1
) -> list[PassRow]:
    """Return passes over a table of 1,000 rows to which rows are added at a constant rate."""
    rows = []
    left = 1000
    for step, before in zip(steps, [steps[0] - 50, *steps], strict=False):
        share = (step - before) / 50
        found = left + round(added * share)
        left = found - round(evicted * share)
        record = Pass(
            table=table, step=step, time_ns=attempt * 10**12 + step, interval=50, admitted=round(added * share),
            rows_before=found, evicted=found - left, rows_after=left, milliseconds=found / 1000, bytes=1,
        )  # fmt: skip
        rows.append(PassRow(rank, attempt, record))
    return rows


def figures(answer: dict, name: str = "total") -> dict:  # type: ignore[type-arg]
    found = answer["total"] if name == "total" else next(one for one in answer["tables"] if one["table"] == name)
    return found if name == "total" else found["prediction"]  # type: ignore[no-any-return]


def test_a_steady_table_is_predicted_without_an_error() -> None:
    answer = forecast(passes([50, 100, 150, 200], evicted=100), 120, 260)
    assert (answer["message"], answer["tables"][0]["message"], answer["tables"][0]["passes"]) == ("", "", 4)
    found = figures(answer)
    assert (found["next_step"], found["rows"]) == (320, 1000.0)
    assert found["rows_before"] == {"value": 1240.0, "error": 0.0}
    assert found["evicted"] == {"value": 240.0, "error": 0.0}
    assert found["rows_after"] == {"value": 1000.0, "error": 0.0}
    assert found["at_most"] == {"value": 1240.0, "error": 0.0}
    assert found["pass_ms"] == {"value": 1.24, "error": 0.0}
    assert found["ms_per_step"]["value"] == round(1.24 / 120, 6)


def test_a_pass_that_would_be_due_already_comes_at_the_next_step() -> None:
    found = figures(forecast(passes([50, 100, 150], evicted=100), 10, 179))
    assert (found["next_step"], found["rows_before"]["value"], found["evicted"]["value"]) == (180, 1060.0, 60.0)
    assert found["at_most"]["value"] == 1020.0


def test_the_spread_of_the_passes_is_the_error_and_grows_with_the_interval() -> None:
    rows = passes([50, 100, 150], added=100) + passes([200, 250, 300], added=140)
    short, long = figures(forecast(rows, 50, 300)), figures(forecast(rows, 100, 300))
    assert short["rows_before"]["error"] > 20
    assert 1.9 < long["rows_before"]["error"] / short["rows_before"]["error"] < 2.1
    two = forecast(passes([50, 100]), 50, 100)
    assert two["tables"][0]["message"] == "two passes; the error is not known yet"
    assert (figures(two)["rows_before"]["value"], figures(two)["rows_before"]["error"]) == (1140.0, None)


def test_what_cannot_be_predicted_is_said() -> None:
    nothing = forecast([], 50, 10)
    assert (nothing["message"], nothing["total"]) == ("There have been no filter passes yet.", None)
    one = forecast(passes([50]), 50, 60)
    assert one["message"] == "There has been one filter pass since the start; a prediction needs at least two."
    assert (one["total"], one["tables"][0]["prediction"]) == (None, None)
    mixed = forecast([*passes([50, 100, 150]), *passes([150], table="late")], 50, 150)
    assert mixed["message"] == "1 of 2 tables have had one filter pass, and are not included."
    assert [one["table"] for one in mixed["tables"] if one["prediction"]] == ["user"]
    grows = forecast(passes([50, 100, 150], evicted=0), 50, 150)
    assert grows["tables"][0]["message"] == "no pass has evicted rows: without a filter rule, a table only grows"
    assert figures(grows)["rows_after"]["value"] == figures(grows)["rows_before"]["value"]


def test_only_the_last_passes_of_the_attempt_that_began_last_count() -> None:
    old = passes([50 * number for number in range(1, 9)], added=900)
    new = passes([100, 150, 200], attempt=2)
    assert (
        figures(forecast(sorted(old + new, key=lambda one: one.record.step), 50, 220))["rows_before"]["value"] == 1160.0
    )
    early = passes([50, 100], added=5000)
    late = passes([150 + 50 * number for number in range(LAST_PASSES + 1)])
    answer = forecast([*early, *late], 50, 1000)
    assert answer["tables"][0]["passes"] == LAST_PASSES + 1
    assert figures(answer)["rows_before"]["error"] == 0.0


@given(
    st.lists(st.integers(1, 500), min_size=1, max_size=15),
    st.integers(1, 10**6),
    st.integers(0, 300),
    st.integers(1, 3),
)
def test_ranks_add_up_and_nothing_is_negative(distances: list[int], interval: int, added: int, ranks: int) -> None:
    steps = [sum(distances[: number + 1]) for number in range(len(distances))]
    one = forecast(passes(steps, added=added, evicted=min(added, 80)), interval, steps[-1])
    rows = [row for rank in range(ranks) for row in passes(steps, added=added, evicted=min(added, 80), rank=rank)]
    many = forecast(rows, interval, steps[-1])
    if one["total"] is None:
        assert many["total"] is None
        return
    single, total = figures(one), figures(many)
    for name in ("rows_before", "evicted", "rows_after", "at_most", "pass_ms"):
        assert single[name]["value"] >= 0
        assert abs(total[name]["value"] - ranks * single[name]["value"]) <= 0.1 * ranks
    assert total["next_step"] == single["next_step"] > steps[-1]


def test_tables_that_vary_together_or_against_each_other_have_the_error_of_their_sum() -> None:
    one = [passes([50], added=100), passes([100], added=140), passes([150], added=100), passes([200], added=140)]
    other = [passes([50], added=140), passes([100], added=100), passes([150], added=140), passes([200], added=100)]
    rows = [row for part in one for row in part]
    against = [PassRow(0, 1, replace(row.record, table="item")) for part in other for row in part]
    same = [PassRow(0, 1, replace(row.record, table="item")) for row in rows]
    single = figures(forecast(rows, 50, 200))["rows_before"]["error"]
    assert single > 0
    assert figures(forecast(rows + same, 50, 200))["rows_before"]["error"] == pytest.approx(2 * single, abs=0.2)
    assert figures(forecast(rows + against, 50, 200))["rows_before"]["error"] == 0.0
