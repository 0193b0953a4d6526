"""The complete system in a real browser: the demo trains, the page shows it and changes controls."""

import gzip
import json
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.e2e.processes import RunningCommand, get_json, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

RUN_NAME = "movielens-deepfm"
NEW_INTERVAL = 10


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCommand]:
    """The demo, until the end of the module, at about the default rate: every step takes 50 ms of a core."""
    folder = tmp_path_factory.mktemp("demo")
    with RunningCommand(folder, "demo", "--rate", "5", "--no-browser") as command:
        command.wait_for(r"Watch the training at (\S+)", limit_s=120)
        command.wait_for(r"(<gstep=10>)", limit_s=60)
        yield command


@pytest.fixture
def address(demo: RunningCommand) -> str:
    return demo.wait_for(r"Watch the training at (\S+)").rstrip("/")


@pytest.fixture
def run(address: str) -> dict[str, Any]:
    """The only run, once the server has its first points."""

    def first() -> dict[str, Any] | None:
        runs = get_json(f"{address}/api/v1/runs")["runs"]
        return runs[0] if runs and runs[0]["last_step"] else None

    found = until(first, 30, "a run with points")
    assert found is not None
    return found


def test_the_loss_line_grows(watched: Page, address: str, run: dict[str, Any]) -> None:
    watched.goto(address)
    watched.get_by_role("link", name=RUN_NAME, exact=True).first.click()
    for name in ("loss", "qps"):
        expect(watched.get_by_role("region", name=name, exact=True)).to_be_visible(timeout=15_000)
    loss = watched.get_by_role("region", name="loss", exact=True)
    canvas = loss.locator("canvas").first
    expect(canvas).to_be_visible()
    text, picture = loss.inner_text(), canvas.screenshot()
    until(lambda: loss.inner_text() != text, 30, "another last value of the loss")
    until(lambda: canvas.screenshot() != picture, 30, "another picture of the loss")


def test_the_filter_interval_changes_in_the_running_job(watched: Page, address: str, run: dict[str, Any]) -> None:
    api = f"{address}/api/v1/runs/{run['id']}"
    watched.goto(f"{address}/run/{run['id']}/tables")
    field = watched.get_by_role("spinbutton", name="filter_interval")
    expect(field).to_have_value("50", timeout=15_000)
    field.fill(str(NEW_INTERVAL))
    watched.get_by_role("button", name="Apply").click()
    status = watched.get_by_role("status").filter(has_text=re.compile(r"applied at step \d"))
    expect(status).to_be_visible(timeout=30_000)
    applied = int(re.sub(r"\D", "", re.findall(r"applied at step ([\d\s,.  ]*\d)", status.inner_text())[-1]))

    def later() -> list[int]:
        steps = {each["step"] for each in get_json(f"{api}/filters?table=user")["passes"]}
        return sorted(step for step in steps if step > applied)

    until(lambda: len(later()) >= 3, 60, "three passes after the change")
    # The first pass after the change may be due immediately; from then on the new interval applies.
    assert {after - before for before, after in pairwise(later())} == {NEW_INTERVAL}
    newest = get_json(f"{api}/filters?table=user")["passes"][-1]
    assert newest["interval"] == NEW_INTERVAL
    assert newest["rows_before"] - newest["evicted"] == newest["rows_after"]
    assert len(newest) >= 10
    assert get_json(f"{api}/commands")["commands"][0]["state"] == "applied"
    expect(watched.get_by_role("main")).to_contain_text("user_x_genre")


def test_a_wrong_interval_is_refused_and_changes_nothing(watched: Page, address: str, run: dict[str, Any]) -> None:
    watched.goto(f"{address}/run/{run['id']}/tables")
    field = watched.get_by_role("spinbutton", name="filter_interval")
    expect(field).not_to_have_value("", timeout=15_000)
    before = get_json(f"{address}/api/v1/runs/{run['id']}/commands")["commands"]
    field.fill("0")
    watched.get_by_role("button", name="Apply").click()
    expect(watched.get_by_role("status").filter(has_text=re.compile("refused"))).to_be_visible(timeout=15_000)
    assert get_json(f"{address}/api/v1/runs/{run['id']}/commands")["commands"] == before


def test_a_downloaded_trace_is_the_file_that_the_trainer_wrote(
    watched: Page, demo: RunningCommand, address: str, run: dict[str, Any]
) -> None:
    watched.goto(f"{address}/run/{run['id']}/traces")
    link = watched.get_by_role("link", name="Download").first
    expect(link).to_be_visible(timeout=60_000)
    with watched.expect_download() as waiting:
        link.click()
    download = waiting.value
    content = download.path().read_bytes()
    assert content == (demo.data / "demo" / "traces" / download.suggested_filename).read_bytes()
    events = json.loads(gzip.decompress(content))["traceEvents"]
    assert any(event["name"].startswith("aten::") and event["ph"] == "X" for event in events)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("page_path", ["/", "/run/{id}", "/run/{id}/tables", "/run/{id}/traces"])
def test_axe_finds_nothing(watched: Page, address: str, run: dict[str, Any], page_path: str, scheme: Any) -> None:
    watched.emulate_media(color_scheme=scheme)
    watched.goto(address + page_path.format(id=run["id"]))
    expect(watched.get_by_role("link", name=RUN_NAME).or_(watched.get_by_text(RUN_NAME)).first).to_be_visible()
    found = Axe().run(watched)
    assert found.violations_count == 0, found.generate_report()


def test_ctrl_c_stops_training_and_server_and_leaves_no_process(demo: RunningCommand) -> None:
    # The last test of the module: it ends the demo that the others use.
    assert len(demo.processes()) >= 3
    assert demo.interrupt() == 0
    assert "Held out" in demo.output
    assert demo.processes() == []
