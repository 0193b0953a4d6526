"""Sdist and wheel: their content, and their use in empty environments without torch.

The base install uses the lowest versions that it allows, the server install the newest.
"""

import email
import importlib.util
import subprocess
import tarfile
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from recis import __version__
from tests.e2e.environments import build, clean_environment, make_environment, run_in
from tests.e2e.processes import until
from tests.recis.importing.writing import scalar_event, write_events
from tests.rules.sources import ROOT, sources

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

OWN = {source.where for source in sources() if not source.name.startswith("recis_monitor")}
"""The files of this distribution's packages."""
USE_THE_BRIDGE = """
import importlib.util, recis.bridge.row_writer, recis.monitor, recis.wire
assert importlib.util.find_spec("torch") is None
assert recis.bridge.row_writer.RowWriter is not recis.bridge.row_writer.PlainRowWriter, "expected the compiled one"
with recis.monitor.init(url=URL, run_id="numbers") as run:
    for step in range(10):
        run.log({"loss": 1.0 / (step + 1)}, step=step)
assert recis.monitor.read(URL, "numbers")["loss"].values.tolist() == [1.0 / (step + 1) for step in range(10)]
"""
TRAIN_OFFLINE = """
import importlib.util, recis.monitor
assert importlib.util.find_spec("pydantic") is None
with recis.monitor.init(mode="offline", run_id="later", spool_dir="spool") as run:
    for step in range(10):
        run.log({"loss": 1.0 / (step + 1)}, step=step)
"""
READ_BACK = """
import recis.monitor
assert recis.monitor.read(URL, "later")["loss"].values.tolist() == [1.0 / (step + 1) for step in range(10)]
try:
    recis.monitor.read(DATA, "later")
except ImportError as error:
    assert "pip install 'recis-monitor[server]'" in str(error), error
else:
    raise AssertionError("expected that a data folder cannot be read without the server's packages")
"""


def build_wheel(folder: Path, **environment: str) -> Path:
    """Return the wheel of this tree, in `folder`."""
    build(folder, "--wheel", **environment)  # type: ignore[arg-type]
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the sdist of this tree and the wheel built from it."""
    folder = tmp_path_factory.mktemp("dist")
    build(folder)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    """The wheel for this platform."""
    (path,) = built.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with only the wheel with `[server]`."""
    return make_environment(tmp_path_factory.mktemp("server"), f"{wheel}[server]")


