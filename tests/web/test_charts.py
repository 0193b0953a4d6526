"""The charts of a run: how many fit on a screen, pins, and charts of several series."""

import csv
import math
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, Page, expect

from tests.e2e.processes import RunningCommand
from tests.web.reports import Report, send
from tests.web.training import Console

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

STEPS = 100
TABLES = ("user", "item")
FIELDS = ("rows", "bytes", "admitted", "evicted", "rejected")
KEYS = [
    *("loss", "qps", "auc", "grad_norm", "train/loss", "eval/loss", "eval/auc", "eval/logloss"),
    *(f"train/metric{number}" for number in range(7)),
    *(f"time/{part}_ms" for part in ("step", "forward", "backward")),
    *(f"table/{table}/{field}" for table in TABLES for field in FIELDS),
]
DESKTOP = {"width": 1400, "height": 900}
PHONE = {"width": 390, "height": 844}


def wave(number: int) -> list[float]:
    """Values that differ from series to series."""
    return [1.5 + number + math.sin(step / 9) for step in range(STEPS)]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with two runs of many series."""
    values = {key: wave(number) for number, key in enumerate(KEYS)}
    values["grad_norm"][50] = math.inf
    with RunningCommand(tmp_path_factory.mktemp("server"), "serve") as command:
        url = command.wait_for(r"Listening on (http://\S+)").rstrip("/")
        events = (("control", "info", 40, "filter_interval 1000 to 250"), ("alert", "warning", 50, "Gradients grow"))
        for run in ("first", "second"):
            send(url, run, [Report(values, events=events)], name=f"dlrm-{run}-with-a-long-name")
        yield url


def card(page: Page, name: str) -> Locator:
    """A chart by its name."""
    return page.get_by_role("region", name=name, exact=True)


def drawn(page: Page, address: str, name: str) -> Locator:
    """Opens an address and waits until a chart has data."""
    page.goto(address)
    expect(card(page, name).get_by_role("img")).to_have_attribute("aria-label", re.compile("last"), timeout=15_000)
    return card(page, name)


def whole_cards(page: Page) -> int:
    """How many cards are on screen from edge to edge."""
    return int(
        page.evaluate(
            "() => [...document.querySelectorAll('.card')].map((card) => card.getBoundingClientRect())"
            ".filter(({ top, bottom }) => top >= 0 && bottom <= innerHeight).length"
        )
    )


def last_rows(page: Page) -> list[list[int]]:
    """For each section with several rows of cards the number of cards of each row."""
    rows = page.evaluate(
        "() => [...document.querySelectorAll('.cards')].map((cards) => { const rows = {};"
        " for (const card of cards.children) rows[card.offsetTop] = (rows[card.offsetTop] ?? 0) + 1;"
        " return Object.values(rows); })"
    )
    return [counts for counts in rows if len(counts) > 1]


def section_titles(page: Page, section: str) -> list[str]:
    """The titles of the cards of a section, in their order."""
    details = page.get_by_role("group").filter(has=page.get_by_role("heading", name=section, exact=True))
    return details.get_by_role("heading", level=3).all_inner_texts()


def series_names(chart: Locator) -> Locator:
    """The entries of the legend of a chart."""
    return chart.get_by_role("list", name="Series").get_by_role("listitem")


def test_the_head_is_low_and_twelve_charts_fit_on_a_desktop(page: Page, console: Console, address: str) -> None:
    page.set_viewport_size(DESKTOP)  # type: ignore[arg-type]
    first = drawn(page, f"{address}/run/first", "loss")

    def bottom_of_toolbar() -> float:
        box = page.get_by_role("toolbar").bounding_box()
        assert box is not None
        return float(box["y"] + box["height"] - page.locator(".head").evaluate("(head) => head.offsetTop"))

    assert bottom_of_toolbar() <= 150
    before = first.bounding_box()
    page.get_by_role("button", name="Compact").click()
    page.wait_for_function("(height) => document.querySelector('.card').offsetHeight < height", arg=before["height"])  # type: ignore[index]
    page.wait_for_function("document.querySelector('.plot canvas').clientHeight < 120")
    assert whole_cards(page) >= 12
    rows = last_rows(page)
    assert rows, "no section has several rows"
    assert all(counts[-1] > 1 for counts in rows), rows
    page.reload()
    expect(page.get_by_role("button", name="Compact")).to_have_attribute("aria-pressed", "true")

    page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    page.wait_for_function("document.querySelector('.card').offsetWidth <= 390")
    assert bottom_of_toolbar() <= 160
    expect(page.get_by_role("button", name="Log", exact=True)).to_be_hidden()
    page.get_by_role("button", name="Options").click()
    page.get_by_role("button", name="Log", exact=True).click()
    expect(page).to_have_url(re.compile(r"log=1"))


def test_pins_come_first_and_are_in_the_address_and_remembered(page: Page, console: Console, address: str) -> None:
    drawn(page, f"{address}/run/first", "auc")
    card(page, "eval/auc").get_by_role("button", name="Pin eval/auc").click()
    card(page, "table/item").get_by_role("button", name="Pin table/item").click()
    card(page, "auc").get_by_role("img").focus()
    page.keyboard.press("p")
    expect(page).to_have_url(re.compile(r"pin=eval%2Fauc,table%2Fitem%2F,auc"))
    assert section_titles(page, "Pinned") == ["auc", "item", "auc"]
    expect(card(page, "auc")).to_have_count(1)
    pasted = page.url

    drawn(page, f"{address}/run/second", "auc")
    assert section_titles(page, "Pinned") == ["auc", "item", "auc"], "pins are remembered for the project"
    card(page, "auc").get_by_role("button", name="Pin auc").click()
    expect(page).to_have_url(re.compile(r"pin=eval%2Fauc,table%2Fitem%2F$"))
    drawn(page, pasted, "auc")
    assert section_titles(page, "Pinned") == ["auc", "item", "auc"], "the address comes before what is remembered"


def test_series_are_combined_in_one_chart_and_leave_it_as_image_table_and_file(
    page: Page, console: Console, address: str, tmp_path: Path
) -> None:
    drawn(page, f"{address}/run/first", "train/loss")
    page.get_by_role("button", name="More about train/loss").click()
    page.get_by_role("button", name="Add series").click()
    dialog = page.get_by_role("dialog", name="Series of this chart")
    dialog.get_by_role("searchbox").fill("^eval/l")
    dialog.get_by_role("checkbox", name="eval/loss", exact=True).check()
    dialog.get_by_role("button", name="Show 2 series").click()
    expect(page).to_have_url(re.compile(r"pin=train%2Floss\+eval%2Floss$"))
    both = drawn(page, page.url, "train/loss, eval/loss")
    expect(series_names(both)).to_have_text(["train/loss", "eval/loss"])
    expect(card(page, "train/loss")).to_have_count(1)
    both.locator(".u-over").hover()
    expect(both.locator(".tooltip")).to_contain_text(re.compile(r"train/loss.*\d.*eval/loss.*\d", re.DOTALL))
    page.mouse.move(0, 0)

    def choose(label: str) -> None:
        both.get_by_role("button", name="More about").click()
        both.get_by_role("button", name=label).click()

    with page.expect_download() as download:
        choose("Download CSV")
    rows = list(csv.DictReader(Path(download.value.path()).read_text("utf-8").splitlines()))
    assert [float(row["eval/loss"]) for row in rows] == pytest.approx(wave(KEYS.index("eval/loss")))
    assert rows[0]["step"] == "1"
    with page.expect_download() as download:
        choose("Download PNG")
    assert download.value.suggested_filename == "train-loss-eval-loss.png"
    assert Path(download.value.path()).read_bytes().startswith(b"\x89PNG")
    choose("Values as a table")
    table = page.get_by_role("dialog").get_by_role("table")
    expect(table.get_by_role("row")).to_have_count(STEPS + 1)
    expect(table.get_by_role("columnheader")).to_have_text(["step", "time", "train/loss", "eval/loss"])
    assert [violation["id"] for violation in Axe().run(page).response["violations"]] == []
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    height = both.evaluate("(card) => card.offsetHeight")
    choose("Full screen")
    page.wait_for_function("(height) => document.querySelector('.card canvas').clientHeight > height", arg=height)


def test_a_table_has_one_chart_and_a_search_shows_its_series(page: Page, console: Console, address: str) -> None:
    table = drawn(page, f"{address}/run/first", "table/user")
    expect(series_names(table)).to_have_text(["rows", "admitted", "evicted", "rejected", "bytes"])
    expect(card(page, "table/user/rows")).to_have_count(0)
    page.get_by_role("searchbox", name="Search charts").fill("user/(rows|bytes)")
    expect(card(page, "table/user/rows")).to_be_visible()
    expect(table).to_have_count(0)


def test_a_relative_axis_begins_with_the_run(page: Page, console: Console, address: str) -> None:
    drawn(page, f"{address}/compare?runs=first,second", "loss")
    page.get_by_role("button", name="Relative", exact=True).click()
    expect(page).to_have_url(re.compile(r"x=relative"))
    loss = drawn(page, page.url, "loss")
    box = loss.locator(".u-over").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 1, box["y"] + 20)
    expect(loss.locator(".tooltip")).to_contain_text(re.compile(r"^(0 s|\d{1,3} ms|1\.\d\d s) after the start"))
