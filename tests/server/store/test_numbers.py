"""Whatever numbers come from outside, and whatever lies in the tables already: every question is answered."""

import json
import math
from collections.abc import Iterator
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from recis_server.errors import InvalidValue
from recis_server.store.engines.engine import Connection
from recis_server.store.values import StoredFrame, StreamRow

from recis.wire.codec import WireError, column, decode_client, encode
from recis.wire.messages import MAX_COUNT, Declare, Event, Frame, FrameRecord, Hello, Line, Pass, Points, Result, Status
from tests.server.httpserver import Site, ask
from tests.server.realserver import points
from tests.server.store import databases

INTEGERS = (-(2**63), -1, 0, 2**31, 2**53, 2**63 - 1, 2**64 - 1, 17_000_000_000 * 10**9)
FLOATS = (math.nan, math.inf, -math.inf, -1.0, 1e300)
PATHS = (
    "?limit=100",
    "?limit=100&sort=updated_at",
    "?limit=100&sort=-last_step&state=disconnected",
    *(f"?limit=100&state={state}" for state in ("running", "stalled", "finished", "failed")),
    "?fields=received&metric=loss",
)
OF_A_RUN = (
    "",
    "/metrics",
    "/events",
    "/filters",
    "/filters?start=-9223372036854775808&stop=9223372036854775808",
    "/controls",
    "/commands",
    "/traces",
    "/export?format=csv",
    "/export?format=jsonl",
    "/export?format=columns",
    *(
        f"/series?key=loss&rank=all{more}"
        for more in ("", "&points=0", "&start=0", "&start=-9223372036854775808&stop=1")
    ),
)


def whole(time_ns: int) -> dict[type, dict[str, Any]]:
    """A record of each kind, as its fields."""
    return {
        Pass: {
            "table": "t",
            "step": 1,
            "time_ns": time_ns,
            "interval": None,
            "rows_before": 1,
            "evicted": 0,
            "rows_after": 1,
            "admitted": 1,
            "milliseconds": 0.5,
            "bytes": 8,
        },
        Line: {"time_ns": time_ns, "text": "x", "step": 1},
        Event: {"kind": "alert", "time_ns": time_ns, "text": "x", "step": 1, "data": {"a": 1}},
        Declare: {"control": "lr", "type": "float", "value": 1.0, "step": 1, "minimum": 0.0, "maximum": 1.0},
        Result: {"command": "c", "control": "lr", "state": "applied", "step": 1, "time_ns": time_ns, "new": 1.0},
        Status: {"state": "running", "time_ns": time_ns},
    }


def odd_records() -> Iterator[FrameRecord]:
    """Every record with each of its numbers replaced by each of the odd ones."""
    for kind, fields in whole(10**18).items():
        for name, value in fields.items():
            if isinstance(value, int | float):
                for odd in (*INTEGERS, *FLOATS) if isinstance(value, float) else INTEGERS:
                    yield kind(**{**fields, name: odd})


def odd_points() -> Iterator[Points]:
    ends = (-(2**63), -1, 2**53 + 1, 2**63 - 1)
    for step, time_ns, value in product(ends, ends, (math.nan, math.inf, -1e308, 5e-324)):
        yield Points(("loss", "qps"), column([step], "<i8"), column([time_ns], "<i8"), column([value, 0.0], "<f8"))


def through_the_wire(frame: Frame) -> Frame:
    found = decode_client(encode(frame))
    assert isinstance(found, Frame)
    return found


async def register(site: Site, run: str, writer: str, **more: Any) -> StreamRow:
    hello = decode_client(encode(Hello(run=run, writer=writer, attempt="a", **more)))
    assert isinstance(hello, Hello)
    row: StreamRow = await site.app.state.store.register(hello, 10**18)
    return row


async def assert_answers(site: Site, *, honest: str) -> None:
    """Every question about every run has an answer that is JSON where it says so."""
    listed: list[str] = []
    for query in PATHS:
        answer = await site.client.get(f"/api/v1/runs{query}")
        assert answer.status_code == 200, (query, answer.text)
        found = json.loads(answer.text, parse_constant=pytest.fail)
        listed = listed or [run["id"] for run in found["runs"]]
        for run in found["runs"]:
            received = run.get("received", {})
            assert all(0 <= number <= MAX_COUNT for number in received.values()), received
    assert honest in listed
    for run, path in product(listed, OF_A_RUN):
        answer = await site.client.get(f"/api/v1/runs/{run}{path}")
        assert answer.status_code == 200, (run, path, answer.text)
        if "json" in answer.headers["content-type"] and "format" not in path:
            json.loads(answer.text, parse_constant=pytest.fail)
    assert (await site.client.get("/metrics")).status_code == 200
    assert (await site.client.get("/readyz")).status_code == 200


