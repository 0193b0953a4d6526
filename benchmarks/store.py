"""Store benchmarks: charts, charts under load, disk, memory, start, exports; on SQLite and PostgreSQL.

    python -m benchmarks.store --data FOLDER --make             # creates the data sets in FOLDER, takes minutes
    python -m benchmarks.store --data FOLDER                    # all stages on both engines, some ten minutes
    python -m benchmarks.store --data FOLDER --engine sqlite --only charts,load         # some of them
    python -m benchmarks.store --quick                          # tiny, as a smoke test

PostgreSQL is skipped if its programs or its driver are not installed. Every table is followed by its targets, met or
missed. Results of skipped stages stay in the results file.
"""

import argparse
import asyncio
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.datasets import DATA_SETS, DataSet
from benchmarks.measuring import ROOT, machine, show, write_results
from benchmarks.places import Place, filled, places
from benchmarks.pressure import Writers, measure_load, measure_memory
from benchmarks.reading import measure_band, measure_charts, measure_export, measure_list
from benchmarks.verdicts import Verdict, judge, table

QUICK = 1000
"""Factor by which data sets are smaller with `--quick`."""
BURST = Writers(keys=10, rows=100, connections=1000, seconds=24.0)
"""Load of one million points per second."""
TRICKLE = Writers(keys=20, rows=1, connections=1000, seconds=15.0)
"""A thousand runs that are watched live."""


@dataclass(frozen=True)
class Stage:
    """The data sets that a stage reads, and the function that returns its results."""

    data_sets: tuple[str, ...]
    measure: Callable[["Work"], list[dict[str, Any]]]


@dataclass(frozen=True)
class Work:
    """The inputs of a stage."""

    place: Place
    data_sets: tuple[DataSet, ...]
    repeats: int
    quick: bool

    def writers(self, writers: Writers) -> Writers:
        return replace(writers, connections=20, seconds=2.0) if self.quick else writers


def _disk(work: Work) -> list[dict[str, Any]]:
    return [
        {
            "engine": work.place.engine,
            "runs": one.runs,
            "series": one.ranks * one.keys,
            "rows": one.rows,
            "bytes_per_point": work.place.settle(one.name) / one.points,
            **{name: one.points / filled(work.place, one)[f"{name}_s"] for name in ("write", "compact")},
        }
        for one in work.data_sets
    ]


STAGES = {
    "charts": Stage(
        ("1m", "10m", "100m"),
        lambda work: [
            result for one in work.data_sets for result in asyncio.run(measure_charts(work.place, one, work.repeats))
        ],
    ),
    "list": Stage(("list",), lambda work: [asyncio.run(measure_list(work.place, work.data_sets[0], work.repeats))]),
    "band": Stage(("ranks",), lambda work: [asyncio.run(measure_band(work.place, work.data_sets[0], work.repeats))]),
    "load": Stage(("10m",), lambda work: [measure_load(work.place, work.data_sets[0], work.writers(BURST))]),
    "disk": Stage(("10m", "wide", "runs"), _disk),
    "memory": Stage(("100m",), lambda work: [measure_memory(work.place, work.data_sets[0], work.writers(TRICKLE))]),
    "export": Stage(("1m",), lambda work: measure_export(work.place, work.data_sets[0])),
}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of the data sets; without it they are deleted at the end")
    parser.add_argument("--make", action="store_true", help="create missing data sets, without measuring")
    parser.add_argument("--engine", default="sqlite,postgres", help="engines to run (default: %(default)s)")
    parser.add_argument("--only", default=",".join(STAGES), help="stages to run (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=21, help="number of reads per kind")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, as a smoke test")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results")
    return parser.parse_args()


def main() -> None:
    options = _options()
    host = machine()
    stages = {name: STAGES[name] for name in options.only.split(",")}
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in stages}
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.data or Path(temporary)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        if options.data is None:
            folder.chmod(0o755)  # PostgreSQL may run as another user
        for engine in options.engine.split(","):
            with places(folder, engine) as place:
                if place is None:
                    print(f"{engine} is skipped: it is not installed")
                    continue
                for name, stage in stages.items():
                    sets = tuple(DATA_SETS[one] for one in stage.data_sets)
                    if options.quick:
                        # The data sets of one stage differ in size, but for the disk's, which differ in shape.
                        sets = tuple(one.smaller(QUICK) for one in (sets if name == "disk" else sets[:1]))
                    for one in sets:
                        filled(place, one)
                    if not options.make:
                        found[name] += stage.measure(
                            Work(place, sets, 2 if options.quick else options.repeats, options.quick)
                        )
    if not options.make:
        _report(options.output, host, found)


def _report(folder: Path, host: dict[str, Any], found: dict[str, list[dict[str, Any]]]) -> None:
    for name, results in found.items():
        if results:
            show(*table(name, results))
            verdicts: list[Verdict] = [one for result in results for one in judge(name, result)]
            if verdicts:
                show("Targets", ["target", "measured", ""], [one.row() for one in verdicts])
    path = folder / "store.json"
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"stages": {}}
    stages = before["stages"]
    for name, results in found.items():
        engines = {one["engine"] for one in results}
        kept = [one for one in stages.get(name, []) if one["engine"] not in engines]
        stages[name] = kept + [{**one, "at": host["at"]} for one in results]
    write_results(folder, "store", {"machine": host, "stages": stages})


if __name__ == "__main__":
    main()
