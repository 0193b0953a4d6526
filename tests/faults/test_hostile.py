"""An honest run beside hostile clients: none of its points is lost, duplicated or late.

Half a minute of damaged spools, frames, traces, requests, sockets and browsers from seeded generators.
"""

import json
import os
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.children import start
from tests.e2e.processes import RunningCommand, get_json, until
from tests.faults.honest import KEYS, RUN
from tests.faults.hostile import ATTACKS, Attack
from tests.faults.hostile.spools import offline_value
from tests.faults.reports import address_of, count, events, raw_series, received, serve

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

CALM_S, HOSTILE_S = 8.0, 20.0
LATE = 40
"""How many times longer than in the calm the honest run's newest step may stand still on the server."""
MOST_BYTES = 256 << 20
"""What the server may grow by while a hundred clients flood it."""
SEED = int(os.environ.get("RECIS_TEST_SEED", "14"))


class Honest:
    """The training process and its journal."""

    def __init__(self, folder: Path, url: str) -> None:
        folder.mkdir()
        self._folder = folder
        self._log = (folder / "output.txt").open("wb")
        script = Path(__file__).with_name("honest.py")
        self.process = start(str(script), url, str(folder), stdout=self._log, stderr=self._log)

    def notes(self, what: str) -> list[Any]:
        """Return all journal entries of one kind, without a line that is incomplete."""
        path = self._folder / "journal.jsonl"
        lines = path.read_text().split("\n")[:-1] if path.exists() else []
        return [said[what] for line in lines if what in (said := json.loads(line))]

    @property
    def step(self) -> int:
        """The newest step."""
        points = self.notes("point")
        return int(points[-1][0]) if points else 0

    def end(self) -> dict[str, Any]:
        """Ask it to stop, and return how it ended."""
        (self._folder / "stop").touch()
        status = self.process.wait(timeout=120)
        assert status == 0, (self._folder / "output.txt").read_text()
        [end] = self.notes("end")
        assert isinstance(end, dict)
        return end

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._log.close()


@contextmanager
def trained(folder: Path, url: str) -> Iterator[Honest]:
    honest = Honest(folder, url)
    try:
        yield honest
    finally:
        honest.close()


class Watched(NamedTuple):
    """Observations of the honest run on the server: the longest pause between steps, and the server's memory."""

    pause_s: float
    peak_bytes: int


def watch(server: RunningCommand, url: str, duration_s: float) -> Watched:
    """Poll the newest step of the honest run."""
    end = time.monotonic() + duration_s
    step, since, pause_s, peak = -1, time.monotonic(), 0.0, 0
    while time.monotonic() < end:
        last = get_json(f"{url}/api/v1/runs/{RUN}")["last_step"]
        now = time.monotonic()
        pause_s = max(pause_s, now - since)
        if last > step:
            step, since = last, now
        peak = max(peak, resident_bytes(server.process.pid))
        assert server.process.poll() is None, server.output
        time.sleep(0.05)  # between two requests; nothing depends on its length
    return Watched(pause_s, peak)


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def attacked(url: str, folder: Path) -> Iterator[list[Attack]]:
    """Run all kinds of hostile clients at once, until the end of the context."""
    folder.mkdir()
    attacks = [kind(url, folder, SEED) for kind in ATTACKS]
    for attack in attacks:
        attack.start()
    try:
        yield attacks
    finally:
        for attack in attacks:
            attack.stop()
        for attack in attacks:
            attack.join()


def test_nothing_of_an_honest_run_is_lost_or_late_beside_hostile_clients(tmp_path: Path) -> None:
    with serve(tmp_path / "server") as server, trained(tmp_path / "honest", url := address_of(server)) as honest:
        until(lambda: honest.step and count(url, RUN, KEYS[0]), 120, "the first steps of the honest run")
        calm = watch(server, url, CALM_S)
        with attacked(url, tmp_path / "hostile") as attacks:
            hostile = watch(server, url, HOSTILE_S)
            assert honest.process.poll() is None, "the honest training has ended"
        end = honest.end()

        for attack in attacks:
            assert not attack.faults, f"{attack.kind}: {len(attack.faults)} of {attack.turns}\n" + "\n".join(
                attack.faults[:20]
            )
            assert attack.turns > 1, f"{attack.kind}: {attack.turns} turns"
            assert attack.replies, f"{attack.kind} got no reply"
        assert hostile.pause_s < LATE * calm.pause_s, f"{hostile.pause_s:.1f} s, in the calm {calm.pause_s:.1f} s"
        assert hostile.peak_bytes - calm.peak_bytes < MOST_BYTES, f"{hostile.peak_bytes >> 20} MiB"
        assert end == {"is_sent": True, "lost": [0, 0, 0]}
        check_honest(url, honest)
        check_lists(url)
        check_spooled(url)
        assert "Traceback" not in server.output, server.output


