"""Effects and forecasts on a terminal: every state, aligned, and without control sequences."""

from typing import Any

import pytest

from recis.remote.effects import effect_lines, forecast_lines

SIDE = {"mean": 860.0, "error": 9.53, "count": 5, "nan": 0}
ROWS = {
    "key": "table/user/rows",
    "before": SIDE,
    "after": {"mean": 1020.04, "error": 12.1, "count": 3, "nan": 0},
    "difference": 160.04,
    "noise": 44.0,
    "verdict": "higher",
    "repeated": 0,
}
LOSS = {
    "key": "loss\x1b[2J",
    "difference": None,
    "noise": None,
    "verdict": "unknown",
    "repeated": 3,
    "before": {"mean": "NaN", "error": None},
    "after": {"mean": None, "error": None},
}


def effect(state: str, **more: Any) -> dict[str, Any]:
    empty: dict[str, Any] = {
        "message": "",
        "steps": {},
        "windows": None,
        "missing_steps": 0,
        "metrics": [],
        "also": [],
        "without": {},
    }
    return {"command": "c1", "state": state, **empty, "ranks_left_out": 0, "tables_left_out": 0, **more}


def test_figures_are_aligned_with_their_limits_below() -> None:
    lines = effect_lines(
        effect(
            "measured",
            steps={"0": 512, "1": 512},
            windows={"steps": 500, "cut": "start", "by": None},
            metrics=[ROWS, LOSS],
            also=[{"command": "c2", "controls": ["lr"], "step": 700}],
            without={"3": "pending"},
            tables_left_out=2,
        )
    )
    assert lines == [
        "command c1: 500 steps before and after step 512; no more, as the run began",
        "metric           result          change     before     after",
        "table/user/rows  higher          +160 ± 44  860 ± 9.5  1020 ± 12",
        "loss�[2J         too few values  -          NaN        -",
        "also changed: lr at step 700 (command c2)",
        "not applied: rank 3 (pending)",
        "left out: 3 steps before it that a later attempt has trained again",
        "left out: 2 further tables",
    ]


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        (
            effect("waiting", missing_steps=37, windows={"steps": 100, "cut": None, "by": None}),
            "command c1: not enough steps yet: 37 more are needed for 100 after the change",
        ),
        (effect("open", message="No rank has applied\nit."), "command c1: No rank has applied�it."),
        (
            effect("measured", steps={"0": 10, "1": 12}, windows={"steps": 10, "cut": None, "by": None}),
            "command c1: 10 steps before and after the step of each rank, 10 to 12",
        ),
    ],
)
def test_without_figures_one_line_says_why(answer: dict[str, Any], line: str) -> None:
    assert effect_lines(answer) == [line]


def test_a_forecast_has_a_row_for_each_table_and_their_sum() -> None:
    estimate = {"value": 1100.0, "error": 30.5}
    names = ("rows_before", "evicted", "rows_after", "at_most", "pass_ms", "ms_per_step")
    figures = {"next_step": 700, **dict.fromkeys(names, estimate)}
    tables = [
        {"table": "user", "message": "", "prediction": figures},
        {"table": "item", "message": "two passes; the error is not known yet", "prediction": figures},
        {"table": "new", "message": "one pass; a prediction needs at least two", "prediction": None},
    ]
    lines = forecast_lines({"message": "", "total": figures, "tables": tables})
    assert [line.split()[0] for line in lines] == ["table", "user", "item", "all", "item:", "new:"]
    assert lines[1].replace(" ", "") == "user700" + 6 * "1100±30"
    assert {line.index("1100") for line in lines[1:4]} == {lines[0].index("rows_before")}
    nothing: dict[str, Any] = {"message": "There have been no filter passes yet.", "total": None, "tables": []}
    assert forecast_lines(nothing) == ["There have been no filter passes yet."]
