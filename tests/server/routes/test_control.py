from pathlib import Path

import pytest

from recis.wire.messages import Command, Hello
from tests.server.httpserver import Site, ask

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
        await site.app.state.desk.attach(stream, sent.append)
        answer = await site.client.put(f"{CONTROL}?queue=false", json={"value": None})
        assert answer.status_code == 202
        assert [(command.control, command.value) for command in sent] == [("filter_interval", None)]

    ask(tmp_path, scenario)