@pytest.fixture(scope="module")
def base(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel without extras, and the lowest versions of its requirements."""
    return make_environment(tmp_path_factory.mktemp("base"), str(wheel), "--resolution", "lowest-direct")


@contextmanager
def serving(environment: Path, folder: Path) -> Iterator[str]:
    """Start the server of an environment on `folder`/data, and yield its address."""
    log = folder / "output.txt"
    with log.open("w") as output:
        command = [str(environment / "bin/recis-monitor"), "serve", "--port", "0", "--data", str(folder / "data")]
        server = subprocess.Popen(command, cwd=folder, stdout=output, stderr=subprocess.STDOUT, env=clean_environment())
    try:
        until(lambda: "Listening on " in log.read_text() or server.poll() is not None, 30, "the server listens")
        yield log.read_text().split("Listening on ")[1].split()[0]
    finally:
        server.terminate()
        assert server.wait(timeout=30) == 0


# --- content


def test_the_sdist_has_the_sources_and_no_tests(built: Path) -> None:
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = [name.split("/", 1)[1] for name in archive.getnames() if "/" in name]
    folders = {name.split("/")[0] for name in names if "/" in name}
    assert folders == {"docs", "recis", "scripts", "server", "web"}
    files = {name for name in names if "/" not in name}
    assert files - {".gitignore"} == {"LICENSE", "PKG-INFO", "README.md", "THIRD-PARTY-NOTICES", "pyproject.toml"}
    assert set(names) >= OWN
    assert {"recis/bridge/_row_writer.c", "scripts/compile_rows.py", "docs/index.md", "web/vendor/vendor.mjs"} <= set(
        names
    )
    parts = {part for name in names for part in name.split("/")}
    assert parts.isdisjoint({"tests", "node_modules", "__pycache__", "_build", "dist"})
    assert not [name for name in names if name.endswith((".so", ".pyc", ".test.js"))]


def test_the_wheel_has_the_packages_the_page_and_the_licences(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        info = f"recis_monitor-{__version__}.dist-info"
        metadata = email.message_from_bytes(archive.read(f"{info}/METADATA"))
        licence = archive.read(f"{info}/licenses/LICENSE")
        notices = archive.read(f"{info}/licenses/THIRD-PARTY-NOTICES")
        entries = archive.read(f"{info}/entry_points.txt").decode()
    assert {name.split("/")[0] for name in names} == {"recis", "recis_server", info}
    assert {where.removeprefix("server/") for where in OWN} <= names
    pages = {f"recis_server/{path.relative_to(ROOT)}" for path in (ROOT / "web").rglob("*.js")}
    assert pages | {"recis_server/web/index.html", "recis_server/web/css/tokens.css"} <= names
    assert not [name for name in names if name.endswith((".d.ts", ".mjs", "tsconfig.json", ".pyc", ".test.js"))]
    assert licence == (ROOT / "LICENSE").read_bytes()
    assert notices == (ROOT / "THIRD-PARTY-NOTICES").read_bytes()
    assert metadata["Version"] == __version__
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Author"]
    urls = {line.split(",")[0] for line in metadata.get_all("Project-URL", [])}
    assert {"Documentation", "Changelog", "Source", "Issues"} <= urls
    assert entries.strip().splitlines() == ["[console_scripts]", "recis-monitor = recis.cli:main"]


def test_the_wheel_is_for_one_platform_or_where_nothing_is_compiled_for_all(wheel: Path, tmp_path: Path) -> None:
    assert "-cp311-abi3-" in wheel.name
    compiled = set(zipfile.ZipFile(wheel).namelist())
    no_compiler = build_wheel(tmp_path / "no-compiler", CC="false")
    on_request = build_wheel(tmp_path / "on-request", RECIS_MONITOR_PURE="1")
    for plain in (no_compiler, on_request):
        assert plain.name.endswith("-py3-none-any.whl")
        assert compiled - set(zipfile.ZipFile(plain).namelist()) == {"recis/bridge/_row_writer.abi3.so"}
    # The compiled module of an editable install is not changed.
    assert importlib.util.find_spec("recis.bridge._row_writer") is not None


# --- use


def test_the_base_install_trains_sends_and_says_what_the_rest_needs(
    base: Path, environment: Path, tmp_path: Path
) -> None:
    assert run_in(base, tmp_path, "recis-monitor", "--version").stdout == f"recis-monitor {__version__}\n"
    refused = run_in(base, tmp_path, "recis-monitor", "serve")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "pip install 'recis-monitor[server]'" in refused.stderr
    assert refused.stderr.count("\n") == 1
    trained = run_in(base, tmp_path, "python", "-W", "error", "-c", TRAIN_OFFLINE)
    assert trained.returncode == 0, trained.stderr
    with serving(environment, tmp_path) as url:
        sent = run_in(base, tmp_path, "recis-monitor", "sync", "spool", "--url", url)
        assert (sent.returncode, sent.stdout.endswith(": sent\n")) == (0, True), sent.stderr
        script = f"URL = {url!r}\nDATA = {str(tmp_path / 'data')!r}\n{READ_BACK}"
        read = run_in(base, tmp_path, "python", "-W", "error", "-c", script)
        assert read.returncode == 0, read.stderr


def test_the_installed_server_serves_the_page_and_takes_numbers(environment: Path, tmp_path: Path) -> None:
    with serving(environment, tmp_path) as url:
        for path, part in (("/", b'src="/static/js/main.js"'), ("/static/js/main.js", b"import")):
            with urllib.request.urlopen(url + path, timeout=10) as answer:
                assert part in answer.read()
        used = run_in(environment, tmp_path, "python", "-c", f"URL = {url!r}\n{USE_THE_BRIDGE}")
        assert used.returncode == 0, used.stderr
        with urllib.request.urlopen(f"{url}/api/v1/runs/numbers/metrics", timeout=10) as answer:
            assert b'"count":10' in answer.read().replace(b" ", b"")


def test_numbers_come_in_and_out_without_a_server(environment: Path, tmp_path: Path) -> None:
    write_events(tmp_path / "logs" / "x.tfevents", [scalar_event("loss", 0.5, step, 1.7e9) for step in range(10)])
    assert (
        run_in(environment, tmp_path, "recis-monitor", "import", "tensorboard", "logs").stdout
        == "1 run, 1 file: 10 new points\n"
    )
    name = run_in(environment, tmp_path, "recis-monitor", "runs").stdout.split("\t")[0]
    assert (
        run_in(environment, tmp_path, "recis-monitor", "export", name, "--format", "csv").stdout.count(",0.5,0\n") == 10
    )
    refused = run_in(environment, tmp_path, "recis-monitor", "export", name, "--format", "parquet", "-o", "out.parquet")
    assert refused.returncode == 2
    assert "pip install 'recis-monitor[parquet]'" in refused.stderr
    script = f"import recis.monitor; assert len(recis.monitor.read('recis-data', {name!r})['loss']) == 10"
    assert run_in(environment, tmp_path, "python", "-c", script).returncode == 0


def test_the_demo_says_how_to_get_torch_where_it_is_missing(environment: Path, tmp_path: Path) -> None:
    done = run_in(environment, tmp_path, "recis-monitor", "demo", "--no-browser", "--exit")
    assert done.returncode != 0
    assert done.stderr.strip().splitlines() == [
        "The demo trains with PyTorch, which is not installed: pip install torch==2.13.0"
    ]
