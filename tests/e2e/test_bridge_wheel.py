"""recis-monitor-bridge: built from the tree and from its sdist, and used with a foreign package `recis`.

The stand-in for RecIS calls hooks as RecIS does: steps that are incremented in place, `end` after each evaluation too,
a registry of metrics that is never cleared.
"""

import email
import json
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import hatch_build
import pytest

import recis.monitor
from recis import __version__
from tests.e2e.environments import build, clean_environment, install, make_environment, run_in
from tests.e2e.processes import RunningCommand, get_json, put_json, until
from tests.rules.sources import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

BRIDGE = ROOT / "distributions" / "bridge"
TRAIN = """
import itertools, json, time
import recis
from recis.framework.trainer import Trainer
from recis.hooks.filter_hook import HashTableFilterHook
from recis_monitor import MonitorHook

assert recis.__version__ == "1.2.10", recis.__file__
filters = HashTableFilterHook(1000)
trainer = Trainer(hooks=[filters])
trainer.add_hook(MonitorHook(URL, run_id="night"))

def batches():
    end = time.monotonic() + 100
    while filters.filter_interval == 1000:
        assert time.monotonic() < end, "no command has come"
        time.sleep(0.02)
        yield 0.5
    yield from [0.25] * 9

trainer.train(iter([1.0] * 10))
trainer.evaluate(3)
trainer.train(batches())
trainer.evaluate(3)
print(json.dumps({"steps": trainer._global_step.item(), "passes": filters.passes}))
"""
OFFLINE = """
import recis_monitor
with recis_monitor.init(mode="offline", run_id="later", spool_dir="spool"):
    recis_monitor.control("lr", type="float", value=0.1, on_change=print)
    for step in range(10):
        recis_monitor.log({"loss": step / 2}, step=step)
"""
READ = """
import recis_monitor
assert recis_monitor.read(URL, "later")["loss"].values.tolist() == [step / 2 for step in range(10)]
try:
    recis_monitor.read("data", "later")
except ImportError as error:
    assert "expected a server's address" in str(error), error
else:
    raise AssertionError("expected that a data folder cannot be read without the server's packages")
"""


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheels of both distributions and of the stand-in, by distribution."""
    folder = tmp_path_factory.mktemp("wheels")
    for source in (ROOT, BRIDGE, ROOT / "tests/e2e/standin"):
        build(folder, "--wheel", source=source, RECIS_MONITOR_PURE="1")
    return {path.name.split("-")[0]: path for path in folder.glob("*.whl")}


@pytest.fixture(scope="module")
def environment(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment that has the stand-in and recis-monitor-bridge."""
    folder = make_environment(tmp_path_factory.mktemp("beside"), str(wheels["recis"]))
    install(folder, str(wheels["recis_monitor_bridge"]))
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server."""
    with RunningCommand(tmp_path_factory.mktemp("server"), "serve") as command:
        yield command.wait_for(r"Listening on (\S+)")


def content(wheel: Path) -> dict[str, bytes]:
    """Return the files of a wheel by name."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_wheel_has_one_package_and_says_what_it_is_for(wheels: dict[str, Path]) -> None:
    path = wheels["recis_monitor_bridge"]
    assert path.name == f"recis_monitor_bridge-{__version__}-py3-none-any.whl"
    files = content(path)
    info = f"recis_monitor_bridge-{__version__}.dist-info"
    assert {name.split("/")[0] for name in files} == {"recis_monitor", info}
    modules = {name for name in files if name.endswith(".py")}
    assert len(modules) == len(hatch_build.find_modules())
    assert {"recis_monitor/__init__.py", "recis_monitor/bridge/run.py", "recis_monitor/wire/codec.py"} <= modules
    assert "recis_monitor/py.typed" in files
    assert files[f"{info}/licenses/LICENSE"] == (ROOT / "LICENSE").read_bytes()
    metadata = email.message_from_bytes(files[f"{info}/METADATA"])
    assert (metadata["Name"], metadata["Version"]) == ("recis-monitor-bridge", __version__)
    assert "RecIS" in metadata["Summary"]
    main = email.message_from_bytes(content(wheels["recis_monitor"])[f"recis_monitor-{__version__}.dist-info/METADATA"])
    assert "beside RecIS, install recis-monitor-bridge instead" in main["Summary"]


