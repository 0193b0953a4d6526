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
        doubled = {key: [2 * value for value in values[key]] for key in ("loss", "qps")}
        send(url, "double", [Report(doubled)], name="dlrm-double")
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


def drag(page: Page, chart: Locator, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Drags from one place of a plot to another, both as shares of its width and height."""
    box = chart.locator(".u-over").bounding_box()
    assert box is not None
    (x0, y0), (x1, y1) = (
        (box["x"] + box["width"] * across, box["y"] + box["height"] * down) for across, down in (start, end)
    )
    page.mouse.move(x0, y0)
    page.mouse.down()
    page.mouse.move(x1, y1, steps=5)
    page.mouse.up()


def test_a_zoom_is_moved_and_values_are_zoomed_too(page: Page, console: Console, address: str) -> None:
    loss = drawn(page, f"{address}/run/first?from=40&to=60", "loss")
    page.keyboard.down("Shift")
    drag(page, loss, (0.5, 0.5), (0.75, 0.5))
    page.keyboard.up("Shift")
    expect(page).to_have_url(re.compile(r"from=35&to=55$"))
    drag(page, loss, (0.75, 1.1), (0.25, 1.1))
    expect(page).to_have_url(re.compile(r"from=45&to=65$"))
    loss.get_by_role("img").focus()
    page.keyboard.press("Shift+ArrowRight")
    expect(page).to_have_url(re.compile(r"from=50&to=70$"))
    page.go_back()
    expect(page).to_have_url(re.compile(r"from=45&to=65$"))

    drag(page, loss, (0.5, 0.3), (0.52, 0.6))
    expect(page).to_have_url(re.compile(r"from=45&to=65&y=loss:[\d.]+:[\d.]+$"))
    expect(loss.locator(".outside")).to_have_text(re.compile(r"\d above, \d+ below"))
    expect(card(page, "qps").locator(".outside")).to_have_count(0)
    page.reload()
    expect(loss.locator(".outside")).to_have_text(re.compile(r"\d above, \d+ below"))
    loss.get_by_role("img").focus()
    for _ in range(4):
        page.keyboard.press("Shift+ArrowDown")
    expect(loss.locator(".outside")).to_have_count(0)
    loss.locator(".u-over").dblclick()
    expect(page).to_have_url(f"{address}/run/first")


def test_an_overview_shows_which_part_of_the_run_is_in_view(page: Page, console: Console, address: str) -> None:
    drawn(page, f"{address}/run/first?from=40&to=60", "loss")
    part = page.get_by_role("slider", name="Part of the run in view")
    expect(part).to_have_attribute("aria-valuetext", "steps 40 to 60")
    part.focus()
    page.keyboard.press("ArrowRight")
    expect(page).to_have_url(re.compile(r"from=45&to=65$"))
    page.keyboard.press("-")
    expect(page).to_have_url(re.compile(r"from=35&to=75$"))
    box, track = part.bounding_box(), page.locator(".overview").bounding_box()
    assert box is not None
    assert track is not None
    y, middle = box["y"] + box["height"] / 2, box["x"] + box["width"] / 2
    page.mouse.move(box["x"] + box["width"] - 2, y)
    page.mouse.down()
    page.mouse.move(track["x"] + track["width"] + 50, y, steps=4)
    expect(part).to_have_attribute("aria-valuetext", "steps 35 to 100")
    page.mouse.up()
    expect(page).to_have_url(re.compile(r"from=35&to=100$"))
    page.go_back()
    expect(page).to_have_url(re.compile(r"from=35&to=75$"))
    page.mouse.move(middle, y)
    page.mouse.down()
    page.mouse.move(track["x"] - 500, y, steps=4)
    page.mouse.up()
    expect(page).to_have_url(re.compile(r"from=1&to=41$"))
    assert [violation["id"] for violation in Axe().run(page).response["violations"]] == []
    page.keyboard.press("0")
    expect(part).to_have_count(0)


def test_compared_runs_are_shown_as_ratios(page: Page, console: Console, address: str) -> None:
    loss = drawn(page, f"{address}/compare?runs=second,double", "loss")
    item = page.get_by_role("listitem").filter(has=page.get_by_role("link", name="dlrm-double"))
    expect(item).to_contain_text("(+100 %)")
    expect(page.get_by_role("listitem").filter(has_text="reference")).to_contain_text("dlrm-second")
    page.get_by_role("group", name="Values").get_by_role("button", name="Ratio").click()
    expect(page).to_have_url(re.compile("ratio=1"))
    expect(loss.locator(".value")).to_have_text("2")
    loss.locator(".u-over").hover()
    expect(loss.locator(".tooltip")).to_contain_text(re.compile("dlrm-double.*2.*dlrm-second.*1", re.DOTALL))
    page.reload()
    expect(loss.locator(".value")).to_have_text("2")
    page.get_by_role("button", name="Overlay").click()
    expect(page).to_have_url(f"{address}/compare?runs=second,double")
    expect(loss.locator(".owner")).to_contain_text("dlrm-second")


def test_a_relative_axis_begins_with_the_run(page: Page, console: Console, address: str) -> None:
    drawn(page, f"{address}/compare?runs=first,second", "loss")
    page.get_by_role("button", name="Relative", exact=True).click()
    expect(page).to_have_url(re.compile(r"x=relative"))
    loss = drawn(page, page.url, "loss")
    box = loss.locator(".u-over").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 1, box["y"] + 20)
    expect(loss.locator(".tooltip")).to_contain_text(re.compile(r"^(0 s|\d{1,3} ms|1\.\d\d s) after the start"))
