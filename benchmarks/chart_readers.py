"""Reads one long series from each tool's server with the chart request of the tool's own page.

Owns the servers' commands, the requests, and the parsing of answers; must not know how the series was written.
Requests accept compressed answers, as browsers do.
"""

import gzip
import http.client
import json
import math
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np

from benchmarks.chart_writers import KEY, PROJECT, RUN

__all__ = ["READERS", "Page", "Point", "Reader", "serving"]

START_S = 90.0
POINTS = 2000
"""Buckets that this project's page asks for on a wide screen."""
MLFLOW_POINTS = 320
"""`max_results` of MLflow's page."""


@dataclass(frozen=True)
class Point:
    """The part of an answer for steps `first <= step < stop`: extremes, and the number of non-finite values."""

    first: float
    stop: float
    low: float
    high: float
    not_finite: float


class Page:
    """One connection to a server, kept alive if the server allows, as in a browser."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)

    def ask(self, path: str, body: Any = None, accept: str = "*/*") -> tuple[bytes, bool]:
        """Return the raw answer, and whether it is compressed.

        Raises:
            http.client.HTTPException, OSError: there is no answer, or it is an error.
        """
        headers = {"Accept": accept, "Accept-Encoding": "gzip"}
        data = None
        if body is not None:
            data, headers["Content-Type"] = json.dumps(body), "application/json"
        self._connection.request("GET" if data is None else "POST", path, data, headers)
        answer = self._connection.getresponse()
        raw = answer.read()
        if answer.status != http.HTTPStatus.OK:
            raise http.client.HTTPException(f"expected an answer to {path}, got {answer.status}: {raw[:200]!r}")
        return raw, answer.headers.get("Content-Encoding") == "gzip"

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


@dataclass(frozen=True)
class Reader:
    """A tool's server and its page's chart request.

    `command` starts the server on a port, `ask` is the request for the series of a run (`path`, body or None), `points`
    parses the answer. `find` returns the identifier of the run in requests.
    """

    command: Callable[[Path, int], list[str]]
    ask: Callable[[str], tuple[str, Any]]
    points: Callable[[bytes], list[Point]]
    environment: Mapping[str, str] = field(default_factory=dict)
    accept: str = "*/*"
    find: Callable[[Page, str], str] = lambda page, run: run


def _ask_recis(run: str) -> tuple[str, Any]:
    return f"/api/v1/runs/{run}/series?{urlencode({'key': KEY, 'points': POINTS})}", None


def _points_recis(body: bytes) -> list[Point]:
    start = 4 + int.from_bytes(body[:4], "little")
    head = json.loads(body[4:start])
    (series,) = head["series"]
    columns = np.frombuffer(body, "<f8", 8 * series["n"], start + series["offset"]).reshape(8, -1)
    width = head["width"]
    return [Point(x, x + width, low, high, nan) for x, low, high, nan in columns[[0, 2, 3, 7]].T.tolist()]


def _ask_tensorboard(run: str) -> tuple[str, Any]:
    return f"/data/plugin/scalars/scalars?{urlencode({'tag': KEY, 'run': run})}", None


def _points_tensorboard(body: bytes) -> list[Point]:
    return [_single(step, value) for _, step, value in json.loads(body)]


def _ask_mlflow(run: str) -> tuple[str, Any]:
    query = urlencode({"run_ids": run, "metric_key": KEY, "max_results": MLFLOW_POINTS})
    return f"/ajax-api/2.0/mlflow/metrics/get-history-bulk-interval?{query}", None


def _points_mlflow(body: bytes) -> list[Point]:
    # Protocol buffers as JSON omit zeros.
    points = [_single(int(one.get("step", 0)), one.get("value", 0.0)) for one in json.loads(body)["metrics"]]
    # It stores infinity as the largest number.
    return [replace(one, not_finite=1.0) if abs(one.high) == sys.float_info.max else one for one in points]


def _find_trackio(page: Page, run: str) -> str:
    body, packed = page.ask("/api/get_runs_for_project", {"project": PROJECT})
    found = json.loads(gzip.decompress(body) if packed else body)["data"]
    number: str = next(one["id"] for one in found if one["name"] == run)
    return number


def _ask_trackio(run: str) -> tuple[str, Any]:
    wanted = {"project": PROJECT, "runs": [{"run": RUN, "run_id": run}], "scalar_only": True}
    return "/api/get_logs_batch", wanted


def _points_trackio(body: bytes) -> list[Point]:
    return [_single(one["step"], one[KEY]) for one in json.loads(body)["data"][0]["logs"] if KEY in one]


def _ask_aim(run: str) -> tuple[str, Any]:
    return f"/api/runs/{run}/metric/get-batch/", [{"name": KEY, "context": {}}]


def _points_aim(body: bytes) -> list[Point]:
    found = json.loads(body)
    return [_single(*pair) for pair in zip(found[0]["iters"], found[0]["values"], strict=True)] if found else []


def _single(step: int, value: Any) -> Point:
    """Return the point of a tool without buckets: its value is a number, a text or absent."""
    number = math.nan if value is None else float(value)
    return Point(step, step + 1, number, number, float(not math.isfinite(number)))


def _program(name: str) -> str:
    return str(Path(sys.executable).parent / name)


def _serve_recis(folder: Path, port: int) -> list[str]:
    return [sys.executable, "-m", "recis_server", "serve", "--port", str(port), "--data", str(folder / "data")]


def _serve_tensorboard(folder: Path, port: int) -> list[str]:
    return [_program("tensorboard"), "--logdir", str(folder), "--port", str(port)]


def _serve_mlflow(folder: Path, port: int) -> list[str]:
    places = ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", f"{folder}/artifacts"]
    return [_program("mlflow"), "server", *places, "--port", str(port)]


def _serve_trackio(folder: Path, port: int) -> list[str]:
    del folder, port  # set by its environment
    return [sys.executable, "-c", "import trackio; trackio.show(open_browser=False, block_thread=True)"]


def _serve_aim(folder: Path, port: int) -> list[str]:
    return [_program("aim"), "up", "--repo", str(folder), "--port", str(port), "-y"]


READERS = {
    "recis": Reader(_serve_recis, _ask_recis, _points_recis, accept="application/octet-stream"),
    "tensorboard": Reader(_serve_tensorboard, _ask_tensorboard, _points_tensorboard),
    "mlflow": Reader(_serve_mlflow, _ask_mlflow, _points_mlflow, {"MLFLOW_DISABLE_TELEMETRY": "true"}),
    "trackio": Reader(
        _serve_trackio,
        _ask_trackio,
        _points_trackio,
        {"TRACKIO_WRITE_TOKEN": "token", "HF_HUB_OFFLINE": "1"},
        find=_find_trackio,
    ),
    "aim": Reader(_serve_aim, _ask_aim, _points_aim, {"AIM_DISABLE_TELEMETRY": "1"}),
}


@contextmanager
def serving(reader: Reader, folder: Path) -> Iterator[int]:
    """Yield the port of a tool's server for `folder` once it answers; its processes end with the context."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    own = {"HOME": str(folder), "TRACKIO_DIR": str(folder), "GRADIO_SERVER_PORT": str(port), "DO_NOT_TRACK": "1"}
    environment = {**os.environ, **own, **reader.environment}
    with (folder / "server.txt").open("ab") as log:
        process = subprocess.Popen(
            reader.command(folder, port), cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        _wait(process, port, folder / "server.txt")
        yield port
    finally:
        _end(process)


def _wait(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end and process.poll() is None:
        with suppress(OSError, http.client.HTTPException), closing(Page(port)) as page:
            page.ask("/")
            return
        time.sleep(0.05)
    raise RuntimeError(f"the server did not start:\n{log.read_text(encoding='utf-8', errors='replace')[-2000:]}")


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End a server and its children: some leave their workers behind."""
    for number, wait_s in ((signal.SIGTERM, 10.0), (signal.SIGKILL, 10.0)):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(wait_s)
        if number == signal.SIGTERM:
            time.sleep(0.5)