def test_the_sdist_builds_the_same_wheel_without_the_source_tree(wheels: dict[str, Path], tmp_path: Path) -> None:
    build(tmp_path / "sdist", "--sdist", source=BRIDGE)
    (sdist,) = (tmp_path / "sdist").glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    assert {path.name for path in unpacked.iterdir()} - {".gitignore"} == {
        "LICENSE",
        "PKG-INFO",
        "README.md",
        "hatch_build.py",
        "pyproject.toml",
        "recis_monitor",
    }
    build(tmp_path / "wheel", "--wheel", source=unpacked)
    (again,) = (tmp_path / "wheel").glob("*.whl")
    assert content(again) == content(wheels["recis_monitor_bridge"])


def test_a_training_of_recis_streams_and_takes_a_filter_interval(
    environment: Path, server: str, tmp_path: Path
) -> None:
    command = [str(environment / "bin/python"), "-W", "error", "-c", f"URL = {server!r}\n{TRAIN}"]
    training = subprocess.Popen(
        command, cwd=tmp_path, env=clean_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        run = f"{server}/api/v1/runs/night"

        def is_offered() -> bool:
            assert training.poll() is None, training.communicate()
            runs = get_json(f"{server}/api/v1/runs")["runs"]
            return bool(runs) and bool(get_json(f"{run}/controls")["controls"])

        until(is_offered, 100, "the training offers its filter interval")
        put_json(f"{run}/controls/filter_interval", {"value": 3, "reason": "rows pile up"})
        output, errors = training.communicate(timeout=100)
    finally:
        training.kill()
        training.wait()
    assert (training.returncode, errors) == (0, "")
    done = json.loads(output)
    num_steps = done["steps"]
    first = done["passes"][-3]
    assert done["passes"][-3:] == [first, first + 3, first + 6]
    data = recis.monitor.read(server, "night")
    assert data["loss"].steps.tolist() == list(range(1, num_steps + 1))
    assert data["loss"].values[:10].tolist() == [1.0] * 10
    assert data["loss"].values[-9:].tolist() == [0.25] * 9
    assert list(zip(data["auc"].steps.tolist(), data["auc"].values.tolist(), strict=True)) == [
        (10, 10.2),
        (num_steps, num_steps + 0.2),
    ]
    assert get_json(run)["state"] == "finished"
    (control,) = get_json(f"{run}/controls")["controls"]
    assert (control["name"], control["value"]) == ("filter_interval", 3)


def test_without_a_trainer_it_spools_sends_and_reads(environment: Path, server: str, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "recis.db").touch()
    spooled = run_in(environment, tmp_path, "python", "-W", "error", "-c", OFFLINE)
    assert spooled.returncode == 0, spooled.stderr
    sent = run_in(environment, tmp_path, "python", "-m", "recis_monitor", "sync", "spool", "--url", server)
    assert (sent.returncode, sent.stdout.endswith(": sent\n")) == (0, True), sent.stderr
    read = run_in(environment, tmp_path, "python", "-W", "error", "-c", f"URL = {server!r}\n{READ}")
    assert read.returncode == 0, read.stderr
    wrong = run_in(environment, tmp_path, "python", "-m", "recis_monitor", "serve")
    assert (wrong.returncode, wrong.stdout) == (2, "")


def test_recis_monitor_and_recis_in_one_environment_are_named(wheels: dict[str, Path], tmp_path: Path) -> None:
    environment = make_environment(tmp_path / "both", str(wheels["recis"]))
    install(environment, str(wheels["recis_monitor"]))
    for last in ("recis_monitor", "recis"):
        install(environment, "--reinstall", "--no-deps", str(wheels[last]))
        done = run_in(environment, tmp_path, "python", "-W", "error", "-c", "import recis, recis.monitor")
        assert (done.returncode, done.stderr.count("\n")) == (0, 1), done.stderr
        assert "recis-1.2.10.dist-info" in done.stderr
        assert "pip install recis-monitor-bridge" in done.stderr
        assert ("version 1.2.10" in done.stderr) is (last == "recis")
