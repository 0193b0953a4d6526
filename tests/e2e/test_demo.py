"""The demo command: it ends with the right exit code, stores every point, and runs in several processes."""

import re
import signal
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.processes import RunningCommand, get_json, put_json, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_with_exit_it_ends_with_0_and_every_point_is_stored(tmp_path: Path) -> None:
    with RunningCommand(tmp_path, "demo", "--steps", "60", "--rate", "0", "--exit", "--no-browser") as demo:
        assert demo.wait(200) == 0, demo.output
        assert demo.processes() == []
    auc = float(re.findall(r"Held out.* AUC (\d\.\d+)", demo.output)[-1])
    with RunningCommand(tmp_path, "serve") as server:
        address = server.wait_for(r"Listening on (\S+)")
        (run,) = get_json(f"{address}/api/v1/runs")["runs"]
        assert (run["state"], run["last_step"], run["ranks"]) == ("finished", 60, [0])
        assert run["received"]["missing"] == run["received"]["dropped"] == 0
        metrics = {each["key"]: each for each in get_json(f"{address}/api/v1/runs/{run['id']}/metrics")["metrics"]}
        # Logged are the loss at every step, the AUC at every fifth, QPS with every line, and one evaluation.
        counts = {key: metrics[key]["count"] for key in ("loss", "auc", "lr", "qps", "eval/auc", "eval/loss")}
        assert counts == {"loss": 60, "auc": 12, "lr": 12, "qps": 6, "eval/auc": 1, "eval/loss": 1}
        assert metrics["eval/auc"]["last_value"] == pytest.approx(auc, abs=1e-4)
        traces = get_json(f"{address}/api/v1/runs/{run['id']}/traces")["traces"]
        assert {trace["step"] for trace in traces if trace["state"] == "ready"} == {25, 50}


