"""The whole storm, at full size: writers, browsers, commands and uploads, while a server is killed every second.

    python -m tests.replicas.storm [--writers 200] [--browsers 20] [--seconds 60]

The tests of this folder do the same at a size that every run of the suite can afford. Here, three servers are behind
nginx, which gives every connection to any of them. Afterwards the store must have exactly what the writers have written
down, each trace byte for byte, and every command must have ended. Takes about three minutes on two cores.
"""

import argparse
import contextlib
import hashlib
import http.client
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import recis.monitor
from tests.children import start
from tests.e2e.processes import get_json, put_json, until
from tests.faults.reports import Reported, received, sync
from tests.replicas.deployment import Deployment, deployment
from tests.replicas.test_proxy import nginx
from tests.replicas.test_storm import Browser, watching

NUM_SERVERS = 3
WRITERS_OF_PROCESS = 25
MIB = 1 << 20
ENDED = {"applied", "superseded", "rejected", "expired"}


def write(address: str, direct: str, folder: Path, first: int, number: int, seconds: float) -> None:
    """Run `number` trainings, two of them with a trace, and check that the store has exactly what they reported."""
    chance = random.Random(first)
    runs = [
        Reported(recis.monitor.init(address, run_id=f"storm-{one}", spool_dir=str(folder / f"spool-{one}")))
        for one in range(first, first + number)
    ]
    traces: dict[str, str] = {}
    for reported in runs[:2]:
        path = folder / f"{reported.run.id}.json"
        path.write_bytes(chance.randbytes(20 * MIB))
        traces[reported.run.id] = hashlib.sha256(path.read_bytes()).hexdigest()
        reported.log(1)
        reported.run.upload_trace(path, 0)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for reported in runs:
            reported.log(1)
        time.sleep(0.1)
    for reported in runs:
        # A run ends at once if it finds no server; the rest is then sent as that of any ended training.
        if not reported.run.finish(timeout_s=240.0):
            spool = folder / f"spool-{reported.run.id.removeprefix('storm-')}"
            until(lambda s=spool: sync(s, address).returncode == 0, 240, "the rest is sent")  # type: ignore[misc]
    for reported in runs:
        reported.check(direct)
    for run, digest in traces.items():
        (trace,) = get_json(f"{direct}/api/v1/runs/{run}/traces")["traces"]
        with urllib.request.urlopen(f"{direct}/api/v1/traces/{trace['id']}/download", timeout=60) as answer:
            assert hashlib.sha256(answer.read()).hexdigest() == digest, f"{run}: another trace than was sent"
    print(f"{number} writers: {sum(reported.num_rows for reported in runs):,} rows each once", flush=True)


def kill_often(servers: Deployment, over: threading.Event, killed: list[int]) -> None:
    """Kill a server every second, and start it again at once; another one goes on meanwhile."""
    chance = random.Random(7)
    while not over.wait(max(0.0, 1.0 - time.monotonic() % 1.0)):
        place = chance.randrange(NUM_SERVERS)
        servers.kill(place)
        killed.append(place)
        servers.restart(place)


def command_often(address: str, over: threading.Event, sent: list[str]) -> None:
    """Change a control of the job twice a second."""
    for value in itertools.count(2):
        if over.wait(0.5):
            return
        # The server of this request may be killed, and then nobody knows whether the command exists.
        with contextlib.suppress(OSError, http.client.HTTPException):
            sent.append(str(put_json(f"{address}/api/v1/runs/job/controls/a", {"value": value})["id"]))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--writers", type=int, default=200)
    parser.add_argument("--browsers", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--write", nargs=6, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.write:
        address, direct, folder, first, number, seconds = options.write
        write(address, direct, Path(folder), int(first), int(number), float(seconds))
        return 0
    with tempfile.TemporaryDirectory() as place:
        return storm(Path(place), options.writers, options.browsers, options.seconds)


def storm(folder: Path, num_writers: int, num_browsers: int, seconds: float) -> int:
    """Run everything; return 0 if the store has exactly what was reported."""
    with deployment(folder, NUM_SERVERS) as servers, nginx(folder, servers.addresses) as address:
        environment = {**os.environ, "RECIS_MONITOR_URL": address, "RECIS_MONITOR_RUN_ID": "job", "RANK": "0"}
        job = start(
            "-m", "tests.control.rank", str(folder / "journal"), "--rate", "20", env={**environment, "WORLD_SIZE": "1"}
        )
        writers = []
        for first in range(0, num_writers, WRITERS_OF_PROCESS):
            number = min(WRITERS_OF_PROCESS, num_writers - first)
            arguments = [address, servers.addresses[0], str(folder), str(first), str(number), str(seconds)]
            command = [sys.executable, "-m", "tests.replicas.storm", "--write", *arguments]
            writers.append(subprocess.Popen(command, env={**os.environ, "RECIS_MONITOR_COLLECT": "none"}))
        until(lambda: _declared(address), 60, "the job has declared its control")
        browsers = [Browser(address, f"storm-{number % num_writers}") for number in range(num_browsers)]
        over, killed, sent = threading.Event(), list[int](), list[str]()
        threads = [
            threading.Thread(target=kill_often, args=(servers, over, killed)),
            threading.Thread(target=command_often, args=(address, over, sent)),
        ]
        with watching(browsers):
            for thread in threads:
                thread.start()
            time.sleep(seconds)
            over.set()
            for thread in threads:
                thread.join()
            codes = [writer.wait(600) for writer in writers]
            rows = {browser.run: _rows(servers.addresses[1], browser.run) for browser in browsers}
            for browser in browsers:
                until(lambda b=browser: b.num_points() == rows[b.run], 120, "each point is drawn once")  # type: ignore[misc]
        for one in sent:
            path = f"{servers.addresses[2]}/api/v1/runs/job/commands/{one}"
            until(lambda p=path: get_json(p)["state"] in ENDED, 120, "each command has ended")  # type: ignore[misc]
        job.kill()
        job.wait(60)
        journal = [json.loads(line) for line in (folder / "journal").read_text().splitlines()]
        values = [entry["value"] for entry in journal if entry.get("control") == "a"]
        assert values == sorted(set(values)), "a command was applied twice, or after a later one"
    print(
        f"{len(killed)} servers killed, {len(sent)} commands, {len(values)} of them applied, {len(browsers)} browsers"
    )
    return max(codes)


def _declared(address: str) -> bool:
    with contextlib.suppress(urllib.error.HTTPError):
        return bool(get_json(f"{address}/api/v1/runs/job/controls")["controls"])
    return False


def _rows(address: str, run: str) -> int:
    return received(address, run)["points"] // 2


if __name__ == "__main__":
    sys.exit(main())
