"""The list as JSON: caching does not change the result, only reduces reads."""

import json
import math
import re
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from recis_server.errors import InvalidValue
from recis_server.query import runlist as module
from recis_server.query.runlist import MOST_LISTED, PAGE_VIEW, RunList, View, Wanted
from recis_server.query.shapes import RUN_FIELDS
from recis_server.store.sql import SqlStore
from recis_server.store.tables import runs as reading
from recis_server.store.values import StreamRow

from recis.wire.messages import Status
from tests.server.store.streams import frame, greeting, opened, points, run

ROOT = Path(__file__).parents[3]
WHOLE = View()


class Connected:
    """Runs and the states of their connections."""

    def __init__(self, **states: str) -> None:
        self.states = states

    def live_state(self, run: str) -> str | None:
        return self.states.get(run)

    def live_states(self) -> dict[str, str]:
        return dict(self.states)


def counted(read: Callable[..., Iterator[Any]], numbers: list[int]) -> Callable[..., Iterator[Any]]:
    """Replace `store.runs.read_rows` with one that records the number of runs requested."""

    def read_rows(connection: Any, layouts: Any, run_ids: Sequence[str], keys: Any) -> Iterator[Any]:
        numbers.append(len(run_ids))
        return read(connection, layouts, run_ids, keys)

    return read_rows


async def listed(runs: RunList, view: View = WHOLE, **wanted: Any) -> list[dict[str, Any]]:
    answer = json.loads(await runs.page(Wanted(**wanted), view))
    assert answer["next_cursor"] is None
    return list(answer["runs"])


async def fill(store: SqlStore, num_runs: int) -> list[StreamRow]:
    streams = [
        await store.register(greeting(f"r{number}", "w", config={"lr": number}), number + 1)
        for number in range(num_runs)
    ]
    for stream in streams:
        await store.append(frame(stream, 1, points([1], loss=[0.5], qps=[float(stream.run[1:])])))
    return streams


def test_a_run_has_all_members_or_those_that_were_asked_for(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path) as store:
            runs = RunList(store, Connected())
            assert await listed(runs) == []
            await fill(store, 1)
            (whole,) = await listed(runs)
            assert set(whole) == set(RUN_FIELDS)
            assert (whole["summary"], whole["config"]) == ({"loss": 0.5, "qps": 0.0}, {"lr": 0})
            assert await listed(runs, View(("name", "state"), None)) == [
                {"id": "r0", "name": "r0", "state": whole["state"]}
            ]
            assert await listed(runs, View(("summary",), ("qps", "none"))) == [{"id": "r0", "summary": {"qps": 0.0}}]
            assert await listed(runs, View((), None)) == [{"id": "r0"}]
            with pytest.raises(InvalidValue):
                await listed(runs, View(("name", "colour"), None))

    run(scenario)


def test_what_is_not_finite_is_told_as_text(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path) as store:
            config = {"start": -math.inf, "note": "NaN", "deep": [{"x": math.nan}]}
            stream = await store.register(greeting(config=config), 1)
            await store.append(frame(stream, 1, points([1], loss=[math.nan], up=[math.inf], down=[-math.inf])))
            (one,) = await listed(RunList(store, Connected()))
            assert one["summary"] == {"loss": "NaN", "up": "Infinity", "down": "-Infinity"}
            assert one["config"] == {"start": "-Infinity", "note": "NaN", "deep": [{"x": "NaN"}]}

    run(scenario)


def test_every_state_is_judged_when_the_list_is_made(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path) as store:
            now_ns = time.time_ns()
            for number, name in enumerate(("here", "silent", "away", "done", "broken")):
                stream = await store.register(greeting(name, "w"), now_ns + number)
                if name in ("done", "broken"):
                    said = Status(state="finished" if name == "done" else "failed", time_ns=1)
                    await store.append(frame(stream, 1, said))
            await store.register(greeting("gone", "w"), now_ns - 1200 * 10**9)
            connected = Connected(here="running", silent="stalled", done="running")
            runs = RunList(store, connected)
            states = {one["id"]: one["state"] for one in await listed(runs)}
            assert states == {
                "here": "running",
                "silent": "stalled",
                "away": "disconnected",
                "done": "finished",
                "broken": "failed",
                "gone": "disconnected",
            }
            for state in set(states.values()):
                found = [one["id"] for one in await listed(runs, state=state)]
                assert sorted(found) == sorted(name for name, one in states.items() if one == state)
            # It changes although nothing is committed.
            connected.states = {"away": "running"}
            assert {one["id"]: one["state"] for one in await listed(runs)} == {
                **states,
                "here": "disconnected",
                "silent": "disconnected",
                "away": "running",
            }

    run(scenario)