def test_two_ranks_are_one_run_one_of_which_becomes_slow_and_sigterm_stops_all(tmp_path: Path) -> None:
    options = ("--ranks", "2", "--rate", "0", "--no-browser", "--incident", "slow-rank")
    with RunningCommand(tmp_path, "demo", *options) as demo:
        demo.wait_for(r"(From step 200 on), ")
        address = demo.wait_for(r"Watch the training at (\S+)", limit_s=120)

        def both() -> dict[str, Any] | None:
            runs = get_json(f"{address}/api/v1/runs")["runs"]
            assert len(runs) <= 1
            return runs[0] if runs and runs[0]["ranks"] == [0, 1] and (runs[0]["last_step"] or 0) > 20 else None

        run = until(both, 90, "one run with two ranks")
        assert run is not None
        assert run["world_size"] == 2
        api = f"{address}/api/v1/runs/{run['id']}"
        loss = next(each for each in get_json(f"{api}/metrics")["metrics"] if each["key"] == "loss")
        assert loss["ranks"] == [0, 1]
        command = put_json(f"{api}/controls/filter_interval", {"value": 30})
        ledger = f"{api}/commands/{command['id']}"
        until(lambda: get_json(ledger)["state"] == "applied", 30, "the command is applied on both ranks")
        ranks = get_json(ledger)["ranks"]
        assert set(ranks) == {"0", "1"}
        assert ranks["0"]["step"] == ranks["1"]["step"]

        def waits() -> list[list[float]] | None:
            """Return how long each rank has waited for its data from step 205 on, in ms."""
            query = "key=time/data_wait_ms&start=205&stop=216"
            found = [get_json(f"{api}/series?{query}&rank={rank}")["series"] for rank in (0, 1)]
            return (
                [one[0]["mean"] for one in found] if all(found) and all(one[0]["mean"][10:] for one in found) else None
            )

        fast, slow = until(waits, 120, "steps of the incident") or ([], [])
        assert min(slow) > 2 * sorted(fast)[len(fast) // 2]
        demo.process.send_signal(signal.SIGTERM)
        assert demo.wait(90) == 0
        assert "Held out" in demo.output
        assert demo.processes() == []


def test_a_filter_interval_does_what_was_predicted(tmp_path: Path) -> None:
    with RunningCommand(tmp_path, "demo", "--rate", "0", "--no-browser") as demo:
        address = demo.wait_for(r"Watch the training at (\S+)", limit_s=120)
        (run,) = until(lambda: get_json(f"{address}/api/v1/runs")["runs"], 60, "a run")
        api = f"{address}/api/v1/runs/{run['id']}"
        until(lambda: get_json(f"{api}/controls")["controls"], 60, "its controls")
        put_json(f"{api}/controls/filter_interval", {"value": 20})

        def passes(interval: int) -> list[dict[str, float]]:
            """Return the passes with an interval in order of step, each summed over the tables."""
            found: dict[int, dict[str, float]] = {}
            for one in get_json(f"{api}/filters")["passes"]:
                if one["interval"] == interval:
                    total = found.setdefault(one["step"], {"step": one["step"]})
                    for name in ("rows_before", "evicted", "rows_after", "milliseconds"):
                        total[name] = total.get(name, 0) + one[name]
            return list(found.values())

        # Rows are evicted from step 100 on.
        until(lambda: len(found := passes(20)) > 10 and found[-11]["step"] >= 100, 200, "steady passes")
        forecast = get_json(f"{api}/filters/forecast?filter_interval=40")["total"]
        put_json(f"{api}/controls/filter_interval", {"value": 40})
        # The newest pass may have arrived only for some of the tables.
        first, *later = until(
            lambda: found[:-1] if len(found := passes(40)) > 6 else None, 200, "passes 40 steps apart"
        )
        for name in ("rows_before", "rows_after"):
            assert forecast[name]["value"] == pytest.approx(first[name], rel=0.1), name
        assert forecast["evicted"]["value"] == pytest.approx(first["evicted"], abs=forecast["evicted"]["error"])
        assert forecast["at_most"]["value"] == pytest.approx(later[4]["rows_before"], rel=0.1)
        steps = [one["step"] for one in (first, *later)]
        assert {after - before for before, after in pairwise(steps)} == {40}
        demo.process.send_signal(signal.SIGTERM)
        demo.wait(90)


@pytest.mark.parametrize(
    ("incident", "options"),
    [
        ("nan", ("--steps", "210")),
        ("growing-table", ("--steps", "250")),
    ],
)
def test_an_incident_is_announced_and_shows_after_healthy_steps(
    tmp_path: Path, incident: str, options: tuple[str, ...]
) -> None:
    with RunningCommand(tmp_path, "demo", "--rate", "0", "--no-browser", "--incident", incident, *options) as demo:
        demo.wait_for(r"(From step 200 on), ")
        address = demo.wait_for(r"The training ended with code 0. (\S+) remains", limit_s=200).rstrip("/")
        # The server outlives the training until it is interrupted.
        (run,) = get_json(f"{address}/api/v1/runs")["runs"]
        assert (run["state"], run["last_step"]) == ("finished", int(options[1]))
        INCIDENTS[incident](f"{address}/api/v1/runs/{run['id']}")
        assert demo.interrupt() == 0
        assert demo.processes() == []


def has_nan(api: str) -> None:
    """Return whether the loss is finite for 200 steps and NaN from then on, with one alert."""
    metrics = {each["key"]: each for each in get_json(f"{api}/metrics")["metrics"]}
    assert (metrics["loss"]["count"], metrics["loss"]["nan_count"]) == (210, 10)
    (alert,) = (event for event in get_json(f"{api}/events")["events"] if event["kind"] == "alert")
    assert (alert["step"], alert["level"]) == (205, "warning")
    assert "NaN" in alert["text"]


def has_growing_table(api: str) -> None:
    """Return whether one table grows far beyond its earlier size from pass to pass, and no other does."""
    rows: dict[str, list[int]] = {}
    for one in get_json(f"{api}/filters")["passes"]:
        rows.setdefault(one["table"], []).append(one["rows_after"])
    growth = {table: numbers[4] / numbers[3] for table, numbers in rows.items()}  # after steps 250 and 200
    assert growth.pop("user_x_genre") > 2
    assert max(growth.values()) < 1.5


INCIDENTS: dict[str, Callable[[str], None]] = {
    "nan": has_nan,
    "growing-table": has_growing_table,
}


def test_a_port_in_use_ends_the_demo_with_one_reason(tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()
    with RunningCommand(tmp_path / "first", "serve") as server:
        port = server.wait_for(r"Listening on http://127\.0\.0\.1:(\d+)")
        with RunningCommand(tmp_path, "demo", "--no-browser", "--port", port) as demo:
            assert demo.wait(60) != 0
            assert port in demo.output
            assert "Traceback" not in demo.output
