"""Latency of a command, from the request until every rank has applied it, and until the ledger shows it.

    .venv/bin/python -m benchmarks.control
    .venv/bin/python -m benchmarks.control --quick
    .venv/bin/python -m benchmarks.control --storm

Real processes: a server, and ranks that step at a fixed rate and log one value. Commands are sent one at a time at
random moments. "applied" is the time at which the last rank has changed its value, by the clock of the ranks (all on
this machine); "known" is the time at which a client that polls every 20 ms sees the command as applied.

With `--storm` nothing is timed: two jobs get 1,000 commands each while ranks and the server are killed and stopped, and
every answer is compared with the journals of the processes (`tests/control/storm.py`).
"""

import argparse
import dataclasses
import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measuring import ROOT, machine, show, spread, write_results
from tests.control.job import Job, Server
from tests.control.storm import Storm

BOUNDS_MS = (25, 50, 100, 200, 300, 400, 500, 750, 1000, 2000)
STORM_COMMANDS, STORM_S, STORM_ROUNDS = 1000, 80.0, 8
ASK_S = 0.02
LIMIT_S = 120.0


@dataclass(frozen=True)
class Scenario:
    """A job and the control that is changed."""

    label: str
    ranks: int
    rates: tuple[float, ...]
    lockstep: bool
    control: str
    share: float = 1.0
    """Seed of the random times of the commands."""


SCENARIOS = (
    Scenario("4 ranks in lockstep, 20 steps/s", 4, (20.0,), True, "a"),
    Scenario("1 rank, 20 steps/s", 1, (20.0,), False, "a"),
    Scenario("4 free ranks, 10 to 25 steps/s, each", 4, (10.0, 15.0, 20.0, 25.0), False, "free"),
    Scenario("2 ranks in lockstep, 200 steps/s", 2, (200.0,), True, "a", share=0.2),
)


def measure(scenario: Scenario, num_commands: int) -> dict[str, Any]:
    """Send commands to a job, one after the other."""
    chance = random.Random(1)
    applied, known, late, split = [], [], 0, 0
    with (
        tempfile.TemporaryDirectory() as place,
        Server(Path(place) / "data") as server,
        Job(server, Path(place) / "job", scenario.ranks) as job,
    ):
        job.start(lockstep=scenario.lockstep, rates=scenario.rates)
        for value in range(2, num_commands + 2):
            time.sleep(chance.uniform(0.0, 0.1))
            began = time.time()
            command = job.set(scenario.control, value)
            done = wait(job, command["id"])
            known.append((time.time() - began) * 1e3)
            ranks = done["ranks"].values()
            applied.append((max(rank["time"] for rank in ranks) - began) * 1e3)
            late += sum(rank["late"] for rank in ranks)
            split += scenario.lockstep and len({rank["step"] for rank in ranks}) > 1
    times = {"applied_ms": spread(applied), "known_ms": spread(known), "distribution": distribution(applied)}
    return {"commands": num_commands, **times, "late": late, "split": split}


def distribution(samples_ms: Sequence[float]) -> dict[str, int]:
    """Return how many samples are below each bound and not below the one before."""
    counts = dict.fromkeys([*(f"< {bound}" for bound in BOUNDS_MS), "more"], 0)
    for sample in samples_ms:
        counts[next((f"< {bound}" for bound in BOUNDS_MS if sample < bound), "more")] += 1
    return counts


def weather(output: Path, seed: int) -> None:
    """Send many commands while processes fail; write their outcomes after checking all of them."""
    results: dict[str, Any] = {"machine": machine(), "commands": STORM_COMMANDS, "seed": seed}
    with tempfile.TemporaryDirectory() as place:
        storm = Storm(Path(place), seed=seed, num_commands=STORM_COMMANDS, duration_s=STORM_S, rounds=STORM_ROUNDS)
        found = {run: dataclasses.asdict(outcome) for run, outcome in storm.run().items()}
    results["results"] = found
    states = ("applied", "superseded")
    rows = [
        [
            run,
            *(f"{one['states'].get(state, 0)}" for state in states),
            *(f"{one[name]}" for name in ("exact", "late", "restarted", "lives")),
        ]
        for run, one in found.items()
    ]
    show("Commands in a storm", ["job", *states, "exact", "late", "restarted", "processes"], rows)
    write_results(output, "control_storm", results)


def wait(job: Job, command: str) -> dict[str, Any]:
    """Wait until every rank has applied the command, and return it."""
    end = time.monotonic() + LIMIT_S
    while True:
        found = job.command(command)
        if found["state"] == "applied":
            return found
        if found["state"] not in ("pending", "delivered") or time.monotonic() > end:
            raise RuntimeError(f"expected the command to be applied, got {found}")
        time.sleep(ASK_S)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commands", type=int, default=500)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, as a smoke test")
    parser.add_argument(
        "--storm", action="store_true", help="send many commands while processes are killed and stopped"
    )
    parser.add_argument("--seed", type=int, default=1, help="seed of the storm (default: 1)")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args()
    if options.storm:
        weather(options.output, options.seed)
        return
    host = machine()
    num_commands = 3 if options.quick else options.commands
    results: dict[str, Any] = {"machine": host, "results": []}
    for scenario in SCENARIOS[:2] if options.quick else SCENARIOS:
        found = measure(scenario, max(3, int(num_commands * scenario.share)))
        results["results"].append({"label": scenario.label, **found})
    titles = {"applied_ms": "From the click until all ranks have applied it, ms", "known_ms": "Until it is known, ms"}
    for what, title in titles.items():
        rows = [
            [
                one["label"],
                f"{one['commands']}",
                *(f"{one[what][name]:.0f}" for name in ("median", "p95", "p99", "max")),
                f"{one['late']}",
                f"{one['split']}",
            ]
            for one in results["results"]
        ]
        show(title, ["", "commands", "p50", "p95", "p99", "max", "late", "split"], rows)
    counts = [[one["label"], *(f"{count}" for count in one["distribution"].values())] for one in results["results"]]
    show("Distribution of the former, commands by ms", ["", *results["results"][0]["distribution"]], counts)
    write_results(options.output, "control", results)


if __name__ == "__main__":
    main()
