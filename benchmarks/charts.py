"""One long series with a spike, a NaN and an infinity: written to and read from this project and its peers.

    benchmarks/.venv/bin/python -m benchmarks.charts                # see benchmarks/requirements.txt; some five minutes
    benchmarks/.venv/bin/python -m benchmarks.charts --only aim     # one of them
    .venv/bin/python -m benchmarks.charts --quick                   # tiny, this project alone

A million points (Aim: fewer, its client is slow). Read back as each tool's own page does, from its own server: *first*
is the time from the start of a server, whose files are not in memory, until it returns the end of the series; *warm* is
the median of several later reads. An injected value is kept if the answer still shows it at its step. Results of tools
that are not measured stay in the results file.
"""

import argparse
import gzip
import http.client
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, closing, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.chart_readers import READERS, Page, Point, Reader, serving
from benchmarks.chart_writers import RUN, SPIKE, Injected, injected
from benchmarks.measuring import ROOT, machine, show, write_results

POINTS = 1_000_000
AIM_POINTS = 100_000
QUICK_POINTS = 20_000
LOAD_S = 60.0
QUIET_S = 3.0
"""A store whose size has not changed for this long is idle."""


def is_installed(name: str) -> bool:
    """Return whether a tool is installed."""
    return name == "recis" or importlib.util.find_spec(name) is not None


def write(name: str, folder: Path, num_points: int) -> dict[str, Any]:
    """Write the series into an empty folder, in a separate process."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "HOME": str(folder)}
    if name == "aim":
        subprocess.run([Path(sys.executable).parent / "aim", "init", "--repo", folder], check=True, capture_output=True)
    with ExitStack() as stack:
        if name == "recis":
            port = stack.enter_context(serving(READERS[name], folder))
            environment["RECIS_MONITOR_URL"] = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "benchmarks.chart_writers", name, str(folder), str(num_points)]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
        if done.returncode or not lines:
            raise RuntimeError(f"{name} could not write:\n{done.stderr[-3000:]}")
        if name == "recis":
            _rest(folder)  # its maintenance compacts new points
    result: dict[str, Any] = json.loads(lines[-1].removeprefix("RESULT "))
    return result


def read(reader: Reader, folder: Path, run: str, num_points: int, repeats: int) -> dict[str, Any]:
    """Read the series as the tool's page does."""
    _forget(folder)
    with serving(reader, folder) as port, closing(Page(port)) as page:
        began = time.perf_counter()
        while True:
            with suppress(http.client.HTTPException, LookupError):  # not loaded yet
                request = reader.ask(reader.find(page, run))
                body, packed = page.ask(*request, accept=reader.accept)
                first_s = time.perf_counter() - began
                points = reader.points(gzip.decompress(body) if packed else body)
                # A downsampled series may lack its last steps.
                if points and max(one.stop for one in points) >= 0.98 * num_points:
                    break
            if time.perf_counter() - began > LOAD_S:
                raise RuntimeError(f"expected a series up to {num_points} within {LOAD_S} s from {reader}")
            time.sleep(0.02)
        times = []
        for _ in range(repeats):
            began = time.perf_counter()
            body, packed = page.ask(*request, accept=reader.accept)
            times.append(time.perf_counter() - began)
    points = reader.points(gzip.decompress(body) if packed else body)
    return {
        "returned": len(points),
        "wire_bytes": len(body),
        "first_ms": first_s * 1e3,
        "warm_ms": statistics.median(times) * 1e3,
        "survives": survivors(points, injected(num_points)),
    }


def survivors(points: list[Point], at: Injected) -> dict[str, bool]:
    """Return for each injected value whether a point or bucket at its step shows it."""
    there = {name: [one for one in points if one.first <= step < one.stop] for name, step in at.items()}
    return {
        "spike": any(one.high == SPIKE for one in there["spike"]),
        **{name: any(one.not_finite > 0 for one in there[name]) for name in ("nan", "inf")},
    }


def _size(folder: Path) -> int:
    # The space that this project's store reserves for a full disk does not depend on the number of points.
    kept = (one for one in folder.rglob("*") if one.is_file() and one.name not in ("server.txt", "recis.db.reserve"))
    return sum(one.stat().st_size for one in kept if not one.is_relative_to(folder / "spool"))


def _rest(folder: Path) -> None:
    size, since = -1, time.monotonic()
    while time.monotonic() - since < QUIET_S:
        now = _size(folder)
        if now != size:
            size, since = now, time.monotonic()
        time.sleep(0.1)


def _forget(folder: Path) -> None:
    """Drop the files from the page cache."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def measure(name: str, num_points: int, repeats: int) -> dict[str, Any]:
    """Run all measurements of one tool."""
    with tempfile.TemporaryDirectory(prefix="recis-charts-") as place:
        folder = Path(place)
        written = write(name, folder, num_points)
        size = _size(folder)
        result = read(READERS[name], folder, written.get("run", RUN), num_points, repeats)
    about = "this tree" if name == "recis" else version(name)
    return {"name": name, "version": about, "points": num_points, "bytes": size, **written, **result}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(READERS), help="tools to run (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=7, help="number of reads per tool")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, as a smoke test")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args()

    host = machine()
    found: dict[str, dict[str, Any]] = {}
    for name in options.only.split(","):
        if options.quick and name != "recis":
            continue
        if is_installed(name):
            num_points = QUICK_POINTS if options.quick else AIM_POINTS if name == "aim" else POINTS
            found[name] = {**measure(name, num_points, options.repeats), "at": host["at"]}
        else:
            found[name] = {"name": name, "left_out": "not installed (benchmarks/requirements.txt)"}
    path = options.output / "charts.json"
    before = json.loads(path.read_text(encoding="utf-8"))["results"] if path.exists() else []
    results = [found.get(one["name"], one) for one in before]
    results += [one for name, one in found.items() if name not in {other["name"] for other in before}]
    head = ["", "points", "written through", "s", "bytes a point", "returned", "wire bytes", "first ms", "warm ms"]
    show(
        "One long series, written and read back", [*head, "spike", "NaN", "+inf"], [_row(one) for one in found.values()]
    )
    write_results(options.output, "charts", {"machine": host, "results": results})


def _row(one: dict[str, Any]) -> list[str]:
    if "left_out" in one:
        return [one["name"], "left out: " + one["left_out"], *[""] * 10]
    return [
        one["name"],
        f"{one['points']:,}",
        one["through"],
        f"{one['seconds']:.1f}",
        f"{one['bytes'] / one['points']:.1f}",
        f"{one['returned']:,}",
        f"{one['wire_bytes']:,}",
        f"{one['first_ms']:,.0f}",
        f"{one['warm_ms']:,.1f}",
        *("kept" if one["survives"][name] else "lost" for name in ("spike", "nan", "inf")),
    ]


if __name__ == "__main__":
    main()
