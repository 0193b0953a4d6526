"""The benchmarks still run, at sizes too small to measure speed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.rules.sources import ROOT

pytestmark = [pytest.mark.timeout(520), pytest.mark.waits]


def results_of(name: str, folder: Path, *options: str, file: str | None = None) -> dict[str, object]:
    """Run one of the scripts, and return the results it has written to `file`, by default named like the script."""
    command = [sys.executable, "-m", f"benchmarks.{name}", "--quick", "--output", str(folder), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads((folder / f"{file or name}.json").read_text(encoding="utf-8"))
    return found


@pytest.mark.slow
def test_every_script_can_be_imported() -> None:
    names = [f"benchmarks.{path.stem}" for path in sorted((ROOT / "benchmarks").glob("*.py"))]
    script = f"import {', '.join(names)}"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_every_point_of_the_ingest_loads_is_committed(tmp_path: Path) -> None:
    loads = results_of("ingest", tmp_path)["loads"]
    assert isinstance(loads, list)
    assert [load["name"] for load in loads] == ["long", "wide", "trickle", "sustained"]
    assert all(load["points_sent"] == load["points_committed"] > 0 for load in loads)
    assert [load["name"] for load in loads if "bare_cores" in load] == ["trickle"]


@pytest.mark.slow
def test_the_cost_of_a_step_is_measured_with_the_server_up_frozen_and_absent(tmp_path: Path) -> None:
    results = results_of("step_cost", tmp_path)["results"]
    assert isinstance(results, list)
    assert {one["server"] for one in results if one["contestant"] == "recis"} == {"up", "frozen", "absent"}
    assert all(one["us"]["median"] > 0 for one in results)


@pytest.mark.slow
def test_tables_are_compared_with_known_ids_and_with_a_dense_gather(tmp_path: Path) -> None:
    results = results_of("tables", tmp_path)
    admission, hook = results["admission"], results["between_passes"]
    assert isinstance(admission, list)
    assert isinstance(hook, dict)
    assert [set(one["new_to"]) for one in admission] == [{"known", "dense"}] * 2
    assert hook["hook_to_nothing"] > 0


@pytest.mark.slow
def test_steps_reach_a_browsers_socket(tmp_path: Path) -> None:
    results = results_of("freshness", tmp_path)["results"]
    assert isinstance(results, list)
    assert results[0]["steps"] > 10


@pytest.mark.slow
def test_servers_that_share_a_database_take_a_load_and_show_it(tmp_path: Path) -> None:
    results = results_of("replicas", tmp_path)
    scenes, recovery = results["scenes"], results["recovery"]
    assert isinstance(scenes, list)
    assert isinstance(recovery, dict)
    assert recovery["kills"] == 1
    assert recovery["s"]["max"] > 0
    assert [one["servers"] for one in scenes] == [1, 2]
    assert all(one["load"]["points_per_s"] > 0 and one["shown"]["steps"] > 5 for one in scenes)
    assert scenes[1]["shown"]["bus_messages_per_s"] > scenes[1]["load"]["bus_messages_per_s"]


@pytest.mark.slow
def test_viewers_of_runs_and_lists_are_sent_updates(tmp_path: Path) -> None:
    scenes = results_of("fanout", tmp_path)["scenes"]
    assert isinstance(scenes, list)
    assert [one["watches"] for one in scenes] == [1, 12, 1, 0]
    assert all(one["viewers_saw"]["updates_per_s_least"] > 0 for one in scenes if one["watches"])
    assert all(one["frames_unacknowledged"] == 0 for one in scenes)


@pytest.mark.slow
def test_the_demo_trains_with_the_monitor_on_and_off_and_a_page_open(tmp_path: Path) -> None:
    pairs = results_of("demo_overhead", tmp_path, "--watched", file="demo_overhead_watched")["pairs"]
    assert isinstance(pairs, list)
    assert set(pairs[0]) == {"on", "off"}


@pytest.mark.slow
def test_the_page_is_measured_beside_a_blank_one_and_a_plain_table(tmp_path: Path) -> None:
    scenes = results_of("page", tmp_path)["scenes"]
    assert isinstance(scenes, list)
    assert [one["static_bytes"] > 10_000 for one in scenes if "ready_ms" in one] == [True, True]
    assert [one["scene"].split()[-1] for one in scenes] == [
        "20",
        "page",
        *["frame"] * 2,
        "charts",
        "runs",
        *["frame"] * 4,
    ]
    assert all(one["frames"] > 0 for one in scenes if "frames" in one)


@pytest.mark.slow
def test_the_whole_list_of_runs_is_read_while_some_report(tmp_path: Path) -> None:
    readings = results_of("runs_list", tmp_path)["readings"]
    assert isinstance(readings, list)
    assert [one["runs"] for one in readings] == [90, 100, 100]
    assert all(one["median"] > 0 for one in readings)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("engine", "measured"), [("sqlite", "charts,list,band,load,disk,memory,export"), ("postgres", "charts,load,disk")]
)
def test_every_stage_of_the_store_is_measured_on(engine: str, measured: str, tmp_path: Path) -> None:
    stages = results_of("store", tmp_path, "--engine", engine, "--only", measured)["stages"]
    assert isinstance(stages, dict)
    assert ",".join(stages) == measured
    assert all(results and all(one["engine"] == engine for one in results) for results in stages.values())
    assert stages["load"][0]["points_per_s"] > 0


@pytest.mark.slow
def test_a_spike_a_nan_and_an_infinity_survive_the_way_into_a_chart(tmp_path: Path) -> None:
    results = results_of("charts", tmp_path)["results"]
    assert isinstance(results, list)
    assert [one["name"] for one in results] == ["recis"]
    assert results[0]["survives"] == {"spike": True, "nan": True, "inf": True}
    assert 0 < results[0]["returned"] <= 2000 < results[0]["points"]


@pytest.mark.slow
def test_commands_are_timed_and_none_is_late(tmp_path: Path) -> None:
    results = results_of("control", tmp_path)["results"]
    assert isinstance(results, list)
    assert [(one["commands"], one["split"]) for one in results] == [(3, 0), (3, 0)]
