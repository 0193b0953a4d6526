"""The Grafana dashboard: every metric in it is one of the server's, and every metric of the server is in it."""

import json
import re
from pathlib import Path
from typing import Any

from tests.rules.sources import ROOT
from tests.server.httpserver import Site, ask

BOARD: dict[str, Any] = json.loads((ROOT / "deploy" / "grafana" / "recis-monitor.json").read_text(encoding="utf-8"))
TARGETS = [target for panel in BOARD["panels"] for target in panel.get("targets", ())]


def test_the_dashboard_shows_the_metrics_of_the_server(tmp_path: Path) -> None:
    async def scenario(site: Site) -> None:
        await site.filled()
        text = (await site.client.get("/metrics")).text
        kinds = dict(re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE))
        there = set(kinds) | {
            f"{name}_{part}"
            for name, kind in kinds.items()
            if kind == "histogram"
            for part in ("bucket", "count", "sum")
        }
        there = {name for name in there if not name.endswith("_created")}
        expressions = [target["expr"] for target in TARGETS] + [
            one["query"] for one in BOARD["templating"]["list"] if one["type"] == "query"
        ]
        shown = {name for expression in expressions for name in re.findall(r"\brecis_\w+", expression)}
        assert shown - there == set()
        histograms = {name for name, kind in kinds.items() if kind == "histogram"}
        parts = {f"{name}_{part}" for name in histograms for part in ("bucket", "count", "sum")}
        assert there - parts - histograms - shown == set()
        for name, kind in kinds.items():
            if kind == "counter":
                assert all(f"rate({name}" in one for one in expressions if name in one), "a counter only ever rises"
        documented = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
        assert {name for name in there - parts if f"`{name}" not in documented} == set()

    ask(tmp_path, scenario)


def test_the_dashboard_can_be_imported() -> None:
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])
    for panel in BOARD["panels"]:
        if panel["type"] != "row":
            assert panel["datasource"]["uid"] == "${datasource}"
            assert panel["description"].endswith(".")
    labels = {label for target in TARGETS for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])}
    assert labels == {"instance", "bound", "table"}
    assert {one["name"] for one in BOARD["templating"]["list"]} == {"datasource", "job", "instance"}
    assert all('{job=~"$job", instance=~"$instance"}' in target["expr"] for target in TARGETS)