def test_pages_of_one_state_are_full(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path) as store:
            await fill(store, 30)
            runs = RunList(store, Connected(**{f"r{number}": "running" for number in range(0, 30, 10)}))
            first = json.loads(await runs.page(Wanted(state="running", sort="created_at", limit=2), WHOLE))
            assert [one["id"] for one in first["runs"]] == ["r0", "r10"]
            rest = json.loads(
                await runs.page(Wanted(state="running", sort="created_at", limit=2, cursor=first["next_cursor"]), WHOLE)
            )
            assert ([one["id"] for one in rest["runs"]], rest["next_cursor"]) == (["r20"], None)

    run(scenario)


def test_what_changes_and_what_goes_is_seen_at_once_in_every_view(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path) as store:
            streams = await fill(store, 3)
            runs = RunList(store, Connected())
            views = (WHOLE, View(("last_step", "summary"), ("loss",)))
            for step in (2, 3):
                await store.append(frame(streams[1], step, points([step], loss=[step / 2])))
                for view in views:
                    one = next(one for one in await listed(runs, view) if one["id"] == "r1")
                    assert (one["last_step"], one["summary"]["loss"]) == (step, step / 2)
            await store.update_run("r0", name="another", tags=None, notes=None)
            assert {one["name"] for one in await listed(runs)} == {"another", "r1", "r2"}
            await store.delete_run("r0")
            assert {one["id"] for one in await listed(runs)} == {"r1", "r2"}
            await store.register(greeting("r0", "w", name="anew"), 99)
            assert {one["name"] for one in await listed(runs)} == {"anew", "r1", "r2"}

    run(scenario)


def test_memory_has_a_bound_and_answers_are_the_same_beyond_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path) as store:
            await fill(store, 20)
            roomy = RunList(store, Connected())
            expected = await listed(roomy)
            assert roomy.num_bytes > 20 * 300
            tight = RunList(store, Connected(), kept_bytes=roomy.num_bytes - 1)
            for _ in range(2):
                assert await listed(tight) == expected
                assert tight.num_bytes == 0
            # A second view replaces the first.
            names = [{"id": one["id"], "name": one["id"]} for one in expected]
            assert await listed(tight, View(("name",), None)) == names
            assert 0 < tight.num_bytes < roomy.num_bytes
            for number in range(40):
                await listed(roomy, View((), (f"key{number}",)))
            assert 0 < roomy.num_bytes < 20 * 20 * 1000
            await store.append(frame(await store.register(greeting("more", "w"), 50), 1, points([1], loss=[0.5])))
            assert len(await listed(roomy)) == 21

    run(scenario)


@pytest.mark.parametrize("seconds", [60.0, 0.0])
def test_what_will_be_asked_for_is_encoded_ahead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    monkeypatch.setattr(module, "AHEAD_S", seconds)
    monkeypatch.setattr(module, "AHEAD_RUNS", 7)
    monkeypatch.setattr(module, "AHEAD_PAUSE_S", 0.0)

    async def scenario() -> None:
        async with opened(tmp_path) as store:
            streams = await fill(store, 30)
            runs = RunList(store, Connected())
            await runs.open()
            assert runs._ahead is not None
            assert runs._ahead.done() == bool(seconds)
            await runs._ahead
            read: list[int] = []
            monkeypatch.setattr(reading, "read_rows", counted(reading.read_rows, read))
            for view in (PAGE_VIEW, WHOLE):
                assert [one["id"] for one in await listed(runs, view)] == [f"r{n}" for n in reversed(range(30))]
            assert sum(read) == 0
            await store.append(frame(streams[4], 2, points([2], loss=[0.25])))
            (changed,) = [one for one in await listed(runs, PAGE_VIEW) if one["id"] == "r4"]
            assert changed["summary"] == {"loss": 0.25, "qps": 4.0}
            assert sum(read) == 1
            await runs.close()
            await runs.close()

    run(scenario)


def test_a_store_that_is_closed_before_all_is_encoded_ahead_is_no_error(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path) as store:
            await fill(store, 3)
        runs = RunList(store, Connected())
        await runs.open()
        assert runs._ahead is not None
        await runs._ahead
        await runs.close()

    run(scenario)


def test_the_page_asks_for_what_is_encoded_ahead() -> None:
    """If no run has its speed and loss under other names than `qps` and `loss`."""
    source = (ROOT / "web" / "js" / "data" / "run-list.js").read_text(encoding="utf-8")
    limit = re.search(r"const MAX_RUNS = ([\d_]+);", source)
    fields = re.search(r"const FIELDS = \[([\w',\s]+)\];", source)
    metrics = re.search(r"this\.metrics = \[\.\.\.new Set\(\[((?:'\w+', )+)\.\.\.found\]\)\]\.sort\(\)", source)
    assert limit is not None
    assert fields is not None
    assert metrics is not None
    assert int(limit[1]) == MOST_LISTED
    names = [tuple(sorted(re.findall(r"\w+", found[1]))) for found in (fields, metrics)]
    assert View(*names) == PAGE_VIEW
