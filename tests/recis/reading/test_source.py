"""`recis.monitor.read` against real servers and real folders."""

import http.server
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import recis.monitor
from tests.server.httpserver import Process, Site, ask, serve
from tests.server.realserver import points
from tests.server.routes.test_series import resumed

EXTREMES = [float("nan"), float("inf"), float("-inf"), -0.0, 5e-324, 1.7976931348623157e308]


def fill(folder: Path) -> None:
    async def scenario(site: Site) -> None:
        await resumed(site)
        await site.run("odd", points(list(range(6)), **{"table/user/rows": EXTREMES, "--key": [1.0] * 6}))

    ask(folder, scenario)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reading") / "data"
    fill(folder)
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Process]:
    with serve(folder) as process:
        yield process


def check(place: str | Path) -> None:
    data = recis.monitor.read(place, "r")
    assert (data.run, data.expired, list(data), len(data)) == ("r", 0, ["loss"], 1)
    loss = data["loss"]
    assert [column.dtype.str for column in (loss.steps, loss.times, loss.values, loss.ranks, loss.attempts)] == [
        "<i8",
        "<M8[ns]",
        "<f8",
        "<i4",
        "<i4",
    ]
    assert loss.steps.tolist() == [1, 2, 3, 3]
    assert loss.values.tolist() == [1.0, 20.0, 30.0, 330.0]
    assert loss.ranks.tolist() == [0, 0, 0, 1]
    assert loss.attempts.tolist() == [1, 2, 2, 2]
    assert loss.times.astype(np.int64).tolist() == [10**9, 2 * 10**9, 3 * 10**9, 3 * 10**9]
    assert loss.on_rank(1).values.tolist() == [330.0]
    assert repr(loss) == "<Series 'loss': 4 points, steps 1 to 3, 2 ranks>"
    whole = recis.monitor.read(place, "r", superseded=True)["loss"]
    assert whole.values.tolist() == [1.0, 20.0, 30.0, 2.0, 3.0, 4.0, 330.0, 300.0]
    assert whole.superseded.tolist() == [False] * 3 + [True] * 3 + [False, True]
    odd = recis.monitor.read(place, "odd", keys=["table/user/rows", "nothing"])
    assert list(odd) == ["table/user/rows"]
    assert odd["table/user/rows"].values.tobytes() == np.array(EXTREMES).tobytes()
    assert list(recis.monitor.read(place, "odd", keys=["--key"])) == ["--key"]
    assert len(recis.monitor.read(place, "odd", keys=[])) == 0
    with pytest.raises(LookupError, match="there is no run 'nobody'"):
        recis.monitor.read(place, "nobody")


@pytest.mark.slow
def test_a_server_and_its_folder_give_the_same(folder: Path, server: Process) -> None:
    check(server.url)
    check(folder)
    check(folder / "recis.db")


@pytest.mark.slow
def test_a_folder_without_a_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path / "a b#?%")
    monkeypatch.setenv("RECIS_MONITOR_STORE", "sqlite:////nowhere/recis.db")
    monkeypatch.chdir(tmp_path)
    assert recis.monitor.read("a b#?%", "r")["loss"].values.tolist() == [1.0, 20.0, 30.0, 330.0]


@pytest.mark.slow
def test_what_is_neither_address_nor_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"has no recis\.db"):
        recis.monitor.read(tmp_path, "r")
    with pytest.raises(FileNotFoundError, match=r"expected a server's address .* got 'localhost:8765'"):
        recis.monitor.read("localhost:8765", "r")
    assert not list(tmp_path.iterdir())
    (tmp_path / "recis.db").write_text("something else, but long enough to be looked at" * 100)
    with pytest.raises(OSError, match="could not be read"):
        recis.monitor.read(tmp_path, "r")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("ftp://x", "r"), "expected an address"),
        (("http://127.0.0.1:9", "--help"), "run_id: expected"),
        (("postgresql://me:secret@host/name", "r"), "^expected a server's address .*; ask the server that has it$"),
        (("sqlite:////data/recis.db", "r"), "expected a server's address or a data folder, got a store's URL"),
    ],
)
def test_arguments_that_are_none(arguments: tuple[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        recis.monitor.read(*arguments)
    with pytest.raises(TypeError, match="expected a list of names, got the text 'loss'"):
        recis.monitor.read("http://127.0.0.1:9", "r", "loss")


def test_no_server() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(ConnectionError, match=f"expected a server at http://127.0.0.1:{port} .*refused"):
        recis.monitor.read(f"http://127.0.0.1:{port}", "r")


@pytest.mark.slow
def test_a_server_with_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path / "data")
    with serve(tmp_path / "data", "--token-file", str(tmp_path / "token")) as server:
        token = (tmp_path / "token").read_text().strip()
        with pytest.raises(PermissionError, match="scope `view`"):
            recis.monitor.read(server.url, "r")
        assert len(recis.monitor.read(f"{server.url}/?token={token}", "r")["loss"]) == 4
        assert len(recis.monitor.read(server.url, "r", token=token)["loss"]) == 4
        monkeypatch.setenv("RECIS_MONITOR_TOKEN", token)
        assert len(recis.monitor.read(server.url, "r")["loss"]) == 4


class _Other(http.server.BaseHTTPRequestHandler):
    """Another program on the port: one page is missing, one is truncated."""

    def do_GET(self) -> None:
        if "/runs/cut/" in self.path:
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"\x20\0\0\0only")
        else:
            self.send_error(404)

    def log_message(self, *words: object) -> None:
        del words


@pytest.fixture
def other() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Other) as running:
        thread = threading.Thread(target=running.serve_forever, name="other")
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()
        thread.join()


def test_something_else_on_the_port(other: str) -> None:
    with pytest.raises(ConnectionError, match="got HTTP 404 of another program"):
        recis.monitor.read(other, "r")
    with pytest.raises(ConnectionError, match=r"run 'cut' of .* is incomplete"):
        recis.monitor.read(other, "cut")


def without(module: str, code: str) -> Callable[[Path], subprocess.CompletedProcess[str]]:
    """Run code in a process in which, as in its children, an import fails."""

    def run(folder: Path) -> subprocess.CompletedProcess[str]:
        site = folder / "site"
        site.mkdir()
        (site / "sitecustomize.py").write_text(f"import sys; sys.modules[{module!r}] = None\n")
        path = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])
        return subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.mark.slow
def test_the_servers_packages_are_missing(tmp_path: Path, folder: Path) -> None:
    code = f"import recis.monitor; recis.monitor.read({str(folder)!r}, 'r')"
    done = without("zstandard", code)(tmp_path)
    assert done.returncode == 1
    assert "pip install 'recis-monitor[server]'" in done.stderr.splitlines()[-1]


def test_pandas_is_missing(tmp_path: Path) -> None:
    code = "from recis.monitor import RunData; RunData('r', 0, ()).frame()"
    done = without("pandas", code)(tmp_path)
    assert "pip install pandas" in done.stderr.splitlines()[-1]
