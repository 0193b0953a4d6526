import csv
from pathlib import Path

import pytest
from recis_server.access import digest_of
from recis_server.store.values import StoredFrame, TokenRow

from recis.wire.messages import Command, Declare, Frame, Hello, Result, Status
from tests.server.httpserver import Site, ask
from tests.server.realserver import points

CONTROL = "/api/v1/runs/r/controls/filter_interval"


def test_a_change_is_taken_and_waits_in_the_ledger(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        await site.filled()
        body = {"value": 200, "reason": "evict less", "id": "mine"}
        answer = await site.client.put(CONTROL, json=body)
        assert answer.status_code == 202
        command = answer.json()
        assert (command["id"], command["state"], command["value"], command["ranks"]["0"]["state"]) == (
            "mine",
            "pending",
            200,
            "pending",
        )
        # The same id again is the same command.
        assert (await site.client.put(CONTROL, json=body)).json() == command
        assert (await site.client.get("/api/v1/runs/r/commands")).json() == {"commands": [command]}
        assert (await site.client.get("/api/v1/runs/r/commands/mine")).json() == command
        (control,) = (await site.client.get("/api/v1/runs/r/controls")).json()["controls"]
        assert (control["name"], control["value"], control["desired"]) == ("filter_interval", 100, 200)
        assert control["ranks"] == {"0": {"value": 100, "step": None}}
        assert (await site.client.get("/api/v1/runs/r/commands/other")).status_code == 404

    ask(tmp_path, scenario)


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "x", 1001, [1], {"a": 1}, 2**70])
def test_a_value_outside_of_the_bounds_is_refused_and_not_stored(tmp_path: Path, value: object) -> None:
    async def scenario(site: Site) -> None:
        await site.filled()
        answer = await site.client.put(CONTROL, json={"value": value})
        assert answer.status_code == 422, answer.text
        assert answer.json()["error"]["field"] == "value"
        assert (await site.client.get("/api/v1/runs/r/commands")).json() == {"commands": []}

    ask(tmp_path, scenario)


@pytest.mark.parametrize(
    "body", [{"value": 5, "id": "../x"}, {"value": 5, "reason": "x" * 10_000}, {"value": 5, "y": 1}]
)
def test_a_request_that_is_not_understood_is_refused(tmp_path: Path, body: dict[str, object]) -> None:
    async def scenario(site: Site) -> None:
        await site.filled()
        assert (await site.client.put(CONTROL, json=body)).status_code == 422

    ask(tmp_path, scenario)


