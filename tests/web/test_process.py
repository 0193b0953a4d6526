"""What a process says about itself and prints, on the page: a real process against a real server."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

import recis.monitor
from tests.e2e.processes import get_json, until
from tests.web.training import Console

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

TRAIN = r"""
import os, sys, time, recis.monitor
from recis.bridge import observer
observer.INTERVAL_S = 0.2
run = recis.monitor.init(sys.argv[1], run_id="talkative", config={"optimizer": {"lr": 0.1}}, collect="all")
step = 0
print("\x1b[32mgreen\x1b[0m <b>bold</b>")
print("beware", file=sys.stderr)
print("a" * 60)
while not os.path.exists("end"):
    run.log({"loss": 1.0}, step := step + 1)
    print(f"step {step}")
    time.sleep(0.05)
run.finish()
"""


@pytest.fixture(scope="module")
def training(server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A process that trains while the module's tests look at it."""
    folder = tmp_path_factory.mktemp("training")
    (folder / "train.py").write_text(TRAIN)
    command = [sys.executable, "train.py", server, "--api-key", "hush"]
    with (folder / "output.txt").open("wb") as output:
        process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=subprocess.STDOUT)
    until(lambda: get_json(f"{server}/api/v1/runs")["runs"], 30, "a run")
    yield
    (folder / "end").touch()
    assert process.wait(30) == 0, (folder / "output.txt").read_text()


def test_info_says_how_the_run_was_started(page: Page, console: Console, server: str, training: None) -> None:
    page.goto(f"{server}/run/talkative/info")
    expect(page.get_by_text(re.compile(r"train\.py \S+ --api-key '\*\*\*'"))).to_be_visible(timeout=20_000)
    expect(page.get_by_role("link", name="Info")).to_have_attribute("aria-current", "page")
    facts = page.get_by_role("table", name="Configuration")
    expect(facts.get_by_role("row", name="optimizer.lr 0.1")).to_be_visible()
    expect(page.get_by_role("table", name="Machine").get_by_role("row", name="Host")).to_be_visible()
    page.get_by_role("searchbox", name="Search info").fill("msgspec")
    expect(page.get_by_role("table", name="Packages").get_by_role("row")).to_have_count(1, timeout=20_000)
    expect(facts).to_have_count(0)
    page.reload()
    expect(page.get_by_role("table", name="Packages").get_by_role("row")).to_have_count(1)
    assert "hush" not in page.content()
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        assert Axe().run(page).response["violations"] == []
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.get_by_role("link", name="Charts").click()
    for name in ("system/host/cpu_percent", "system/process/memory_bytes"):
        expect(page.get_by_role("region", name=name)).to_be_attached(timeout=20_000)


def test_logs_follow_what_the_process_prints(page: Page, console: Console, server: str, training: None) -> None:
    page.goto(f"{server}/run/talkative/logs")
    output = page.get_by_role("region", name="Output")
    lines = output.get_by_role("listitem")
    expect(lines.last).to_contain_text(re.compile(r"step \d+"), timeout=20_000)
    newest = lines.last.inner_text()
    until(lambda: lines.last.inner_text() != newest, 10, "another last line")
    assert page.locator(".log li").count() < 200, "only lines on screen exist"

    output.focus()
    page.keyboard.press("Home")
    expect(output.get_by_text("green <b>bold</b>")).to_be_visible()
    follow = page.get_by_role("button", name="Follow")
    expect(follow).to_have_attribute("aria-pressed", "false")
    count = page.get_by_role("status").filter(has_text="lines")
    before = count.inner_text()
    until(lambda: count.inner_text() != before, 10, "more lines")
    expect(output.get_by_text("green <b>bold</b>")).to_be_visible()
    follow.click()
    expect(follow).to_have_attribute("aria-pressed", "true")

    page.get_by_label("Stream").select_option("stderr")
    expect(lines).to_have_count(1)
    expect(lines).to_contain_text("errbeware")
    page.get_by_label("Stream").select_option("all")
    page.get_by_role("searchbox", name="Search logs").fill("STEP 1")
    expect(output.locator("mark").first).to_have_text("step")
    page.reload()
    expect(lines.first).to_contain_text(re.compile(r"step \d*1"))
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        assert Axe().run(page).response["violations"] == []
    search = page.get_by_role("searchbox", name="Search logs")
    search.fill(r"/^(step \d*[05]|beware)$/")
    expect(output.locator("mark").first).to_have_text(re.compile(r"^(step \d*[05]|beware)$"))
    expect(count).to_have_text(re.compile(r"^[\d\s]+ of the [\d\s]+ lines"))
    search.fill("/(step/")
    expect(page.get_by_text("Unterminated group")).to_be_visible()
    search.fill(r"/^(([a-z]+)+)+\d$|^((\w+\s*)+)+!$/")  # takes for ever on some of the lines
    expect(page.get_by_text("simplify it")).to_be_visible(timeout=20_000)
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    search.fill("no such line")
    expect(page.get_by_text("No matching lines")).to_be_visible()


def test_compared_runs_are_told_apart_by_what_differs(
    page: Page, console: Console, server: str, training: None, tmp_path: Path
) -> None:
    config = {"optimizer": {"lr": 0.2}}
    other = recis.monitor.init(server, run_id="other", config=config, collect=["info"], spool_dir=str(tmp_path))
    other.log({"loss": 1.5}, 1)
    for run in ("talkative", "other"):
        until(lambda run=run: packages(server, run), 30, "what a process says about itself")  # type: ignore[misc]
    page.goto(f"{server}/compare?runs=talkative,other")
    differences = page.get_by_role("region", name="Differences between runs")
    python = differences.get_by_role("row", name=re.compile(r"^Python \d"))
    expect(page.get_by_role("heading", name="Differences")).to_be_visible()
    expect(differences).to_have_count(0)
    page.get_by_role("heading", name="Differences").click()
    expect(differences.get_by_role("row", name="optimizer.lr 0.1 0.2")).to_be_visible()
    expect(differences.get_by_role("row", name="Command line")).to_be_visible()
    expect(python).to_have_count(0)
    expect(differences.get_by_role("row", name="loss")).to_have_text(re.compile(r"1\.5\d* \+0?\.5"))
    page.get_by_role("checkbox", name="Only differences").uncheck()
    expect(python).to_be_visible()
    page.get_by_role("link", name="Make other the reference").click()
    expect(differences.get_by_role("row", name="optimizer.lr 0.2 0.1")).to_be_visible()
    expect(differences.get_by_role("row", name="loss")).to_have_text(re.compile("−0?\\.5"))
    assert Axe().run(page).response["violations"] == []
    page.reload()
    expect(python).to_be_visible()
    other.finish()


def packages(server: str, run: str) -> bool:
    """Whether all that a run's process says about itself has arrived."""
    ranks = get_json(f"{server}/api/v1/runs/{run}/info")["ranks"]
    return bool(ranks and ranks[0]["info"].get("packages"))
