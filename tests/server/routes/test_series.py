import csv
import io
import json
import math
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from recis_server.store.points.buckets import choose_width
from recis_server.store.values import StoredFrame

from recis.wire.codec import column
from recis.wire.exports import ExportHead, ExportPart, unpack
from recis.wire.messages import Frame, Hello, Pass, Points
from tests.server.httpserver import Site, ask
from tests.server.realserver import points


def test_a_small_series_comes_point_by_point(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        await site.filled()
        answer = (await site.client.get("/api/v1/runs/r/series?key=loss&key=lr&key=nothing")).json()
        assert answer["resolution"] == 1
        loss, lr = answer["series"]
        assert (loss["key"], loss["rank"], loss["attempt"]) == ("loss", 0, 1)
        assert (loss["x"], loss["time"]) == ([1, 2, 3], [1.0, 2.0, 3.0])
        assert (loss["min"], loss["last"]) == ([3.0, None, 1.0], [3.0, "NaN", 1.0])
        assert (loss["count"], loss["nan"]) == ([1, 1, 1], [0, 1, 0])
        assert lr["mean"] == [0.1, 0.1, 0.1]

    ask(tmp_path, scenario)


@pytest.mark.parametrize("many", [100, 1000])
def test_buckets_hold_the_true_extremes_on_a_fixed_grid(tmp_path: Path, many: int) -> None:
    async def scenario(site: Site) -> None:
        values = np.random.default_rng(1).normal(size=5000)
        values[777] = 1e6
        values[778] = math.nan
        await site.run("r", points(list(range(5000)), loss=values.tolist()))
        answer = (await site.client.get(f"/api/v1/runs/r/series?key=loss&points={many}")).json()
        width, (series,) = answer["resolution"], answer["series"]
        assert len(series["x"]) <= many
        assert width & (width - 1) == 0
        assert all(x % width == 0 for x in series["x"])
        for row, x in enumerate(series["x"]):
            cell = values[x : x + width]
            assert series["min"][row] == np.nanmin(cell)
            assert series["max"][row] == np.nanmax(cell)
            assert series["count"][row] == len(cell)
        assert sum(series["nan"]) == 1
        raw = (await site.client.get("/api/v1/runs/r/series?key=loss&points=0&start=777&stop=779")).json()
        assert raw["series"][0]["last"] == [1e6, "NaN"]

    ask(tmp_path, scenario)


@pytest.mark.parametrize(
    "more", ["", "&rank=all", "&rank=band", "&rank=summary", "&key=lr", "&superseded=true&rank=all"]
)
@pytest.mark.parametrize("view", [(0, 300_000, 1000), (-5, 700, 9), (3, 50, 100), (-(2**63), 2**63, 1), (0, 99, 0)])
def test_the_grid_of_a_range_does_not_move_as_data_arrives(
    tmp_path: Path, more: str, view: tuple[int, int, int]
) -> None:
    start, stop, many = view
    url = f"/api/v1/runs/r/series?key=loss&start={start}&stop={stop}&points={many}{more}"

    async def scenario(site: Site) -> None:
        store = site.app.state.store
        widths = set()
        for part, attempt in enumerate("aab"):
            for rank in (0, 1):
                hello = Hello(run="r", writer=f"{attempt}{rank}", attempt=attempt, rank=rank, world_size=2)
                row = await store.register(hello, 1)
                steps = [*range(part * 40 + rank, part * 40 + 40)]
                records = (points(steps, loss=[1.0] * len(steps), lr=[0.1] * len(steps)),)
                await store.append(StoredFrame(row, Frame(n=row.acked + 1, records=records), 1))
                answer = (await site.client.get(url)).json()
                widths.add(answer["resolution"])
                assert all(x % answer["resolution"] == 0 for one in answer["series"] for x in one["x"])
        assert widths == {choose_width(start, stop, many)}

    ask(tmp_path, scenario)


@pytest.mark.parametrize(("start", "stop"), [(5, 5), (5, 4), (2**63 - 1, -(2**63)), (0, 2**63 + 1), (-(2**63) - 1, 0)])
def test_a_range_that_holds_no_step_is_said(tmp_path: Path, start: int, stop: int) -> None:
    async def scenario(site: Site) -> None:
        await site.filled()
        answer = await site.client.get(f"/api/v1/runs/r/series?key=loss&start={start}&stop={stop}")
        assert answer.status_code == 422
        assert answer.json()["error"]["field"] in ("start", "stop")

    ask(tmp_path, scenario)


def test_a_range_that_ends_before_the_first_step_is_said(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        await site.filled()
        answer = await site.client.get(f"/api/v1/runs/r/series?key=loss&stop={-(2**63)}")
        assert (answer.status_code, answer.json()["error"]["field"]) == (422, "stop")

    ask(tmp_path, scenario)


def test_the_last_of_all_steps_can_be_asked_for(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        steps = column([-(2**63), 2**63 - 1], "<i8")
        await site.run("r", Points(("loss",), steps, column([0, 1], "<i8"), column([1.0, 2.0], "<f8")))
        for ends in ("", f"&start={-(2**63)}&stop={2**63}", f"&start={2**63 - 5}"):
            answer = (await site.client.get(f"/api/v1/runs/r/series?key=loss&points=2{ends}")).json()
            (series,) = answer["series"]
            # At the nearest float.
            assert (series["x"][-1], series["last"][-1]) == (2**63, 2.0)

    ask(tmp_path, scenario)


def test_a_summary_of_ranks_has_their_median_and_names_the_outlying_ones(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        await site.run("r", points([1, 2], loss=[1.0, 2.0]), world_size=5)
        store = site.app.state.store
        for rank, values in ((1, [1.5, 2.5]), (2, [9.0, 2.25]), (3, [7.0, 8.0]), (4, [0.5, float("nan")])):
            row = await store.register(Hello(run="r", writer=f"w{rank}", attempt="a", rank=rank, world_size=5), 1)
            await store.append(StoredFrame(row, Frame(n=1, records=(points([1, 2], loss=values),)), 1))
        answer = (await site.client.get("/api/v1/runs/r/series?key=loss&rank=summary&start=1&stop=3")).json()
        band, highest, lowest = answer["series"]
        assert (band["rank"], band["min"], band["max"]) == (None, [0.5, 2.0], [9.0, 8.0])
        assert band["mean"] == [1.5, 2.375]
        assert [highest["rank"], lowest["rank"]] == [3, 4]
        assert highest["mean"] == [7.0, 8.0]
        assert (await site.client.get("/api/v1/runs/r/series?key=other&rank=summary")).json()["series"] == []

    ask(tmp_path, scenario)


def test_ranks_come_one_by_one_or_as_a_band(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        await site.run("r", points([1, 2], loss=[1.0, 2.0]), world_size=2)
        store = site.app.state.store
        row = await store.register(Hello(run="r", writer="w1", attempt="a", rank=1, world_size=2), 1)
        await store.append(StoredFrame(row, Frame(n=1, records=(points([1], loss=[5.0]),)), 1))
        answer = (await site.client.get("/api/v1/runs/r/series?key=loss&rank=all")).json()
        assert [(one["rank"], one["x"]) for one in answer["series"]] == [(0, [1, 2]), (1, [1])]
        answer = (await site.client.get("/api/v1/runs/r/series?key=loss&rank=band")).json()
        (band,) = answer["series"]
        assert (band["rank"], band["min"], band["max"], band["count"]) == (None, [1.0, 2.0], [5.0, 2.0], [2, 1])
        answer = (await site.client.get("/api/v1/runs/r/series?key=loss&rank=1")).json()
        assert answer["series"][0]["last"] == [5.0]

    ask(tmp_path, scenario)


def test_the_binary_form_is_a_snapshot(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        await site.filled()
        answer = await site.client.get(
            "/api/v1/runs/r/series?key=loss&start=1&stop=3", headers={"Accept": "application/octet-stream"}
        )
        assert answer.headers["content-type"] == "application/octet-stream"
        length = int.from_bytes(answer.content[:4], "little")
        head = json.loads(answer.content[4 : 4 + length])
        assert (head["type"], head["id"], head["run"], head["start"], head["stop"]) == ("snapshot", 0, "r", 1, 3)
        columns = np.frombuffer(answer.content, "<f8", offset=4 + length).reshape(8, -1)
        assert columns[0].tolist() == [1.0, 2.0]

    ask(tmp_path, scenario)


def test_exports_have_every_point(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        await site.run("r", points([1, 2], **{'a,"b"\t': [math.nan, math.inf], "loss": [0.1, 0.2]}))
        answer = await site.client.get("/api/v1/runs/r/export?format=csv")
        assert answer.headers["content-disposition"] == 'attachment; filename="r.csv"'
        rows = list(csv.DictReader(io.StringIO(answer.text)))
        assert [(row["key"], row["step"], row["value"]) for row in rows] == [
            ('a,"b"\t', "1", "NaN"),
            ('a,"b"\t', "2", "Infinity"),
            ("loss", "1", "0.1"),
            ("loss", "2", "0.2"),
        ]
        answer = await site.client.get("/api/v1/runs/r/export?format=jsonl&key=loss")
        lines = [json.loads(line) for line in answer.text.splitlines()]
        assert [(line["step"], line["value"], line["time"]) for line in lines] == [(1, 0.1, 1.0), (2, 0.2, 2.0)]

    ask(tmp_path, scenario)


async def resumed(site: Site) -> None:
    """Two ranks; a second attempt trains steps 2 and 3 of 4 again on rank 0, and step 3 on rank 1."""
    store = site.app.state.store
    attempts = {
        "a": [([1, 2, 3, 4], [1.0, 2.0, 3.0, 4.0]), ([3], [300.0])],
        "b": [([2, 3], [20.0, 30.0]), ([3], [330.0])],
    }
    for attempt, ranks in attempts.items():
        for rank, (steps, values) in enumerate(ranks):
            hello = Hello(run="r", writer=f"{attempt}{rank}", attempt=attempt, rank=rank, world_size=2)
            row = await store.register(hello, 1)
            await store.append(StoredFrame(row, Frame(n=1, records=(points(steps, loss=values),)), 1))


def test_what_a_newer_attempt_has_replaced_can_be_asked_for(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        await resumed(site)
        url = "/api/v1/runs/r/series?key=loss&superseded=true"
        answer = (await site.client.get(f"{url}&rank=all")).json()
        assert [
            (one["rank"], one["attempt"], one["superseded"], one["x"], one["last"]) for one in answer["series"]
        ] == [
            (0, 2, False, [1, 2, 3], [1.0, 20.0, 30.0]),
            (0, 1, True, [2, 3, 4], [2.0, 3.0, 4.0]),
            (1, 2, False, [3], [330.0]),
            (1, 1, True, [3], [300.0]),
        ]
        answer = (await site.client.get(f"{url}&rank=band")).json()
        assert [(one["rank"], one["attempt"], one["superseded"], one["x"], one["max"]) for one in answer["series"]] == [
            (None, 2, False, [1, 2, 3], [1.0, 20.0, 330.0]),
            (None, 1, True, [2, 3, 4], [2.0, 300.0, 4.0]),
        ]
        answer = (await site.client.get(url)).json()
        assert [(one["rank"], one["superseded"]) for one in answer["series"]] == [(0, False), (0, True)]
        answer = (await site.client.get("/api/v1/runs/r/series?key=loss&rank=all")).json()
        assert [(one["rank"], one["superseded"]) for one in answer["series"]] == [(0, False), (1, False)]
        assert answer["series"][0]["last"] == [1.0, 20.0, 30.0]
        assert (await site.client.get(f"{url}&start=2&stop=3")).json()["series"][1]["x"] == [2]

    ask(tmp_path, scenario)


def test_exports_have_what_a_newer_attempt_has_replaced_and_mark_it(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        await resumed(site)
        text = (await site.client.get("/api/v1/runs/r/export?format=csv")).text
        rows = [tuple(row.values()) for row in csv.DictReader(io.StringIO(text))]
        assert [(rank, attempt, step, value, mark) for _, rank, attempt, step, _, value, mark in rows] == [
            ("0", "1", "1", "1.0", "0"),
            ("0", "2", "2", "20.0", "0"),
            ("0", "2", "3", "30.0", "0"),
            ("0", "1", "2", "2.0", "1"),
            ("0", "1", "3", "3.0", "1"),
            ("0", "1", "4", "4.0", "1"),
            ("1", "2", "3", "330.0", "0"),
            ("1", "1", "3", "300.0", "1"),
        ]
        text = (await site.client.get("/api/v1/runs/r/export?format=jsonl")).text
        lines = [json.loads(line) for line in text.splitlines()]
        assert [line["superseded"] for line in lines] == [False, False, False, True, True, True, False, True]
        assert [str(line["value"]) for line in lines] == [row[5] for row in rows]

    ask(tmp_path, scenario)


def test_exports_without_what_was_replaced(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        await resumed(site)
        text = (await site.client.get("/api/v1/runs/r/export?format=csv&superseded=false")).text
        assert [row["superseded"] for row in csv.DictReader(io.StringIO(text))] == ["0"] * 4

    ask(tmp_path, scenario)


def test_exports_for_programs(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        await resumed(site)
        answer = await site.client.get("/api/v1/runs/r/export?format=parquet")
        assert answer.headers["content-type"] == "application/vnd.apache.parquet"
        assert answer.headers["content-disposition"] == 'attachment; filename="r.parquet"'
        assert answer.headers["recis-points-expired"] == "0"
        table = pq.read_table(io.BytesIO(answer.content)).to_pydict()
        answer = await site.client.get("/api/v1/runs/r/export?format=columns&key=loss")
        head, *parts = unpack(io.BytesIO(answer.content).read)
        assert head == ExportHead(run="r")
        found = [part for part in parts if isinstance(part, ExportPart)]
        assert [(part.rank, part.attempts, part.superseded) for part in found] == [
            (0, ((1, 1), (2, 2)), False),
            (0, ((1, 3),), True),
            (1, ((2, 1),), False),
            (1, ((1, 1),), True),
        ]
        values = np.concatenate([np.frombuffer(part.values, "<f8") for part in found])
        assert values.tolist() == table["value"] == [1.0, 20.0, 30.0, 2.0, 3.0, 4.0, 330.0, 300.0]
        assert table["superseded"] == [False] * 3 + [True] * 3 + [False, True]

    ask(tmp_path, scenario)


def test_parquet_without_its_library_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "recis_server.query.parquet", raising=False)
    monkeypatch.setitem(sys.modules, "pyarrow", None)

    async def scenario(site: Site) -> None:
        await site.filled()
        answer = await site.client.get("/api/v1/runs/r/export?format=parquet")
        assert answer.status_code == 422
        assert answer.json()["error"]["field"] == "format"
        assert "pip install 'recis-monitor[parquet]'" in answer.json()["error"]["message"]

    ask(tmp_path, scenario)


def test_filter_passes_are_listed(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        one = Pass(
            table="user",
            step=100,
            time_ns=10**9,
            interval=None,
            rows_before=5,
            evicted=2,
            rows_after=3,
            admitted=1,
            milliseconds=0.5,
            bytes=64,
        )
        await site.run("r", one)
        (found,) = (await site.client.get("/api/v1/runs/r/filters?table=user&rank=0&start=100&stop=101")).json()[
            "passes"
        ]
        assert found == {
            "step": 100,
            "time": 1.0,
            "rank": 0,
            "table": "user",
            "interval": None,
            "rows_before": 5,
            "evicted": 2,
            "rows_after": 3,
            "admitted": 1,
            "milliseconds": 0.5,
            "bytes": 64,
        }
        assert (await site.client.get("/api/v1/runs/r/filters?table=item")).json() == {"passes": []}

    ask(tmp_path, scenario)


def test_a_filter_interval_is_predicted_from_the_passes(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        found = [
            Pass(
                table="user", step=step, time_ns=step, interval=50, rows_before=150, evicted=50, rows_after=100,
                admitted=50, milliseconds=1.5, bytes=64,
            )
            for step in (50, 100, 150)
        ]  # fmt: skip
        await site.run("r", *found, points([151], loss=[1.0]))
        address = "/api/v1/runs/r/filters/forecast"
        answer = (await site.client.get(f"{address}?filter_interval=100")).json()
        assert (answer["filter_interval"], answer["total"]["next_step"]) == (100, 250)
        assert answer["total"]["rows_before"] == {"value": 200.0, "error": 0.0}
        assert [one["table"] for one in answer["tables"]] == ["user"]
        for query in ("", "?filter_interval=0", "?filter_interval=1.5"):
            assert (await site.client.get(address + query)).status_code == 422
        assert (await site.client.get("/api/v1/runs/x/filters/forecast?filter_interval=1")).status_code == 404

    ask(tmp_path, scenario)
