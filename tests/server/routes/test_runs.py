import asyncio
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect

from recis.wire.messages import Welcome
from tests.server.httpserver import Site, ask, serve, site
from tests.server.realserver import Trainer, hello, points

NAMES = ["../../etc/passwd", "a\0b", "🦊", "<script>alert(1)</script>", "x" * 256]


def test_a_run_is_listed_with_all_that_is_promised(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        await site.filled()
        answer = (await site.client.get("/api/v1/runs")).json()
        (run,) = answer["runs"]
        assert answer["next_cursor"] is None
        assert run == (await site.client.get("/api/v1/runs/r")).json()
        promised = "id project name state created_at updated_at ranks world_size attempts last_step summary tags config"
        assert set(run) >= {*promised.split(), "received"}
        assert (run["id"], run["state"], run["last_step"], run["ranks"]) == ("r", "disconnected", 3, [0])
        assert run["summary"] == {"loss": 1.0, "lr": 0.1}
        assert run["received"] == {"points": 6, "missing": 0, "dropped": 0}

    ask(tmp_path, scenario)


def test_runs_are_filtered_and_paged(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        for number in range(5):
            await site.run(f"r{number}", project="p" if number % 2 else "q", name=f"Night {number}")
        page = (await site.client.get("/api/v1/runs?limit=2&sort=name")).json()
        rest = (await site.client.get(f"/api/v1/runs?limit=10&sort=name&cursor={page['next_cursor']}")).json()
        assert [run["id"] for run in page["runs"] + rest["runs"]] == [f"r{number}" for number in range(5)]
        found = (await site.client.get("/api/v1/runs?project=p&q=night&sort=-name")).json()
        assert [run["id"] for run in found["runs"]] == ["r3", "r1"]
        assert (await site.client.get("/api/v1/runs?state=running")).json()["runs"] == []
        assert len((await site.client.get("/api/v1/runs?state=disconnected")).json()["runs"]) == 5

    ask(tmp_path, scenario)


def test_a_list_has_what_was_asked_for_of_each_run(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        await site.filled()
        address = "/api/v1/runs?fields=name,summary&metric=lr&metric=none"
        (run,) = (await site.client.get(address)).json()["runs"]
        assert run == {"id": "r", "name": "r", "summary": {"lr": 0.1}}
        for wrong in ("fields=name,colour", "limit=10001", "limit=0", "sort=colour", "cursor=x"):
            answer = await site.client.get(f"/api/v1/runs?{wrong}")
            assert (answer.status_code, answer.json()["error"]["field"]) == (422, wrong.partition("=")[0])
        many = "&".join(f"metric=m{number}" for number in range(101))
        assert (await site.client.get(f"/api/v1/runs?{many}")).json()["error"]["field"] == "metric"
        assert "recis_run_list_bytes 0.0" not in (await site.client.get("/metrics")).text

    ask(tmp_path, scenario)


def test_a_long_list_is_compressed_for_those_who_accept_it(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        for number in range(40):
            await site.run(f"r{number}", config={"layers": [number] * 200})
        packed = await site.client.get("/api/v1/runs?limit=100")
        plain = await site.client.get("/api/v1/runs?limit=100", headers={"Accept-Encoding": "identity"})
        assert packed.headers["content-encoding"] == "gzip"
        assert "content-encoding" not in plain.headers
        assert packed.json() == plain.json()
        assert int(packed.headers["content-length"]) < len(plain.content) / 5
        assert "content-encoding" not in (await site.client.get("/api/v1/runs?limit=2")).headers

    ask(tmp_path, scenario)


@pytest.mark.slow
def test_an_acknowledged_frame_is_in_every_later_list(tmp_path: Path) -> None:
    async def scenario(url: str) -> None:
        names = [f"r{number}" for number in range(4)]

        async def train(name: str, client: httpx.AsyncClient) -> None:
            async with connect(url.replace("http", "ws") + "/ws/ingest", compression=None) as socket:
                trainer = Trainer(socket)
                await trainer.send(hello(name, name))
                assert isinstance(await trainer.receive(), Welcome)
                for step in range(1, 31):
                    await trainer.acked(await trainer.frame(points([step], loss=[step / 2])))
                    for query in ("", "&sort=name&q=r&state=running", "&fields=last_step,summary&metric=loss"):
                        listed = (await client.get(f"{url}/api/v1/runs?limit=10000{query}")).json()["runs"]
                        one = next(one for one in listed if one["id"] == name)
                        assert (one["last_step"], one["summary"]) == (step, {"loss": step / 2})

        async with httpx.AsyncClient() as client:
            await asyncio.gather(*(train(name, client) for name in names))

    with serve(tmp_path / "data") as process:
        asyncio.run(asyncio.wait_for(scenario(process.url), 60))


@pytest.mark.parametrize("name", NAMES)
def test_a_run_takes_names_of_any_kind(tmp_path: Path, name: str) -> None:
    async def scenario(site: Site) -> None:
        await site.filled()
        answer = await site.client.patch("/api/v1/runs/r", json={"name": name, "tags": ["a"], "notes": name})
        assert answer.status_code == 200
        run = (await site.client.get("/api/v1/runs/r")).json()
        shown = name.replace("\0", "\N{REPLACEMENT CHARACTER}")
        assert (run["name"], run["tags"], run["notes"]) == (shown, ["a"], shown)
        assert (await site.client.get("/api/v1/runs", params={"q": name})).status_code == 200

    ask(tmp_path, scenario)


@pytest.mark.parametrize("name", [*NAMES, "x" * 10_000])
def test_unknown_names_of_any_kind_are_not_found(tmp_path: Path, name: str) -> None:
    async def scenario(site: Site) -> None:
        from_outside = name.encode().hex("%")
        for address in (f"/api/v1/runs/%{from_outside}", f"/api/v1/traces/%{from_outside}/download"):
            assert (await site.client.get(address)).status_code == 404
        assert (await site.client.patch("/api/v1/runs/r", json={"name": name})).status_code == 404

    ask(tmp_path, scenario)


def test_an_invalid_change_is_refused_and_nothing_changes(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        await site.filled()
        before = (await site.client.get("/api/v1/runs/r")).json()
        for field, value in (
            ("name", "x" * 10_000),
            ("name", " \t"),
            ("tags", ["a", "  "]),
            ("tags", ["x" * 129]),
            ("tags", ["a"] * 65),
            ("notes", "x" * 8193),
            ("archived", "maybe"),
            ("state", "finished"),
        ):
            answer = await site.client.patch("/api/v1/runs/r", json={"notes": "n", field: value})
            assert answer.status_code == 422
            assert answer.json()["error"]["field"].startswith(field)
        assert (await site.client.get("/api/v1/runs/r")).json() == before

    ask(tmp_path, scenario)


def test_archived_runs_are_listed_on_request_and_tags_filter_every_page(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        for number in range(4):
            await site.run(f"r{number}", tags=("even",) if number % 2 == 0 else ())

        async def listed(query: str) -> list[str]:
            runs = (await site.client.get(f"/api/v1/runs?sort=name&{query}")).json()["runs"]
            return [run["id"] for run in runs]

        changed = await site.client.patch("/api/v1/runs/r0", json={"archived": True, "tags": [" even ", "b", "b"]})
        assert (changed.json()["archived"], changed.json()["tags"]) == (True, ["even", "b"])
        assert await listed("") == await listed("archived=false") == ["r1", "r2", "r3"]
        assert await listed("archived=true") == ["r0"]
        assert await listed("archived=any") == ["r0", "r1", "r2", "r3"]
        assert await listed("tag=even") == ["r2"]
        assert await listed("archived=any&tag=even&limit=1") == ["r0"]
        assert await listed("archived=any&tag=even&tag=b") == ["r0"]
        assert (await site.client.get("/api/v1/runs?archived=2")).json()["error"]["field"] == "archived"
        await site.client.patch("/api/v1/runs/r0", json={"archived": False})
        assert await listed("") == ["r0", "r1", "r2", "r3"]

    ask(tmp_path, scenario)


def test_metrics_and_events_of_a_run(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        await site.filled()
        metrics = (await site.client.get("/api/v1/runs/r/metrics")).json()["metrics"]
        assert metrics[0] == {
            "key": "loss",
            "ranks": [0],
            "count": 3,
            "first_step": 1,
            "last_step": 3,
            "last_value": 1.0,
            "nan_count": 1,
        }
        (event,) = (await site.client.get("/api/v1/runs/r/events")).json()["events"]
        assert (event["kind"], event["text"], event["step"], event["rank"]) == ("alert", "Loss is NaN", 2, 0)

    ask(tmp_path, scenario)


def test_a_last_value_that_is_not_finite_is_told_as_text(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        await site.run("r", points([1], loss=[float("nan")], grad=[float("-inf")]))
        run = (await site.client.get("/api/v1/runs/r")).json()
        assert run["summary"] == {"grad": "-Infinity", "loss": "NaN"}

    ask(tmp_path, scenario)


def test_a_deleted_run_is_gone_and_a_connected_one_stays(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        stream = await site.filled()
        await site.app.state.presence.joined(stream)
        assert (await site.client.get("/api/v1/runs/r")).json()["state"] == "running"
        assert (await site.client.delete("/api/v1/runs/r")).status_code == 409
        await site.app.state.presence.left(stream, expected=True)
        assert (await site.client.delete("/api/v1/runs/r")).json() == {"deleted": "r"}
        assert (await site.client.get("/api/v1/runs/r")).status_code == 404

    ask(tmp_path, scenario)


@pytest.mark.parametrize("path", ["/api/v1/runs/r", "/api/v1/runs/r/series?key=loss", "/api/v1/runs/r/events"])
def test_to_ask_for_a_run_is_to_look_at_it(tmp_path: Path, path: str) -> None:
    async def scenario(site: Site) -> None:
        await site.filled()
        for others in ("/api/v1/runs", "/api/v1/runs/x", "/metrics"):
            await site.client.get(others)
        assert not site.app.state.audience.is_watched("r")
        assert (await site.client.get(path)).status_code == 200
        assert site.app.state.audience.is_watched("r")
        assert not site.app.state.audience.is_watched("x")

    ask(tmp_path, scenario)


def test_the_server_describes_itself(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        answer = (await site.client.get("/api/v1/meta")).json()
        assert (answer["protocol"], answer["scope"], answer["tokens"]) == (1, "control", False)

    ask(tmp_path, scenario)


def test_two_apps_in_one_process_do_not_see_each_other(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with site(tmp_path / "one") as one, site(tmp_path / "two") as two:
            await one.filled()
            assert (await two.client.get("/api/v1/runs")).json()["runs"] == []
            assert len((await one.client.get("/api/v1/runs")).json()["runs"]) == 1
            assert "recis_points_total 6.0" in (await one.client.get("/metrics")).text
            assert "recis_points_total 0.0" in (await two.client.get("/metrics")).text

    asyncio.run(scenario())
