"""`recis-monitor import`: into the store if no server is running, otherwise to the server."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from recis_server.cli import main

import recis.monitor
from tests.e2e.processes import until
from tests.recis.importing.writing import scalar_event, write_events
from tests.server.httpserver import serve

pytestmark = pytest.mark.slow


def fill(logs: Path, num_points: int, first: int = 0) -> None:
    events = [scalar_event("loss", float(step), step, 1.7e9 + step) for step in range(first, first + num_points)]
    write_events(logs / "run" / "events.out.tfevents.1", events)


def only_run(data: Path, capfd: pytest.CaptureFixture[str]) -> str:
    assert main(["runs", "--data", str(data)]) == 0
    (line,) = capfd.readouterr().out.splitlines()
    run, project, name, state, _ = line.split("\t")
    assert (project, name, state) == ("shop", "run", "finished")
    return run


def test_into_the_store_and_again(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Variables for servers and trainings have no effect here.
    for name, value in {"PORT": "1", "HOST": "0.0.0.0", "URL": "http://127.0.0.1:9", "TOKEN": "x"}.items():
        monkeypatch.setenv(f"RECIS_MONITOR_{name}", value)
    data = tmp_path / "data"
    command = ["import", "tensorboard", str(tmp_path / "logs"), "--project", "shop", "--data", str(data)]
    # A store with tokens accepts them too.
    assert main(["token", "create", "--scope", "view", "--data", str(data)]) == 0
    capfd.readouterr()
    fill(tmp_path / "logs", 1000)
    for expected in ("1 run, 1 file: 1,000 new points\n", "1 run, 1 file: 0 new points\n"):
        assert main(command) == 0
        assert capfd.readouterr() == (expected, "")
    fill(tmp_path / "logs", 10, 1000)
    assert main(command) == 0
    assert capfd.readouterr().out == "1 run, 1 file: 10 new points\n"
    series = recis.monitor.read(data, only_run(data, capfd))["loss"]
    assert series.steps.tolist() == list(range(1010))
    assert series.values.tolist() == [float(step) for step in range(1010)]


def test_a_store_that_has_a_server_is_left_to_it(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    fill(tmp_path / "logs", 10)
    data = tmp_path / "data"
    command = ["import", "tensorboard", str(tmp_path / "logs"), "--project", "shop"]
    with serve(data) as server:
        assert main([*command, "--data", str(data)]) == 2
        said = capfd.readouterr().err
        assert f"in use by process {server.child.pid}" in said
        assert "to import into a running server, use --url URL" in said
        assert main([*command, "--url", server.url]) == 0
        assert capfd.readouterr().out == "1 run, 1 file: 10 new points\n"
        run = only_run(data, capfd)
        assert len(recis.monitor.read(server.url, run)["loss"]) == 10
    assert main([*command, "--data", str(data)]) == 0
    assert capfd.readouterr().out == "1 run, 1 file: 0 new points\n"


def test_bad_usage_goes_through(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["import", "tensorboard", str(tmp_path / "no"), "--data", str(tmp_path / "data")]) == 2
    assert "expected a folder with event files" in capfd.readouterr().err
    with pytest.raises(SystemExit) as stop:
        main(["import", "wandb"])
    assert stop.value.code == 2
    assert "invalid choice: 'wandb'" in capfd.readouterr().err


def test_an_import_that_is_killed_goes_on_where_it_was(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    num_points = 300_000
    fill(tmp_path / "logs", num_points)
    data = tmp_path / "data"
    command = ["import", "tensorboard", str(tmp_path / "logs"), "--project", "shop", "--data", str(data)]
    with subprocess.Popen([sys.executable, "-m", "recis_server", *command], start_new_session=True) as child:
        log = data / "recis.db-wal"
        until(lambda: log.exists() and log.stat().st_size > 600_000, 60, "some of it is stored")
        os.killpg(child.pid, signal.SIGKILL)
    assert main(command) == 0
    text = capfd.readouterr().out
    rest = int(text.removeprefix("1 run, 1 file: ").split()[0].replace(",", ""))
    assert 0 < rest < num_points
    series = recis.monitor.read(data, only_run(data, capfd))["loss"]
    assert len(series) == num_points
    assert series.values.tolist() == series.steps.tolist()


def test_an_import_into_a_server_that_is_killed_again_and_again_ends_with_everything_once(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    num_points = 300_000
    fill(tmp_path / "logs", num_points)
    data = tmp_path / "data"
    with serve(data) as server:
        command = ["import", "tensorboard", str(tmp_path / "logs"), "--project", "shop", "--url", server.url]

        def stored() -> int:
            runs = httpx.get(f"{server.url}/api/v1/runs").json()["runs"]
            return int(runs[0]["received"]["points"]) if runs else 0

        known = 0
        for _ in range(3):
            with subprocess.Popen([sys.executable, "-m", "recis_server", *command], start_new_session=True) as child:
                until(lambda: stored() > known, 60, "more of it is stored")  # noqa: B023
                os.killpg(child.pid, signal.SIGKILL)
            known = stored()
            assert known <= num_points
        assert main(command) == 0
        assert capfd.readouterr().out.startswith("1 run, 1 file: ")
        assert stored() == num_points
        series = recis.monitor.read(server.url, only_run(data, capfd))["loss"]
        assert series.steps.tolist() == list(range(num_points))
        assert series.values.tolist() == series.steps.tolist()