def check_honest(url: str, honest: Honest) -> None:
    """Check that the server's data is exactly that of the journal."""
    points = honest.notes("point")
    for place, key in enumerate(KEYS):
        [series] = raw_series(url, RUN, key)
        assert series["x"] == [step for step, *_ in points], "lost, doubled or out of place"
        assert series["last"] == [values[place] for _, values, _ in points]
        assert series["count"] == [1] * len(points)
        outside = [
            (step, at, times)
            for at, (step, _, times) in zip(series["time"], points, strict=True)
            if not times[0] - 1e-5 <= at <= times[1] + 1e-5
        ]
        assert not outside, "points with another time than they were logged with"
    known = get_json(f"{url}/api/v1/runs/{RUN}")
    assert received(url, RUN) == {"points": len(KEYS) * len(points), "missing": 0, "dropped": 0}
    assert (known["state"], known["attempts"], known["ranks"]) == ("finished", 1, [0])
    assert (known["last_step"], known["config"], known["tags"]) == (points[-1][0], {"lr": 1e-3}, ["honest"])
    alerts = events(url, RUN, "alert")
    assert [[one["step"], one["text"]] for one in alerts] == honest.notes("event")[-1000:]
    for kind in ("disconnected", "rank_conflict", "trace_lost"):
        assert not events(url, RUN, kind)
    traces = get_json(f"{url}/api/v1/runs/{RUN}/traces")["traces"]
    assert [[one["step"], one["sha256"]] for one in traces] == honest.notes("trace")
    assert [one["summary_state"] for one in traces] == ["ready"]


def all_runs(url: str) -> list[str]:
    """Return the identifiers of all runs, page by page."""
    found: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = get_json(
            f"{url}/api/v1/runs?limit=20&cursor={urllib.parse.quote(cursor)}"
            if cursor
            else f"{url}/api/v1/runs?limit=20"
        )
        found += [run["id"] for run in page["runs"]]
        cursor = page["next_cursor"]
    return found


def check_lists(url: str) -> None:
    """Check that every readable address answers 200 for every run."""
    runs = all_runs(url)
    assert RUN in runs
    assert len(runs) > 5
    assert len(runs) == len(set(runs))
    paths = [path for path, methods in get_json(f"{url}/openapi.json")["paths"].items() if "get" in methods]
    for path in paths:
        if "{command}" in path or "{trace}" in path:
            continue
        queries = {"series": "?key=loss&key=lr&rank=all", "export": "?format=jsonl", "forecast": "?filter_interval=9"}
        query = queries.get(path.rpartition("/")[2], "")
        for run in runs if "{run}" in path else [""]:
            with urllib.request.urlopen(url + path.replace("{run}", run) + query, timeout=60) as answer:
                answer.read()
                assert answer.status == 200


def check_spooled(url: str) -> None:
    """Check that damaged spools have delivered only reported values, and none twice."""
    spooled = [run for run in all_runs(url) if run.startswith("spooled-")]
    assert spooled
    num_points = 0
    for run in spooled:
        number = int(run.partition("-")[2])
        metrics = get_json(f"{url}/api/v1/runs/{run}/metrics")["metrics"]
        for key in [one["key"] for one in metrics if not one["key"].startswith("monitor/")]:
            for series in raw_series(url, run, key):
                expected = [offline_value(number, step, int(key.removeprefix("k"))) for step in series["x"]]
                assert series["last"] == expected, f"{run}: wrong values of {key}"
                assert series["count"] == [1] * len(expected), f"{run}: {key} twice"
                num_points += len(expected)
    assert num_points