def test_unknown_controls_and_runs_are_not_found(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        await site.filled()
        assert (await site.client.put("/api/v1/runs/r/controls/nothing", json={"value": 1})).status_code == 404
        assert (await site.client.put("/api/v1/runs/x/controls/filter_interval", json={"value": 1})).status_code == 404

    ask(tmp_path, scenario)


def test_without_a_queue_a_run_has_to_be_connected(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        await site.filled()
        answer = await site.client.put(f"{CONTROL}?queue=false", json={"value": 200})
        assert answer.status_code == 409
        assert answer.json()["error"]["code"] == "not_connected"
        sent: list[Command] = []
        stream = await site.app.state.store.register(Hello(run="r", writer="w-r", attempt="a"), 1)
        await site.app.state.commands.attach(stream, Hello(run="r", writer="w-r", attempt="a"), sent.append)
        answer = await site.client.put(f"{CONTROL}?queue=false", json={"value": None})
        assert answer.status_code == 202
        assert [(command.control, command.value) for command in sent] == [("filter_interval", None)]

    ask(tmp_path, scenario)


SETTINGS = "/api/v1/runs/r/controls"


def test_several_settings_are_one_command_or_none(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        await site.run(
            "r",
            Declare(control="filter_interval", type="int", value=100, minimum=1),
            Declare(control="mode", type="enum", value="a", choices=("a", "b")),
            Declare(control="table/user/filter_step", type="int", value=10, minimum=1),
        )
        answer = await site.client.put(SETTINGS, json={"values": {"filter_interval": 200, "mode": "b"}, "reason": "x"})
        assert answer.status_code == 202
        command = answer.json()
        assert (command["control"], command["value"]) == (None, {"filter_interval": 200, "mode": "b"})
        assert command["values"] == command["value"]
        refused = [
            ({"filter_interval": 0, "mode": "a"}, 422, "values"),
            ({"filter_interval": 3, "mode": "c"}, 422, "values"),
            ({"filter_interval": 3, "nothing": 1}, 404, None),
            ({}, 422, "values"),
        ]
        for values, status, field in refused:
            answer = await site.client.put(SETTINGS, json={"values": values})
            assert (answer.status_code, answer.json()["error"]["field"]) == (status, field), answer.text
        assert (await site.client.get("/api/v1/runs/r/commands")).json() == {"commands": [command]}
        slashes = await site.client.put(f"{SETTINGS}/table/user/filter_step", json={"value": 5})
        assert (slashes.status_code, slashes.json()["control"]) == (202, "table/user/filter_step")

    ask(tmp_path, scenario)


def test_the_audit_says_who_when_why_and_what_became_of_it(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        row = await site.filled()
        for value in (200, 300):
            command = (await site.client.put(CONTROL, json={"value": value, "reason": f"=to {value}"})).json()
            result = Result(
                command=command["id"],
                control="filter_interval",
                state="applied",
                step=value,
                time_ns=1,
                old=value - 100,
                new=value,
            )
            await site.app.state.store.append(StoredFrame(row, Frame(n=value, records=(result,)), 1))
        whole = (await site.client.get("/api/v1/runs/r/audit")).json()
        assert [(one["by"], one["old"], one["new"], one["step"], one["outcome"]) for one in whole["audit"]] == [
            ("local", 200, 300, 300, "applied"),
            ("local", 100, 200, 200, "applied"),
        ]
        first = (await site.client.get("/api/v1/runs/r/audit?limit=1")).json()
        assert first["audit"] == whole["audit"][:1]
        rest = (await site.client.get(f"/api/v1/runs/r/audit?limit=1&cursor={first['next_cursor']}")).json()
        assert rest["audit"] == whole["audit"][1:]
        assert (await site.client.get("/api/v1/runs/r/audit?cursor=x")).status_code == 422
        table = await site.client.get("/api/v1/runs/r/audit?format=csv")
        assert table.headers["content-type"].startswith("text/csv")
        lines = list(csv.DictReader(table.text.splitlines()))
        assert [(line["by"], line["reason"], line["new"]) for line in lines] == [
            ("local", "'=to 300", "300"),
            ("local", "'=to 200", "200"),
        ]
        back = await site.client.post(f"/api/v1/runs/r/commands/{command['id']}/revert", json={"reason": "worse"})
        assert (back.status_code, back.json()["value"], back.json()["reverts"]) == (202, 200, command["id"])
        again = await site.client.post(f"/api/v1/runs/r/commands/{back.json()['id']}/revert", json={})
        assert (again.status_code, again.json()["error"]["code"]) == (409, "conflict")

    ask(tmp_path, scenario)


def test_a_command_is_asked_for_by_the_name_of_a_token(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        await site.filled()
        store = site.app.state.store
        for number, name in enumerate(("mia", "")):
            token = TokenRow(f"t{number}", name, "control", digest_of(f"secret{number}"), number)
            await store.add_token(token)
        asked = []
        for number in (0, 1):
            headers = {"Authorization": f"Bearer secret{number}"}
            answer = await site.client.put(CONTROL, json={"value": 200 + number}, headers=headers)
            asked.append(answer.json()["requested_by"])
        assert asked == ["mia", "token t1"]

    ask(tmp_path, scenario)


def test_a_run_that_has_finished_takes_no_command(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        row = await site.filled()
        waiting = (await site.client.put(CONTROL, json={"value": 200})).json()
        status = Status(state="finished", time_ns=1)
        await site.app.state.store.append(StoredFrame(row, Frame(n=2, records=(status,)), 1))
        ended = (await site.client.get(f"/api/v1/runs/r/commands/{waiting['id']}")).json()
        assert (ended["state"], ended["ranks"]["0"]["message"]) == ("expired", "the run has finished")
        (control,) = (await site.client.get("/api/v1/runs/r/controls")).json()["controls"]
        assert (control["desired"], control["differs"]) == (100, [])
        answer = await site.client.put(CONTROL, json={"value": 300})
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "conflict")

    ask(tmp_path, scenario)


def test_the_effect_of_a_command_is_measured_around_its_step(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        row = await site.run("r", Declare(control="lr", type="float", value=1.0))
        command = (await site.client.put("/api/v1/runs/r/controls/lr", json={"value": 2.0})).json()
        address = f"/api/v1/runs/r/commands/{command['id']}/effect"
        assert (await site.client.get(address)).json()["state"] == "open"
        applied = Result(
            command=command["id"], control="lr", state="applied", step=50, time_ns=50 * 10**9, old=1.0, new=2.0
        )
        for number, last in ((2, 90), (3, 110)):
            steps = list(range(1 if number == 2 else 91, last + 1))
            batch = points(steps, loss=[float(step > 50) for step in steps])
            records = (batch, applied) if number == 2 else (batch,)
            await site.app.state.store.append(StoredFrame(row, Frame(n=number, records=records), 1))
            effect = (await site.client.get(address)).json()
            assert effect["missing_steps"] == (10 if number == 2 else 0)
        assert effect["windows"] == {"steps": 50, "cut": "start", "by": None}
        (loss,) = effect["metrics"]
        assert (loss["difference"], loss["verdict"]) == (1.0, "higher")
        assert (await site.client.get(f"{address}?window=20")).json()["windows"]["steps"] == 20
        for query in ("window=9", "window=10001", "window=x"):
            assert (await site.client.get(f"{address}?{query}")).status_code == 422
        assert (await site.client.get("/api/v1/runs/r/commands/other/effect")).status_code == 404

    ask(tmp_path, scenario)
