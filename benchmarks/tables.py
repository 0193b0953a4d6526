"""Cost of hash tables relative to other work of a step, as ratios within one run.

    .venv/bin/python -m benchmarks.tables             # two minutes
    .venv/bin/python -m benchmarks.tables --quick     # tiny

*Admission*: one lookup of many new ids, against a lookup of the same ids when they are known, and against `weight[i]`
of a dense tensor with as many rows. The ratios are computed within a round, and their median is reported.
*Filter hook*: `after_step` per table, for a model with thousands of tables at a step without a pass, against a call
of an empty method of each.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from benchmarks.measuring import ROOT, machine, show, write_results
from recis.hooks import HashTableFilterHook
from recis.nn import FilterHook, HashTable
from recis.nn.initializers import TruncNormalInitializer
from recis.optim import SparseAdamW
from recis.state import RunState

DIM = 16


def seconds(action: Callable[..., object], *arguments: object) -> float:
    """Return the duration of an action."""
    begin = time.perf_counter()
    action(*arguments)
    return time.perf_counter() - begin


def admission(num_ids: int, rounds: int, *, trained: bool) -> dict[str, Any]:
    """Return seconds per round of a lookup of new ids, of known ids, and of the dense gather."""
    taken: dict[str, list[float]] = {"new": [], "known": [], "dense": []}
    dense = torch.randn(num_ids, DIM)
    for _ in range(rounds):
        table = HashTable([DIM], initializer=TruncNormalInitializer(std=0.01) if trained else None)
        if trained:
            SparseAdamW({"table": table})
        ids = torch.randint(-(2**62), 2**62, (num_ids,))
        places = torch.randint(0, num_ids, (num_ids,))
        taken["new"].append(seconds(table, ids))
        taken["known"].append(seconds(table, ids))
        taken["dense"].append(seconds(dense.__getitem__, places))
    ratios = {
        name: statistics.median(new / other for new, other in zip(taken["new"], taken[name], strict=True))
        for name in ("known", "dense")
    }
    what = "random rows, optimizer state" if trained else "zero rows"
    return {"what": what, "ids": num_ids, "seconds": taken, "new_to": ratios}


class _Nothing:
    def nothing(self, step: int) -> None:
        pass


def _call_all(idle: list[_Nothing], step: int) -> None:
    for each in idle:
        each.nothing(step)


def between_passes(num_tables: int, steps: int) -> dict[str, Any]:
    """Return microseconds per table of the filter hook at steps without a pass, and of an empty method."""
    rule = FilterHook("GlobalStepFilter", {"filter_step": 10})
    model = nn.ModuleList(HashTable([1], block_size=8, name=f"t{k}", filter_hook=rule) for k in range(num_tables))
    hook = HashTableFilterHook(10**9)
    hook.before_train(SimpleNamespace(model=model, state=RunState()))
    hook.after_step(None, 1)  # finds the tables
    idle = [_Nothing() for _ in range(num_tables)]
    taken: dict[str, list[float]] = {"hook": [], "nothing": []}
    for step in range(2, 2 + steps):
        taken["hook"].append(seconds(hook.after_step, None, step))
        taken["nothing"].append(seconds(_call_all, idle, step))
    us = {name: [one / num_tables * 1e6 for one in each] for name, each in taken.items()}
    ratio = statistics.median(one / other for one, other in zip(us["hook"], us["nothing"], strict=True))
    return {"tables": num_tables, "us_a_table": us, "hook_to_nothing": ratio}


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the relative cost of hash tables.")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, as a smoke test")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args()
    host = machine()
    num_ids, rounds = (2_000, 2) if options.quick else (1_000_000, 7)
    admissions = [admission(num_ids, rounds, trained=trained) for trained in (False, True)]
    hook = between_passes(*((20, 3) if options.quick else (3_000, 50)))
    columns = ["rows", "new, ms", "known, ms", "new/known", "new/dense"]
    rows = []
    for one in admissions:
        new, known = (f"{statistics.median(one['seconds'][name]) * 1e3:,.0f}" for name in ("new", "known"))
        rows.append([one["what"], new, known, *(f"{one['new_to'][name]:.1f}" for name in ("known", "dense"))])
    show(f"A lookup of {num_ids:,} ids in one batch", columns, rows)
    median = {name: statistics.median(us) for name, us in hook["us_a_table"].items()}
    cells = [f"{hook['tables']:,}", f"{median['hook']:.2f}", f"{max(hook['us_a_table']['hook']):.2f}"]
    columns = ["tables", "us a table", "worst step", "to an empty method"]
    show("The filter hook at a step without a pass", columns, [[*cells, f"{hook['hook_to_nothing']:.1f}"]])
    write_results(options.output, "tables", {"machine": host, "admission": admissions, "between_passes": hook})


if __name__ == "__main__":
    main()
