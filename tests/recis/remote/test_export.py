"""`recis-monitor export --url`: the bytes of the store, in bounded memory, and no file after a broken download."""

import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from recis_server.commands import EXPORT_FORMS
from recis_server.query.exports import FORMS

from recis.cli import main
from tests.e2e.processes import until
from tests.recis.remote.test_client import answering
from tests.server.httpserver import serve
from tests.server.test_exporting import fill, peak_bytes


@contextmanager
def sending(*pieces: bytes, head: str) -> Iterator[str]:
    """Run a server that sends these bytes after its status line and `head`, and closes the connection."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.wfile.write(f"HTTP/1.1 200 OK\r\n{head}\r\n\r\n".encode() + b"".join(pieces))
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join(10)


def test_the_command_knows_every_format() -> None:
    assert tuple(FORMS) == EXPORT_FORMS


@pytest.mark.parametrize(
    ("head", "pieces", "said"),
    [
        ("Transfer-Encoding: chunked", (b"5\r\nstep,\r\n",), "the connection broke after 5 bytes of the export"),
        ("Transfer-Encoding: chunked", (b"ff\r\nstep,",), "which is incomplete"),
        ("Content-Length: 10", (b"step,",), "the connection broke after 5 bytes of the export"),
        ("Connection: close", (b"step,",), "expected an answer whose end can be recognised"),
    ],
)
def test_a_download_that_breaks_leaves_the_old_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], head: str, pieces: tuple[bytes, ...], said: str
) -> None:
    file = tmp_path / "out.csv"
    file.write_text("old")
    with sending(*pieces, head=head) as url:
        assert main(["export", "r", "--url", url, "--format", "csv", "-o", str(file)]) == 1
    output = capsys.readouterr()
    assert (output.out, output.err.count("\n")) == ("", 1)
    assert said in output.err
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("out.csv", "old")]


def test_points_that_are_gone_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "out.csv"
    with sending(b"step,", head="Content-Length: 5\r\nRecis-Points-Expired: 1234") as url:
        assert main(["export", "r", "--url", url, "--format", "csv", "-o", str(file), "--json"]) == 0
    output = capsys.readouterr()
    assert json.loads(output.out) == {"run": "r", "format": "csv", "output": str(file), "bytes": 5, "expired": 1234}
    assert "1,234 older points are not included" in output.err
    assert file.read_bytes() == b"step,"


@pytest.mark.parametrize(
    ("status", "message", "code"),
    [(404, "there is no run r", 2), (422, "format: expected pyarrow", 2), (403, "expected another token", 1)],
)
def test_what_a_server_refuses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], status: int, message: str, code: int
) -> None:
    with answering((status, {"error": {"message": message}})) as (url, _):
        assert main(["export", "r", "--url", url, "--format", "csv", "-o", str(tmp_path / "out")]) == code
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["r", "--format", "csv", "--json"], "--json: expected -o FILE as well"),
        (["r", "--format", "xml"], "argument --format: invalid choice: 'xml'"),
        (["r", "--format", "csv", "--data", "."], "expected --url or --data, got both"),
        (["a/b", "--format", "csv"], "run_id: expected"),
        (["r", "--format", "csv", "-o", "/no/such/folder/out"], "--output: expected a file that can be written"),
    ],
)
def test_bad_usage_is_one_line_and_code_2(capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    with sending(b"", head="Content-Length: 0") as url:
        try:
            code = main(["export", *arguments, "--url", url])
        except SystemExit as stop:
            code = int(stop.code or 0)
    output = capsys.readouterr()
    assert (code, output.out, output.err.count("\n")) == (2, "", 1)
    assert said in output.err


@pytest.mark.slow
def test_a_server_gives_the_bytes_of_its_store_in_bounded_memory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    fill(data, 1_600_000)
    fill(data, 8_000, per_frame=1_000, run="few")

    def exported(name: str, *arguments: str) -> bytes:
        file = tmp_path / name
        assert main(["export", "few", "-o", str(file), "--key", "auc", "--no-superseded", "--json", *arguments]) == 0
        said = json.loads(capsys.readouterr().out)
        assert (said["output"], said["bytes"], said["expired"]) == (str(file), file.stat().st_size, 0)
        return file.read_bytes()

    with serve(data) as server:
        for form in EXPORT_FORMS:
            assert exported("a", "--format", form, "--url", server.url) == exported(
                "b", "--format", form, "--data", str(data)
            )
        monkeypatch.setenv("RECIS_MONITOR_URL", server.url)
        assert exported("c", "--format", "csv") == exported("d", "--format", "csv", "--data", str(data))
        command = [sys.executable, "-m", "recis.cli", "export", "--url", server.url, "--format", "jsonl"]
        few, many = (peak_bytes([*command, run]) for run in ("few", "r"))
        assert many - few < 16 << 20
        # If the server is killed meanwhile, no file is left.
        target = tmp_path / "out" / "r.jsonl"
        target.parent.mkdir()
        with subprocess.Popen([*command, "r", "-o", str(target)], stderr=subprocess.PIPE, text=True) as process:
            until(lambda: any(part.stat().st_size for part in target.parent.glob(".*.part")), 60, "it has begun")
            server.child.kill()
            said = process.communicate(timeout=60)[1]
        assert process.returncode == 1
        assert "which is incomplete" in said
        assert not list(target.parent.iterdir())
