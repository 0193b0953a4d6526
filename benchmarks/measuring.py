"""Shared parts of the benchmarks: a server process, resource usage of processes, and output of results.

Owns processes, percentiles, tables and the result files; must not know what is measured.
"""

import json
import os
import platform
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

__all__ = [
    "ROOT",
    "ServerProcess",
    "cpu_s_of",
    "machine",
    "peak_mb_of",
    "percentile",
    "show",
    "spread",
    "write_results",
]

ROOT = Path(__file__).parents[1]
START_S = 30.0
STOP_S = 60.0
_TICKS = os.sysconf("SC_CLK_TCK")


class ServerProcess:
    """`recis-monitor serve` on a free port, in its own folder; its log is in `server.txt` there.

    Args:
        folder: an existing folder.
        core: the only core it may use, any when None.
        options: further command-line options.
    """

    def __init__(self, folder: Path, *, core: int | None = None, options: Sequence[str] = ()) -> None:
        self._log = folder / "server.txt"
        arguments = [sys.executable, "-m", "recis_server", "serve", "--port", "0", "--data", str(folder / "data")]
        arguments += options
        began = time.monotonic()
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(arguments, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
        if core is not None:
            os.sched_setaffinity(self.process.pid, {core})
        self.url = self._wait_for_url()
        self.start_s = time.monotonic() - began

    def _wait_for_url(self) -> str:
        end = time.monotonic() + START_S
        while time.monotonic() < end and self.process.poll() is None:
            text = self.log
            if "Listening on " in text and text.partition("Listening on ")[2].count("\n"):
                return text.partition("Listening on ")[2].split()[0]
            time.sleep(0.01)
        raise RuntimeError(f"the server did not start:\n{self.log}")

    @property
    def log(self) -> str:
        """Return its log so far."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    @property
    def port(self) -> int:
        """Return the port on which it listens."""
        return int(self.url.rpartition(":")[2])

    def cpu_s(self) -> float:
        """Return CPU seconds used so far by all its threads, in user and kernel mode."""
        return cpu_s_of(self.process.pid)

    def upkeep_cpu_s(self) -> float:
        """Return the CPU seconds of its child processes, which maintain the store."""
        own = Path(f"/proc/{self.process.pid}")
        ended = (own / "stat").read_text(encoding="ascii").rpartition(")")[2].split()[13:15]
        ticks = sum(map(int, ended))
        for child in (own / "task" / str(self.process.pid) / "children").read_text(encoding="ascii").split():
            fields = Path(f"/proc/{child}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:15]))
        return ticks / _TICKS

    def peak_mb(self) -> float:
        """Return its peak memory in MB, without its child processes."""
        return peak_mb_of(self.process.pid)

    def children(self) -> list[int]:
        """Return the pids of its child processes."""
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        return [int(child) for one in tasks for child in one.read_text(encoding="ascii").split()]

    def meter(self, name: str) -> float:
        """Return a value from `/metrics`."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=30) as answer:
            lines: list[str] = answer.read().decode().splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))

    def freeze(self) -> None:
        """Suspend it, with open sockets, until `thaw`."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Resume it after `freeze`."""
        self.process.send_signal(signal.SIGCONT)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.thaw()
        self.process.terminate()
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def cpu_s_of(pid: int) -> float:
    """Return CPU seconds used so far by all threads of a process, in user and kernel mode."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def peak_mb_of(pid: int) -> float:
    """Return the peak memory of a process in MB."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6


def percentile(samples: Sequence[float], part: float) -> float:
    """Return the quantile `part` of the samples."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


def spread(samples: Sequence[float]) -> dict[str, float]:
    """Return median, p95, p99 and maximum of the samples, in their unit."""
    return {
        "median": percentile(samples, 0.5),
        "p95": percentile(samples, 0.95),
        "p99": percentile(samples, 0.99),
        "max": max(samples),
    }


def machine() -> dict[str, Any]:
    """Describe the machine and its load at the start."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "architecture": platform.machine(),
        "system": platform.system(),
        "python": platform.python_version(),
        "load_average": os.getloadavg()[0],
        "at": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
    }


def show(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; the first column is text, the others are numbers."""
    widths = [max(len(row[place]) for row in (head, *rows)) for place in range(len(head))]
    print(f"\n{title}")
    for row in (head, ["-" * width for width in widths], *rows):
        first, *rest = (
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        print("  ".join((first, *rest)).rstrip())
    sys.stdout.flush()


def write_results(folder: Path, name: str, results: dict[str, Any]) -> None:
    """Write results to `NAME.json`, with a description of the machine."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(f"\nwritten: {path}")
