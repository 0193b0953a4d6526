"""The benchmarks still run, at sizes that say nothing about speed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.rules.sources import ROOT


def results_of(name: str, folder: Path) -> dict[str, object]:
    """Run one of the scripts, and return what it has written."""
    command = [sys.executable, "-m", f"benchmarks.{name}", "--quick", "--output", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    return found


@pytest.mark.slow
def test_every_point_of_the_ingest_loads_is_committed(tmp_path: Path) -> None:
    loads = results_of("ingest", tmp_path)["loads"]
    assert isinstance(loads, list)
    assert [load["name"] for load in loads] == ["long", "wide", "trickle"]
    assert all(load["points_sent"] == load["points_committed"] > 0 for load in loads)


@pytest.mark.slow
def test_the_cost_of_a_step_is_measured_with_the_server_up_frozen_and_absent(tmp_path: Path) -> None:
    results = results_of("step_cost", tmp_path)["results"]
    assert isinstance(results, list)
    assert {one["server"] for one in results if one["contestant"] == "recis"} == {"up", "frozen", "absent"}
    assert all(one["us"]["median"] > 0 for one in results)


@pytest.mark.slow
def test_steps_reach_a_browsers_socket(tmp_path: Path) -> None:
    results = results_of("freshness", tmp_path)["results"]
    assert isinstance(results, list)
    assert results[0]["steps"] > 10


@pytest.mark.slow
def test_the_demo_trains_with_the_monitor_on_and_off(tmp_path: Path) -> None:
    pairs = results_of("demo_overhead", tmp_path)["pairs"]
    assert isinstance(pairs, list)
    assert set(pairs[0]) == {"on", "off"}


@pytest.mark.slow
def test_the_whole_list_of_runs_is_read_while_some_report(tmp_path: Path) -> None:
    readings = results_of("runs_list", tmp_path)["readings"]
    assert isinstance(readings, list)
    assert [one["runs"] for one in readings] == [90, 100, 100]
    assert all(one["median"] > 0 for one in readings)