async def assert_deleted(site: Site, *, but: str) -> None:
    """Every run but one can be removed, and that one is as it was."""
    runs = (await site.client.get("/api/v1/runs?limit=100")).json()["runs"]
    for run in runs:
        if run["id"] != but:
            assert (await site.client.delete(f"/api/v1/runs/{run['id']}")).status_code == 200
    (left,) = (await site.client.get("/api/v1/runs")).json()["runs"]
    assert (left["id"], left["summary"], left["received"]) == (
        but,
        {"loss": 1.0},
        {"points": 1, "missing": 0, "dropped": 0},
    )


@pytest.mark.parametrize("checked", [True, False], ids=["wire", "store"])
@pytest.mark.usefixtures("every_engine")
def test_odd_numbers_in_records_are_refused_or_shown(tmp_path: Path, checked: bool) -> None:
    async def scenario(site: Site) -> None:
        await site.run("honest", points([1], loss=[1.0]))
        store = site.app.state.store
        row = await register(site, "odd", "w")
        n = taken = 0
        for record in (*odd_records(), *odd_points()):
            frame = Frame(n=n + 1, records=(record,))
            try:
                await store.append(StoredFrame(row, through_the_wire(frame) if checked else frame, 10**18))
            except (WireError, InvalidValue):
                continue
            n = taken = n + 1
        assert taken > 100
        await assert_answers(site, honest="honest")
        await assert_deleted(site, but="honest")

    ask(tmp_path, scenario, store=databases.current[-1](tmp_path))


@pytest.mark.parametrize("checked", [True, False], ids=["wire", "store"])
@pytest.mark.usefixtures("every_engine")
def test_counts_of_a_writer_do_not_add_up_to_more_than_a_count(tmp_path: Path, checked: bool) -> None:
    async def scenario(site: Site) -> None:
        await site.run("honest", points([1], loss=[1.0]))
        store = site.app.state.store
        for run, field in product(("dropped", "n"), range(4)):
            row = await register(site, run, f"w{field}")
            for odd in (MAX_COUNT, 2**63 - 1, 2**63 - 1):
                frame = Frame(n=odd, records=()) if run == "n" else Frame(n=row.acked + 1, records=(), dropped=odd)
                with suppress(WireError, InvalidValue):
                    await store.append(StoredFrame(row, through_the_wire(frame) if checked else frame, 10**18))
            # Whoever comes after them is taken as ever.
            after = await register(site, run, f"after{field}")
            await store.append(StoredFrame(after, Frame(n=1, records=(points([field], loss=[2.0]),)), 10**18))
        await assert_answers(site, honest="honest")
        received = {run["id"]: run["received"] for run in (await site.client.get("/api/v1/runs")).json()["runs"]}
        assert received["dropped"] == {"points": 4, "missing": 0, "dropped": MAX_COUNT}
        assert received["n"] == {"points": 4, "missing": MAX_COUNT, "dropped": 0}
        await assert_deleted(site, but="honest")

    ask(tmp_path, scenario, store=databases.current[-1](tmp_path))


