"""Cost of reporting a step: this project and its peers, on the same machine, in the same run.

    python3 -m venv benchmarks/.venv
    benchmarks/.venv/bin/pip install -r benchmarks/requirements.txt --editable '.[server]'
    benchmarks/.venv/bin/python -m benchmarks.step_cost             # about twelve minutes
    .venv/bin/python -m benchmarks.step_cost --widths               # other numbers of names, compiled and not
    .venv/bin/python -m benchmarks.step_cost --quick                # tiny, and without peers that are not installed

Each line is a separate process that reports ten numbers per step; only the call is timed. *Tight* has nothing between
two calls, *paced* sleeps 5 ms, the duration of a fast training step. Slow peers do fewer steps. The lines of a table
run in turn, in rounds; the table has the median of the rounds for each figure, and the slowest call of all. There are
two ratios to the median of the cheapest peer: of the figures as measured, and with that of `nothing`, the overhead of
the harness, subtracted from both. The state of a shared machine changes within minutes, and after a pause it accounts
for most of the cost of a call. Therefore ratios are computed within a round, the median of the ratios is reported, and
there are many short paced rounds.
"""

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks.measuring import ROOT, ServerProcess, machine, show, write_results

ABSENT_URL = "http://127.0.0.1:9"
PACE_MS = 5.0
SLOW_RUN_S, SLOW_STOP_S = 0.05, 0.45
WIDTHS = (1, 10, 100, 1000, 5000)
PEERS = {"tensorboard": "torch", "wandb": "wandb", "trackio": "trackio", "mlflow": "mlflow", "mlflow-async": "mlflow"}
"""What must be importable for each."""


@dataclass(frozen=True)
class Case:
    """A contestant, its steps, the pause before each, the state of its server, if any, and names per step."""

    contestant: str
    steps: int
    pace_ms: float = 0.0
    server: str = ""
    names: int = 10

    @property
    def label(self) -> str:
        return f"{self.contestant}, server {self.server}" if self.server else self.contestant


def cases(*, quick: bool) -> list[Case]:
    """Return all lines of the table, skipping peers that are not installed."""
    tight = [
        Case("nothing", 20_000),
        Case("floor", 20_000),
        Case("recis", 20_000, server="up"),
        Case("recis", 20_000, server="frozen"),
        Case("recis", 20_000, server="absent"),
        Case("recis", 20_000, server="slow"),
        Case("recis", 1_000_000, server="up"),
        Case("recis-hook", 20_000, server="up"),
        Case("trackio", 20_000),
        Case("wandb", 20_000),
        Case("tensorboard", 5_000),
        Case("mlflow", 300),
        Case("mlflow-async", 300),
    ]
    paced = [
        Case("nothing", 500, PACE_MS),
        Case("floor", 500, PACE_MS),
        Case("recis", 500, PACE_MS, "up"),
        Case("recis", 500, PACE_MS, "frozen"),
        # In the middle, close in time to the cases that are compared with it.
        Case("trackio", 500, PACE_MS),
        Case("recis", 500, PACE_MS, "absent"),
        Case("recis", 500, PACE_MS, "slow"),
        Case("recis-hook", 500, PACE_MS, "up"),
        Case("tensorboard", 300, PACE_MS),
        Case("wandb", 200, PACE_MS),
        Case("mlflow", 100, PACE_MS),
        Case("mlflow-async", 100, PACE_MS),
    ]
    every = [
        one
        for one in tight + paced
        if one.contestant not in PEERS or importlib.util.find_spec(PEERS[one.contestant]) is not None
    ]
    if quick:
        kept = [one for one in tight if one.contestant not in PEERS and one.server != "slow"]
        kept += [one for one in paced if one.contestant in ("nothing", "recis") and one.server in ("", "absent")]
        return list(dict.fromkeys(replace(one, steps=100) for one in kept))
    return every


