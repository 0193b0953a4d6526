"""The wheel in an empty environment without torch: the server serves the page, the bridge takes plain numbers."""

import importlib.util
import os
import subprocess
import sys
import urllib.request
import zipfile
from pathlib import Path

import pytest

from tests.e2e.processes import until
from tests.recis.importing.writing import scalar_event, write_events
from tests.rules.sources import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

USE_THE_BRIDGE = """
import importlib.util, recis.bridge.rows, recis.monitor, recis.wire
assert importlib.util.find_spec("torch") is None
assert recis.bridge.rows.RowWriter is not recis.bridge.rows.PlainRowWriter, "expected the compiled one"
with recis.monitor.init(url=URL, run_id="numbers") as run:
    for step in range(10):
        run.log({"loss": 1.0 / (step + 1)}, step=step)
assert recis.monitor.read(URL, "numbers")["loss"].values.tolist() == [1.0 / (step + 1) for step in range(10)]
"""


def build_wheel(folder: Path, **environment: str) -> Path:
    """The wheel of this tree, in `folder`."""
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True, env={**os.environ, **environment})
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an environment that has the wheel with `[server]`, and nothing else."""
    folder = tmp_path_factory.mktemp("wheel")
    wheel = build_wheel(folder)
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    install = [str(folder / "venv/bin/python"), "-m", "pip", "install", "--quiet", f"{wheel}[server]"]
    subprocess.run(install, check=True, cwd=folder, capture_output=True)
    return folder / "venv"


def test_the_installed_server_serves_the_page_and_takes_numbers(environment: Path, tmp_path: Path) -> None:
    log = tmp_path / "output.txt"
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "RECIS"))}
    with log.open("w") as output:
        command = [str(environment / "bin/recis-monitor"), "serve", "--port", "0", "--data", str(tmp_path / "data")]
        server = subprocess.Popen(command, cwd=tmp_path, stdout=output, stderr=subprocess.STDOUT, env=clean)
    try:
        until(lambda: "Listening on " in log.read_text() or server.poll() is not None, 30, "the server listens")
        url = log.read_text().split("Listening on ")[1].split()[0]
        for path, part in (("/", b'src="/static/js/main.js"'), ("/static/js/main.js", b"import")):
            with urllib.request.urlopen(url + path, timeout=10) as answer:
                assert part in answer.read()
        script = f"URL = {url!r}\n{USE_THE_BRIDGE}"
        subprocess.run([str(environment / "bin/python"), "-c", script], cwd=tmp_path, check=True, env=clean)
        with urllib.request.urlopen(f"{url}/api/v1/runs/numbers/metrics", timeout=10) as answer:
            assert b'"count":10' in answer.read().replace(b" ", b"")
    finally:
        server.terminate()
        assert server.wait(timeout=30) == 0


def test_numbers_come_in_and_out_without_a_server(environment: Path, tmp_path: Path) -> None:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "RECIS"))}

    def run(*command: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [str(environment / "bin" / command[0]), *command[1:]],
            cwd=tmp_path,
            env=clean,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    write_events(tmp_path / "logs" / "x.tfevents", [scalar_event("loss", 0.5, step, 1.7e9) for step in range(10)])
    assert run("recis-monitor", "import", "tensorboard", "logs").stdout == "1 run, 1 file: 10 new points\n"
    name = run("recis-monitor", "runs").stdout.split("\t")[0]
    assert run("recis-monitor", "export", name, "--format", "csv").stdout.count(",0.5,0\n") == 10
    refused = run("recis-monitor", "export", name, "--format", "parquet", "-o", "out.parquet")
    assert refused.returncode == 2
    assert "pip install 'recis-monitor[parquet]'" in refused.stderr
    script = f"import recis.monitor; assert len(recis.monitor.read('recis-data', {name!r})['loss']) == 10"
    assert run("python", "-c", script).returncode == 0


def test_the_demo_says_how_to_get_torch_where_it_is_missing(environment: Path, tmp_path: Path) -> None:
    command = [str(environment / "bin/recis-monitor"), "demo", "--no-browser", "--exit"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode != 0
    assert done.stderr.strip().splitlines() == [
        "The demo trains with PyTorch, which is not installed: pip install torch==2.13.0"
    ]


def test_the_wheel_is_for_one_platform_or_where_nothing_compiles_for_all(tmp_path: Path) -> None:
    compiled, plain = build_wheel(tmp_path / "compiled"), build_wheel(tmp_path / "plain", CC="false")
    assert "-cp311-abi3-" in compiled.name
    assert plain.name.endswith("-py3-none-any.whl")
    extra = set(zipfile.ZipFile(compiled).namelist()) - set(zipfile.ZipFile(plain).namelist())
    assert extra == {"recis/bridge/_rows.abi3.so"}
    # An editable install's own module stays as it was.
    assert importlib.util.find_spec("recis.bridge._rows") is not None