@pytest.mark.usefixtures("every_engine")
def test_odd_numbers_in_a_greeting_are_refused_or_shown(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        await site.run("honest", points([1], loss=[1.0]))
        refused = taken = 0
        names = ("rank", "world_size", "first", "pid", "time_ns", "started_ns")
        for name, odd in product(names, (-(2**63), -1, 2**31 - 1, 2**63 - 1, 2**64 - 1)):
            greeting: dict[str, Any] = {"world_size": 2**31} if name == "rank" else {}
            try:
                row = await register(site, f"odd-{name}-{taken}", "w", **greeting, **{name: odd})
            except WireError:
                refused += 1
                continue
            taken += 1
            frame = Frame(n=1, records=(points([1], loss=[1.0]),))
            await site.app.state.store.append(StoredFrame(row, frame, 10**18))
        assert refused >= 12
        await assert_answers(site, honest="honest")
        await assert_deleted(site, but="honest")

    ask(tmp_path, scenario, store=databases.current[-1](tmp_path))


@pytest.mark.usefixtures("every_engine")
def test_a_command_for_ranks_that_are_at_the_last_step_has_a_step(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        declared = Declare(control="lr", type="float", value=1.0, minimum=math.nan, maximum=math.inf)
        for rank in (0, 1):
            row = await register(site, "r", f"w{rank}", rank=rank, world_size=2)
            await site.app.state.presence.joined(row)
            records: tuple[FrameRecord, ...] = (points([1], loss=[0.0]), declared, *odd_points())
            await site.app.state.store.append(StoredFrame(row, Frame(n=1, records=records), 10**18))
            # Without the feature "schedule": a step is chosen at once.
            greeting = Hello(run="r", writer=f"w{rank}", attempt="a", rank=rank, world_size=2)
            await site.app.state.commands.attach(row, greeting, lambda _: None)
        answer = await site.client.put("/api/v1/runs/r/controls/lr", json={"value": 2})
        assert answer.status_code == 202
        command = (await site.client.get(f"/api/v1/runs/r/commands/{answer.json()['id']}")).json()
        assert command["apply_at_step"] == 2**63 - 1
        (control,) = (await site.client.get("/api/v1/runs/r/controls")).json()["controls"]
        assert (control["minimum"], control["maximum"], control["desired"]) == (None, None, 2.0)

    ask(tmp_path, scenario, store=databases.current[-1](tmp_path))


DAMAGES = {
    "dropped": "UPDATE stream SET dropped = 9223372036854775807",
    "negative": "UPDATE stream SET dropped = -9223372036854775807",
    "points": "UPDATE run SET points = 9223372036854775807, missing = 9223372036854775807",
    "frame": "UPDATE frame SET num_rows = 9223372036854775807",
    "tags": "UPDATE run SET tags = 'nonsense'",
    "config": "UPDATE run SET config = '{'",
    "deep": f"UPDATE run SET config = '{'[' * 700 + 'NaN' + ']' * 700}'",
    "tally": "UPDATE tally SET last_attempt = 99",
    "keyset": "DELETE FROM keyset",
    "attempt": "DELETE FROM attempt",
    "stream": "DELETE FROM stream",
    "event": "UPDATE event SET data = '{', time_ns = -9223372036854775807",
}
"""What is done to the rows of the run of this name."""


@pytest.mark.usefixtures("every_engine")
def test_damaged_runs_harm_no_other_and_can_be_deleted(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        await site.run("honest", points([1], loss=[1.0]))
        for run, sql in DAMAGES.items():
            for rank in range(3):
                row = await register(site, run, f"w{rank}", rank=rank, world_size=3, config={"lr": 1}, tags=["x"])
                records = (points([1, 2], loss=[1.0, 2.0]), Event(kind="alert", time_ns=1, text="x"))
                await site.app.state.store.append(StoredFrame(row, Frame(n=1, records=records), 10**18))
            await change(site, run, sql)
        for query in PATHS:
            answer = await site.client.get(f"/api/v1/runs{query}")
            assert answer.status_code == 200, answer.text
            found = {run["id"]: run for run in json.loads(answer.text, parse_constant=pytest.fail)["runs"]}
            assert "state" in query or {"honest", *DAMAGES} <= set(found)
        for run in DAMAGES:
            answer = await site.client.get(f"/api/v1/runs/{run}")
            assert (answer.status_code, answer.json()["id"], answer.json()["name"]) == (200, run, run)
            if run in ("tags", "config", "tally", "keyset"):
                part = "summary" if run in ("tally", "keyset") else run
                assert f"cannot read this run's {part}" in answer.json()["message"]
            assert (await site.client.get(f"/api/v1/runs/{run}/events")).status_code == 200
        await assert_deleted(site, but="honest")

    ask(tmp_path, scenario, store=databases.current[-1](tmp_path))


async def change(site: Site, run: str, sql: str) -> None:
    """What a statement makes of a run's rows; the run counts as changed."""

    def action(connection: Connection) -> None:
        connection.execute(f"{sql} WHERE run_id = ?", (run,))
        connection.execute("UPDATE run SET updated_ns = updated_ns + 1 WHERE run_id = ?", (run,))

    await site.app.state.store._writer.call(action)
