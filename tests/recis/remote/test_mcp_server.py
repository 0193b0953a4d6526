"""`recis-monitor mcp`: what an agent sees and may do, over standard input and output, with a real server and job."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import pytest
from recis_server.__main__ import main as server_main

import recis.monitor
from recis.wire.messages import Event, Pass
from tests.control.job import Job, Server
from tests.recis.test_cli import WITHOUT
from tests.server.httpserver import Site, ask, serve
from tests.server.realserver import points
from tests.server.routes.test_traces import with_trace

if TYPE_CHECKING:
    # An extra that `make lowest` does not install: its fast tests run without.
    from mcp import Client

READS = {
    "describe_run",
    "forecast_filter_interval",
    "list_commands",
    "list_controls",
    "list_events",
    "list_filter_passes",
    "list_metrics",
    "list_runs",
    "list_tables",
    "list_traces",
    "read_audit",
    "read_command",
    "read_effect",
    "read_series",
    "read_trace_summary",
}
CHANGES = {"revert_command", "run_action", "set_controls"}


class Agent:
    """The tools of one `recis-monitor mcp`."""

    def __init__(self, client: "Client") -> None:
        self.client = client

    async def tools(self) -> dict[str, bool]:
        """Return the names of the tools, and whether they only read."""
        return {
            tool.name: bool(tool.annotations and tool.annotations.read_only_hint)
            for tool in (await self.client.list_tools()).tools
        }

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        result = await self.client.call_tool(tool, arguments)
        assert not result.is_error, result.content
        assert result.structured_content is not None
        return result.structured_content

    async def refused(self, tool: str, **arguments: Any) -> str:
        """Return the error that the model reads."""
        result = await self.client.call_tool(tool, arguments)
        assert result.is_error, result
        return str(result.content[0].text)  # type: ignore[union-attr]


def with_agent(url: str, token: str | None, scenario: Callable[[Agent], Awaitable[None]]) -> None:
    """Run a scenario with the real command as a child of the real client."""
    from mcp import Client
    from mcp.client.stdio import StdioServerParameters, stdio_client

    arguments = ["-m", "recis.cli", "mcp", "--url", url, *(["--token", token] if token else [])]

    async def run(log: TextIO) -> None:
        child = StdioServerParameters(command=sys.executable, args=arguments)
        async with asyncio.timeout(100), Client(stdio_client(child, errlog=log)) as client:
            await scenario(Agent(client))

    with Path(os.devnull).open("w") as log:  # the standard error of a test is not a file
        asyncio.run(run(log))


@pytest.mark.slow
def test_an_agent_steers_a_job_only_with_a_token_that_may(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def token(scope: str) -> str:
        arguments = ["token", "create", "--scope", scope, "--name", f"agent-{scope}", "--data", str(tmp_path / "data")]
        assert server_main(arguments) == 0
        return capsys.readouterr().out.strip()

    tokens = {scope: token(scope) for scope in ("write", "view", "control")}
    monkeypatch.setenv("RECIS_MONITOR_TOKEN", tokens["write"])
    with Server(tmp_path / "data") as server, Job(server, tmp_path / "job", 2) as job:
        server.token = tokens["control"]
        job.start(most=1000)

        async def only_reads(agent: Agent) -> None:
            assert await agent.tools() == dict.fromkeys(READS, True)
            assert "requires a token with the scope `control`" in (agent.client.instructions or "")
            assert [run["id"] for run in (await agent.call("list_runs"))["runs"]] == ["job"]
            said = await agent.refused("set_controls", run="job", values={"a": 5}, reason="because")
            assert "set_controls" in said
            assert (await agent.call("list_commands", run="job"))["commands"] == []

        async def changes(agent: Agent) -> None:
            assert await agent.tools() == dict.fromkeys(READS, True) | dict.fromkeys(CHANGES, False)
            for wrong, said in (
                ({"values": {"a": 5}}, "reason"),
                ({"values": {"a": 5}, "reason": " "}, "reason: expected why"),
                ({"values": {"a": 0}, "reason": "r"}, "expected at least 1, got 0"),
                ({"values": {"b": 5, "a": 5000}, "reason": "r"}, "at most 1000"),
                ({"values": {"nobody": 5}, "reason": "r"}, "has no control 'nobody'"),
                ({"values": {}, "reason": "r"}, "values"),
            ):
                assert said in await agent.refused("set_controls", run="job", **wrong)
            assert "there is no run" in await agent.refused("list_controls", run="other")
            assert (await agent.call("list_commands", run="job"))["commands"] == []

            done = await agent.call("set_controls", run="job", values={"a": 5, "b": 6}, reason="to see")
            command = done["command"]
            assert (done["applied"], command["requested_by"], command["reason"]) == (True, "agent-control", "to see")
            steps = {step for rank in (0, 1) for name in "ab" for _, step in job.changes(rank, name)}
            assert steps == {command["apply_at_step"]}
            # A rejection by the callback is reported as well, and stored with the command.
            bad = await agent.call("set_controls", run="job", values={"b": 1313 - 1000}, reason="fine")
            assert bad["applied"]
            back = await agent.call("revert_command", run="job", command=bad["command"]["id"], reason="undo")
            assert (back["applied"], back["command"]["values"]) == (True, {"b": 6})
            again = await agent.call("read_command", run="job", command=back["command"]["id"], wait_s=5)
            assert again["applied"]
            effect = await agent.call("read_effect", run="job", command=back["command"]["id"], window=50)
            assert (effect["command"], effect["state"] in ("waiting", "none")) == (back["command"]["id"], True)
            audit = (await agent.call("read_audit", run="job", limit=2))["audit"]
            assert [(one["by"], one["reason"], one["outcome"]) for one in audit] == [
                ("agent-control", "undo", "applied")
            ] * 2
            events = (await agent.call("list_events", run="job"))["events"]
            assert "b: 313 → 6" in [event["text"] for event in events]

            assert "ask the user" in await agent.refused("run_action", run="job", action="stop", reason="enough")
            assert not [one for one in (await agent.call("list_commands", run="job"))["commands"] if not one["value"]]
            stopped = await agent.call("run_action", run="job", action="stop", reason="enough", confirmed=True)
            assert stopped["applied"]
            assert await asyncio.to_thread(job.wait) == [0, 0]

        with_agent(server.url, tokens["view"], only_reads)
        with_agent(server.url, tokens["control"], changes)
        ledger = recis.monitor.connect(server.url, tokens["view"]).run("job").audit()
        assert {one["by"] for one in ledger} == {"agent-control"}
        command = [sys.executable, "-m", "recis.cli", "mcp", "--url", server.url]
        refused = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
        assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (1, "", 1)
        assert "with the scope `view`" in refused.stderr


@pytest.mark.slow
def test_everything_can_be_read_in_bounded_answers(tmp_path: Path) -> None:
    data = tmp_path / "data"
    steps = list(range(20_000))
    losses = [float("nan") if step == 7 else -float(step % 977) for step in steps]

    async def fill(site: Site) -> None:
        await with_trace(site, tmp_path)
        store = site.app.state.store
        row = await store.trace("t1")
        await store.update_trace(replace(row, summary_state="ready", summary={"events": 1}))
        table = {f"table/user/{name}": [float(step) for step in steps] for name in ("rows", "bytes")}
        passes = [Pass("user", step, step, 10, 900, 40, 860, 120, 0.8, 262144) for step in range(0, 100, 10)]
        await site.run(
            "s",
            points(steps, loss=losses, **table),
            Event(kind="alert", time_ns=1, text="Loss is NaN", level="error", step=7),
            *passes,
            config={"lr": 0.1, "notes": "x" * 250_000},
        )

    ask(data, fill)

    async def read(agent: Agent) -> None:
        series = (await agent.call("read_series", run="s", keys=["loss", "nobody"]))["series"]
        (loss,) = series
        assert len(loss["x"]) <= 100
        assert (min(loss["min"]), max(loss["max"]), sum(loss["count"]), sum(loss["nan"])) == (-976.0, 0.0, 20_000, 1)
        exact = await agent.call("read_series", run="s", keys=["loss"], start=5, stop=10, exact=True)
        assert exact["series"][0]["x"] == [5, 6, 7, 8, 9]
        assert exact["series"][0]["value"] == [-5.0, -6.0, "NaN", -8.0, -9.0]
        for wrong, said in (
            ({"exact": True}, "exact: expected start and stop"),
            ({"exact": True, "start": 0, "stop": 20_000}, "at most 5000 steps apart"),
            ({"exact": True, "start": 5, "stop": 5}, "expected"),
            ({"points": 100_000}, "points"),
            ({"keys": []}, "keys"),
            ({"keys": ["loss", "table/user/rows"], "exact": True, "start": 0, "stop": 4000}, "at most 5000 points"),
            ({"rank": "every"}, "rank"),
        ):
            assert said in await agent.refused("read_series", **{"run": "s", "keys": ["loss"], **wrong})
        assert "expected an answer of at most 200000 characters" in await agent.refused("describe_run", run="s")
        described = await agent.call("describe_run", run="s", config=False)
        assert (described["last_step"], described["summary"]["loss"]) == (19_999, losses[-1])
        metrics = await agent.call("list_metrics", run="s", contains="table/", limit=1)
        assert ([one["key"] for one in metrics["metrics"]], metrics["left_out"]) == (["table/user/rows"], 1)
        tables = (await agent.call("list_tables", run="s"))["tables"]
        assert tables == {"user": {name: {"last_value": 19_999.0, "last_step": 19_999} for name in ("rows", "bytes")}}
        passes = (await agent.call("list_filter_passes", run="s", table="user", limit=3))["passes"]
        assert [one["step"] for one in passes] == [70, 80, 90]
        forecast = await agent.call("forecast_filter_interval", run="s", filter_interval=40)
        assert forecast == recis.monitor.connect(server.url).run("s").forecast(filter_interval=40)
        assert (forecast["tables"][0]["table"], forecast["total"]["rows"]) == ("user", 860.0)
        (trace,) = (await agent.call("list_traces", run="r"))["traces"]
        assert (trace["id"], trace["download"]) == ("t1", f"{server.url}/api/v1/traces/t1/download")
        assert "summary" not in trace
        assert (await agent.call("read_trace_summary", run="r", trace="t1"))["summary"] == {"events": 1}
        assert "has no trace 't2'" in await agent.refused("read_trace_summary", run="r", trace="t2")
        assert [one["text"] for one in (await agent.call("list_events", run="s"))["events"]] == ["Loss is NaN"]
        runs = (await agent.call("list_runs", q="s", limit=1))["runs"]
        assert [(run["id"], "config" in run) for run in runs] == [("s", False)]
        # If the server stops, each call returns an error, and the command continues.
        server.child.kill()
        server.child.wait(10)
        assert "expected a server at" in await agent.refused("list_runs")
        assert "expected a server at" in await agent.refused("list_controls", run="s")

    with serve(data) as server:
        with_agent(server.url, None, read)


def test_without_the_package_one_line_names_the_extra() -> None:
    script = WITHOUT.format(names=("mcp",), arguments=["recis.cli", "mcp"])
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "recis-monitor mcp: this command needs the package mcp, and mcp is missing" in done.stderr
    assert "pip install 'recis-monitor[mcp]'" in done.stderr