def width_cases(*, quick: bool) -> list[Case]:
    """Return the cases for other widths, each with the compiled and the plain writer."""
    return [
        Case(contestant, 30 if quick else 300 if pace_ms else max(500, 100_000 // names), pace_ms, "absent", names)
        for pace_ms in (0.0, PACE_MS)
        for names in WIDTHS
        for contestant in ("recis", "recis-plain")
    ]


@contextmanager
def server_in(state: str, folder: Path) -> Iterator[str]:
    """Yield the address of a server in this state."""
    if state in ("", "absent"):
        yield ABSENT_URL
        return
    with ServerProcess(folder) as server, ExitStack() as stack:
        if state == "frozen":
            # The kernel still accepts connections, as that of a hung server does.
            server.freeze()
        elif state == "slow":
            stack.enter_context(_slowed(server))
        yield server.url


@contextmanager
def _slowed(server: ServerProcess) -> Iterator[None]:
    """A server that responds only a tenth of the time."""
    over = threading.Event()

    def toggle() -> None:
        while not over.wait(SLOW_RUN_S):
            server.freeze()
            over.wait(SLOW_STOP_S)
            server.thaw()

    thread = threading.Thread(target=toggle, name="slow-server")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def run(case: Case) -> dict[str, float]:
    """Run one case in its own process."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "work").mkdir()
        with server_in(case.server, folder) as url:
            environment = {**os.environ, "PYTHONPATH": str(ROOT), "RECIS_MONITOR_URL": url, "HOME": place}
            command = [sys.executable, "-m", "benchmarks.contestants", case.contestant, str(folder / "work")]
            done = subprocess.run(
                [*command, str(case.steps), str(case.pace_ms), str(case.names)],
                cwd=folder,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if done.returncode or not lines:
        raise RuntimeError(f"{case.label} failed:\n{done.stderr[-3000:]}")
    result: dict[str, float] = json.loads(lines[-1].removeprefix("RESULT "))
    return result


def summarise(rounds: list[dict[str, float]]) -> dict[str, float]:
    """Return the median of the rounds for each figure, and the maximum of all calls."""
    figures = {name: statistics.median(one[name] for one in rounds) for name in ("median", "p95", "p99")}
    return {
        **figures,
        "max_median": statistics.median(one["max"] for one in rounds),
        "max": max(one["max"] for one in rounds),
    }


def medians(one: dict[str, Any]) -> list[float]:
    """Return the median of each round."""
    return [each["median"] for each in one["rounds"]]


def share(one: dict[str, Any], peer: dict[str, Any] | None, less: dict[str, Any] | None = None) -> str:
    """Return the ratio to the peer's median in each round, with that of `less` subtracted from both."""
    if peer is None:
        return "-"
    off = medians(less) if less is not None else [0.0] * len(one["rounds"])
    each = zip(medians(one), medians(peer), off, strict=True)
    return f"{statistics.median((mine - no) / (theirs - no) for mine, theirs, no in each):.3f}"


def report(title: str, results: list[dict[str, Any]]) -> None:
    """Print a table with the ratios to the cheapest peer's median."""
    peers = [one for one in results if one["contestant"] in PEERS]
    cheapest = min(peers, key=lambda one: float(one["us"]["median"]), default=None)
    nothing = next((one for one in results if one["contestant"] == "nothing"), None)
    rows = []
    for one in results:
        us = one["us"]
        figures = [f"{us[name]:,.1f}" for name in ("median", "p99", "max_median", "max")]
        ratios = [share(one, cheapest), share(one, cheapest, nothing)]
        rows.append([one["label"], f"{one['steps']:,}", *figures, *ratios])
    show(title, ["", "steps", "median", "p99", "max", "worst max", "to cheapest peer", "without harness"], rows)


def measure(wanted: list[Case], rounds: dict[bool, int]) -> list[dict[str, Any]]:
    """Run the cases in turns: all tight ones, then all paced ones, in rounds."""
    found: dict[Case, list[dict[str, float]]] = {case: [] for case in wanted}
    for paced in (False, True):
        lines = [case for case in wanted if bool(case.pace_ms) is paced]
        for _, case in product(range(rounds[paced]), lines):
            found[case].append(run(case))
    return [
        {
            "label": case.label,
            "contestant": case.contestant,
            "server": case.server,
            "pace_ms": case.pace_ms,
            "names": case.names,
            "steps": case.steps,
            "us": summarise(ones),
            "rounds": ones,
        }
        for case, ones in found.items()
    ]


def report_widths(title: str, results: list[dict[str, Any]]) -> None:
    """Print a table with a line per width, comparing the compiled writer with the plain one."""
    by_case = {(one["names"], one["contestant"]): one["us"] for one in results}
    rows = []
    for names in WIDTHS:
        compiled, plain = by_case[names, "recis"], by_case[names, "recis-plain"]
        figures = [f"{us[name]:,.2f}" for us in (compiled, plain) for name in ("median", "p99")]
        rows.append([f"{names:,}", *figures, f"{plain['median'] / compiled['median']:.1f}"])
    show(title, ["names", "compiled, median", "p99", "plain, median", "p99", "plain / compiled"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tight-rounds", type=int, default=3)
    parser.add_argument("--paced-rounds", type=int, default=9)
    parser.add_argument("--only", help="comma-separated list; run only contestants whose name contains one of these")
    parser.add_argument(
        "--widths", action="store_true", help="instead compare reports of 1 to 5,000 names, compiled and not"
    )
    parser.add_argument("--quick", action="store_true", help="tiny sizes, as a smoke test")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args()
    rounds = {False: options.tight_rounds, True: options.paced_rounds}
    if options.quick:
        rounds = {False: 1, True: 1}

    host = machine()
    if options.widths:
        results = measure(width_cases(quick=options.quick), rounds)
        for pace, title in ((0.0, "tight loop"), (PACE_MS, "5 ms between steps")):
            report_widths(f"A step by the number of names, {title}, µs a call", by_pace(results, pace))
        write_results(options.output, "step_cost_widths", {"machine": host, "results": results})
        return
    parts = (options.only or "").split(",")
    wanted = [one for one in cases(quick=options.quick) if any(part in one.contestant for part in parts)]
    results = measure(wanted, rounds)
    report("A step of ten numbers, tight loop, µs a call", by_pace(results, 0.0))
    report("A step of ten numbers, 5 ms between steps, µs a call", by_pace(results, PACE_MS))
    write_results(options.output, "step_cost", {"machine": host, "results": results})


def by_pace(results: list[dict[str, Any]], pace_ms: float) -> list[dict[str, Any]]:
    return [one for one in results if one["pace_ms"] == pace_ms]


if __name__ == "__main__":
    main()
