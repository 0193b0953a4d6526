"""The list of runs with their newest values in peer tools, each with its own store.

    python -m benchmarks.runs_list_peers            # a table, benchmarks/results/runs_list_peers.json

The stores are filled through their tables or a bulk call, as logging ten thousand runs one by one would take hours.
Needs the peers of `requirements.txt`; tools that are not installed are skipped.
"""

import argparse
import importlib.util
import json
import os
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.measuring import ROOT, machine, show, spread, write_results

NUM_RUNS = 10_000
NUM_KEYS = 10
NUM_ASKED = 4
START_S = 90.0
TRACKIO_RUNS = 1000
"""It takes about a minute for these."""


def mlflow(num_runs: int, num_keys: int) -> list[dict[str, Any]]:
    """`runs/search` of `mlflow server` on SQLite."""
    with tempfile.TemporaryDirectory() as name:
        database = Path(name) / "mlflow.db"
        # Its first run creates the tables and is then copied.
        made = (
            "import mlflow\n"
            f"mlflow.set_tracking_uri('sqlite:///{database}')\n"
            "mlflow.set_experiment('list')\n"
            "with mlflow.start_run() as run:\n"
            f"    mlflow.log_metrics({{f'loss/part_{{place}}': place / 7 for place in range({num_keys})}}, step=1000)\n"
            "    mlflow.log_params({'lr': 0.001, 'batch_size': 4096})\n"
        )
        subprocess.run([sys.executable, "-c", made], check=True, cwd=name, env=_quiet(), capture_output=True)
        with sqlite3.connect(database) as connection:
            (experiment,) = connection.execute("SELECT experiment_id FROM runs").fetchone()
            for table in ("runs", "latest_metrics", "metrics", "tags", "params"):
                _copy(connection, table, num_runs)
        command = ["-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{database}", "--workers", "1"]
        with _server(command, name, "/health") as url:
            body = json.dumps({"experiment_ids": [str(experiment)], "max_results": num_runs}).encode()
            return _asked(lambda: _get(f"{url}/api/2.0/mlflow/runs/search", body), b'"run_id"')


def trackio(num_runs: int, num_keys: int) -> list[dict[str, Any]]:
    """Its runs, with the newest values of each from its summary, by the functions that its HTTP interface calls."""
    num_runs = min(num_runs, TRACKIO_RUNS)
    with tempfile.TemporaryDirectory() as name:
        work = (
            "import json, time\n"
            "from trackio.sqlite_storage import SQLiteStorage as storage\n"
            f"values = {{f'loss/part_{{place}}': place / 7 for place in range({num_keys})}}\n"
            f"for number in range({num_runs}):\n"
            "    storage.bulk_log('list', f'run-{number}', [values])\n"
            "took = []\n"
            f"for _ in range({NUM_ASKED}):\n"
            "    began = time.perf_counter()\n"
            "    rows = [storage.get_logs('list', run)[-1] for run in storage.get_runs('list')]\n"
            "    took.append((time.perf_counter() - began) * 1e3)\n"
            "print('RESULT', json.dumps({'ms': took, 'runs': len(rows), 'bytes': len(json.dumps(rows))}))\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", work],
            check=True,
            cwd=name,
            env={**_quiet(), "TRACKIO_DIR": name},
            capture_output=True,
        )
        answer = json.loads(done.stdout.decode().rpartition("RESULT ")[2])
        return _readings(answer["ms"], answer["bytes"], answer["runs"])


def _quiet() -> dict[str, str]:
    return {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "1"}


def _copy(connection: sqlite3.Connection, table: str, num_runs: int) -> None:
    """Copy the table's rows of the only run for each further run."""
    columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
    rows = connection.execute(f"SELECT {', '.join(columns)} FROM {table}").fetchall()
    place = columns.index("run_uuid")
    connection.executemany(
        f"INSERT INTO {table} VALUES ({', '.join('?' * len(columns))})",
        [(*row[:place], f"{number:032x}", *row[place + 1 :]) for number in range(1, num_runs) for row in rows],
    )


@contextmanager
def _server(command: list[str], folder: str, health: str) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with (Path(folder) / "server.txt").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, *command, "--host", "127.0.0.1", "--port", str(port)],
            cwd=folder,
            env=_quiet(),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        _wait(f"{url}{health}", process)
        yield url
    finally:
        # Its workers are separate child processes.
        os.killpg(process.pid, 15)
        process.wait(30)


def _wait(url: str, process: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end and process.poll() is None:
        try:
            _get(url)
            return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(f"{url} does not answer")


def _get(url: str, body: bytes | None = None) -> bytes:
    headers = {"Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=300) as answer:
        data: bytes = answer.read()
    return data


def _asked(get: Callable[[], bytes], mark: bytes) -> list[dict[str, Any]]:
    took, body = [], b""
    for _ in range(NUM_ASKED):
        began = time.perf_counter()
        body = get()
        took.append((time.perf_counter() - began) * 1e3)
    return _readings(took, len(body), body.count(mark))


def _readings(took: list[float], num_bytes: int, num_runs: int) -> list[dict[str, Any]]:
    return [
        {"reading": name, "bytes": num_bytes, "runs": num_runs, **spread(ms)}
        for name, ms in (("first after the start", took[:1]), ("nothing happens", took[1:]))
    ]


PEERS: dict[str, Callable[[int, int], list[dict[str, Any]]]] = {"mlflow": mlflow, "trackio": trackio}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=NUM_RUNS)
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args()
    results: dict[str, Any] = {"machine": machine(), "metrics": NUM_KEYS, "readings": []}
    for name, peer in PEERS.items():
        if importlib.util.find_spec(name) is None:
            print(f"{name} is skipped: it is not installed")
            continue
        results["readings"] += [{"peer": name, **one} for one in peer(options.runs, NUM_KEYS)]
    rows = [
        [f"{one['peer']}: {one['reading']}", f"{one['runs']:,}", f"{one['bytes'] / 1e6:.1f}", f"{one['median']:.0f}"]
        for one in results["readings"]
    ]
    show("The list of runs with the newest values", ["", "runs", "MB", "median ms"], rows)
    write_results(options.output, "runs_list_peers", results)


if __name__ == "__main__":
    main()
