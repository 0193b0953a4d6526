"""The OpenAPI description is correct: schemathesis tests a real server against it."""

import hashlib
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from websockets.sync.client import ClientConnection, connect

from recis.wire.codec import decode_server, decode_trace, encode
from recis.wire.messages import Ack, Declare, Event, Frame, Hello, Pass, TraceChunk, TraceOpen, TraceReply, Welcome
from tests.server.httpserver import serve
from tests.server.realserver import points

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

TRACE = b'{"traceEvents": []}'
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
)


def stream(connection: ClientConnection) -> None:
    """Create a run with records of every kind, whose rank stays connected."""
    connection.send(encode(Hello(run="r", writer="w", attempt="a", config={"lr": 0.1})))
    assert isinstance(decode_server(connection.recv(decode=False)), Welcome)
    done = Pass(
        table="t", step=2, time_ns=2, interval=1, rows_before=3, evicted=1, rows_after=2, admitted=1, milliseconds=0.5,
        bytes=64,
    )  # fmt: skip
    records = (
        points([1, 2, 3], loss=[3.0, float("nan"), 1.0]),
        Declare(control="filter_interval", type="int", value=100, minimum=1, nullable=True),
        Event(kind="alert", time_ns=1, text="Loss is NaN", level="error", step=2),
        done,
    )
    connection.send(encode(Frame(n=1, records=records)))
    while not isinstance(decode_server(connection.recv(decode=False)), Ack):
        pass


def upload(url: str) -> str:
    """Upload a trace of the run."""
    with connect(url + "/ws/trace") as connection:
        digest = hashlib.sha256(TRACE).hexdigest()
        opening = TraceOpen(run="r", attempt="a", rank=0, name="t.json", step=3, size=len(TRACE), sha256=digest)
        connection.send(encode(opening))
        connection.recv()
        connection.send(encode(TraceChunk(offset=0, data=TRACE)))
        connection.recv()
        done = decode_trace(connection.recv(decode=False))
        assert isinstance(done, TraceReply)
        return done.id


def test_every_status_and_type_that_a_route_answers_is_described(tmp_path: Path) -> None:
    with serve(tmp_path / "data") as server:
        socket_url = server.url.replace("http", "ws")
        with connect(socket_url + "/ws/ingest") as rank:
            stream(rank)
            trace = upload(socket_url)
            command = httpx.put(f"{server.url}/api/v1/runs/r/controls/filter_interval", json={"value": 50}).json()["id"]
            config = tmp_path / "schemathesis.toml"
            known = {"run": "r", "control": "filter_interval", "command": command, "trace": trace}
            config.write_text("[parameters]\n" + "".join(f'"path.{name}" = "{one}"\n' for name, one in known.items()))
            program = str(Path(sys.executable).parent / "schemathesis")
            arguments = [
                "--config-file",
                str(config),
                "run",
                f"{server.url}/openapi.json",
                "--checks",
                ",".join(CHECKS),
            ]
            arguments += ["--phases", "examples,coverage,fuzzing", "--max-examples", "10", "--seed", "1", "--no-color"]
            began = time.monotonic()
            done = subprocess.run([program, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)
            took_s = time.monotonic() - began
        assert done.returncode == 0, done.stdout[-20_000:]
        shown = f"{done.stdout[-5000:]} after {took_s:.0f} s"
        documented = sum(len(path) for path in httpx.get(f"{server.url}/openapi.json").json()["paths"].values())
        assert documented > 15
        assert f"Tested: {documented}" in done.stdout, shown
        assert server.child.poll() is None
    assert "ERROR" not in (tmp_path / "data.log").read_text()
