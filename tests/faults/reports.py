"""Compare the reports of a training with the server: each point must be there once, with value, step and time.

Owns starting a server on a folder and querying it; must not know how connections are broken.
"""

import re
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from recis.monitor import Run
from tests.e2e.processes import COMMAND, RunningCommand, get_json

__all__ = [
    "Reported",
    "address_of",
    "count",
    "counts",
    "events",
    "maintenance_workers",
    "meter",
    "raw_series",
    "received",
    "serve",
    "stored",
    "sync",
]

KEYS = ("value", "other/value")


def serve(folder: Path, port: str = "0", *options: str) -> RunningCommand:
    """Start a real server on the data in this folder."""
    folder.mkdir(exist_ok=True)
    return RunningCommand(folder, "serve", "--port", port, *options)


def maintenance_workers(server: RunningCommand) -> list[int]:
    """Return the maintenance worker of the server, if it has been started; processes that read traces do not count."""
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
    pids = [int(pid) for pid in children.read_text().split()] if children.exists() else []
    return [pid for pid in pids if b"recis_server.store." in command_line(pid)]


def command_line(pid: int) -> bytes:
    """Return the command line of a process; empty for one that has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def address_of(server: RunningCommand) -> str:
    """Return its address once it listens."""
    return server.wait_for(r"Listening on (http://\S+)").rstrip("/")


def sync(spool: Path, address: str) -> "subprocess.CompletedProcess[str]":
    """Run `recis-monitor sync` to its end."""
    command = [COMMAND, "sync", str(spool), "--url", address]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def raw_series(address: str, run: str, key: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = get_json(
        f"{address}/api/v1/runs/{run}/series?key={quote(key, safe='')}&points=0&rank=all"
    )["series"]
    return found


def stored(address: str, run: str, key: str) -> list[tuple[int, float]]:
    """Return (step, value) of every raw point, rank after rank."""
    return [
        (step, value)
        for series in raw_series(address, run, key)
        for step, value in zip(series["x"], series["last"], strict=True)
    ]


def counts(address: str, run: str) -> dict[str, int]:
    """Return the server's count of points of each key; none for a run that it does not know yet."""
    try:
        metrics: list[dict[str, Any]] = get_json(f"{address}/api/v1/runs/{run}/metrics")["metrics"]
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return {}
        raise
    return {each["key"]: each["count"] for each in metrics}


def count(address: str, run: str, key: str) -> int:
    """Return the server's count of points of this key."""
    return counts(address, run).get(key, 0)


def received(address: str, run: str) -> dict[str, int]:
    """Return the numbers of points, missing and dropped ones; without those that report the cost of the monitor."""
    answer: dict[str, int] = get_json(f"{address}/api/v1/runs/{run}")["received"]
    own = sum(number for key, number in counts(address, run).items() if key.startswith("monitor/"))
    return {**answer, "points": answer["points"] - own}


def events(address: str, run: str, kind: str) -> list[dict[str, Any]]:
    """Return the events of one kind."""
    found: list[dict[str, Any]] = get_json(f"{address}/api/v1/runs/{run}/events")["events"]
    return [event for event in found if event["kind"] == kind]


def meter(address: str, name: str) -> int:
    """Return a number of the server process from `/metrics`."""
    with urllib.request.urlopen(f"{address}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    match = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
    assert match is not None, text
    return int(float(match[1]))


@dataclass(frozen=True)
class _Row:
    value: float
    before_s: float
    after_s: float


class Reported:
    """Logs through a run, and remembers the logged values."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._rows: list[_Row] = []

    @property
    def num_rows(self) -> int:
        """The number of `log` calls; also the next step."""
        return len(self._rows)

    def log(self, num_rows: int = 50) -> None:
        """Log this many steps of two values."""
        for _ in range(num_rows):
            step = len(self._rows)
            value = step / 7
            before_s = time.time()
            self.run.log({KEYS[0]: value, KEYS[1]: -value}, step)
            self._rows.append(_Row(value, before_s, time.time()))

    def check(self, address: str) -> None:
        """Check that everything is stored once, in order, and nothing else."""
        for key, sign in zip(KEYS, (1, -1), strict=True):
            [series] = raw_series(address, self.run.id, key)
            assert series["x"] == list(range(len(self._rows))), "lost, doubled or out of place"
            assert series["last"] == [sign * row.value for row in self._rows]
            assert series["count"] == [1] * len(self._rows)
            late = [
                (step, row.before_s - at, at - row.after_s)
                for step, (at, row) in enumerate(zip(series["time"], self._rows, strict=True))
                if not row.before_s - 1e-5 <= at <= row.after_s + 1e-5
            ]
            assert not late, "points with another time than they were logged with"
            assert count(address, self.run.id, key) == len(self._rows)
        known = received(address, self.run.id)
        assert (known["missing"], known["dropped"]) == (0, 0)
        assert known["points"] == len(KEYS) * len(self._rows)
