import json
import math
from dataclasses import replace

from recis_server.query.shapes import command_shape, controls_shape, plain, run_shape
from recis_server.store.values import CommandRow, ControlRow, RankResult, RunRow


def control(rank: int, value: object, *, desired: object = None, desired_by: str = "") -> ControlRow:
    row = ControlRow("filter_interval", rank, "int", value, 7, 1, math.inf, True, "steps", "")
    return replace(row, desired=desired, desired_by=desired_by)


def command(number: int, value: object, state: str) -> CommandRow:
    ranks = {1: RankResult("applied", 1, math.nan, 5, 10**9), 0: RankResult("pending")}
    return CommandRow(f"c{number}", "r", "filter_interval", value, state, "x", number, "", None, ranks)  # type: ignore[arg-type]


def test_everything_is_json_whatever_the_numbers() -> None:
    value = {"a": [math.nan, math.inf, (-math.inf, 1)], 2: {"b": None}}
    assert plain(value) == {"a": ["NaN", "Infinity", ["-Infinity", 1]], "2": {"b": None}}


def test_a_control_has_the_value_that_was_last_set_and_names_the_ranks_that_differ() -> None:
    rows = [control(1, 100, desired=300, desired_by="c2"), control(0, 90, desired=300, desired_by="c2")]
    (shape,) = controls_shape(rows)
    assert (shape["value"], shape["desired"], shape["maximum"]) == (90, 300, "Infinity")
    assert shape["ranks"] == {"0": {"value": 90, "step": 7}, "1": {"value": 100, "step": 7}}
    assert shape["differs"] == [0, 1]
    (shape,) = controls_shape([control(0, 90), control(1, 90)])
    assert (shape["desired"], shape["differs"]) == (90, [])


def test_a_command_tells_how_it_stands_on_every_rank() -> None:
    shape = command_shape(command(1, 200, "delivered"))
    assert list(shape["ranks"]) == ["0", "1"]
    answer = {"state": "applied", "old": 1, "new": "NaN", "step": 5, "late": False, "time": 1.0, "message": ""}
    assert shape["ranks"]["1"] == answer
    json.dumps(shape, allow_nan=False)


def test_times_outside_of_the_calendar_do_not_break_a_list() -> None:
    for time_ns in (-(2**63), 0, 2**63 - 1, 10**30):
        row = RunRow("r", "p", "n", "running", time_ns, time_ns, (0,), 1, 1, 5, {}, (), "", "{}", 0, 0, 0)
        assert run_shape(row, "running")["created_at"].endswith("Z")
