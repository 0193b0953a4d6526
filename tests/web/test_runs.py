"""The list of runs in a browser: find, order, select, rename, tag, archive, delete and restore, all by keyboard too."""

import re
from collections.abc import Iterator

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, Page, expect

from tests.e2e.processes import RunningCommand
from tests.web.reports import Report, send
from tests.web.training import Console

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

RUNS = 48
"""More than fit on a screen."""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with runs whose order by name, by step and by loss differs."""
    with RunningCommand(tmp_path_factory.mktemp("runs"), "serve") as command:
        url = command.wait_for(r"Listening on (http://\S+)").rstrip("/")
        for number in range(RUNS):
            losses = [1.0, abs(number - 30.5)]
            tags = ("even", "wide, deep") if number % 2 == 0 else ()
            send(
                url,
                f"r{number:02}",
                [Report({"loss": losses, "qps": losses}, first=number + 1, tags=tags)],
                project="shop" if number < 5 else "films",
            )
        yield url


def row(page: Page, name: str) -> Locator:
    return page.get_by_role("row").filter(has=page.get_by_role("link", name=name, exact=True))


def names(page: Page) -> list[str]:
    """The first names on screen, in order."""
    return page.locator("tr[data-run] a.name").all_inner_texts()[:3]


def pick(page: Page, name: str, *, range_of: bool = False) -> None:
    box = page.get_by_role("checkbox", name=f"Compare {name}", exact=True)
    box.click(modifiers=["Shift"] if range_of else [])


def undo(page: Page, said: str) -> None:
    toast = page.get_by_role("region", name="Last change")
    expect(toast).to_contain_text(said)
    toast.get_by_role("button", name="Undo").click()
    expect(toast).to_contain_text("Restored")


def of(address: str, run: str) -> dict[str, object]:
    found: dict[str, object] = httpx.get(f"{address}/api/v1/runs/{run}").json()
    return found


def test_the_list_is_ordered_and_filtered_and_the_address_keeps_it(page: Page, console: Console, address: str) -> None:
    page.goto(address)
    expect(page.get_by_role("button", name=f"{RUNS} finished")).to_be_visible()
    page.get_by_role("button", name="Step", exact=True).click()
    expect(page.get_by_role("columnheader", name="Step")).to_have_attribute("aria-sort", "descending")
    assert names(page) == [f"r{RUNS - number}" for number in (1, 2, 3)]
    page.get_by_role("button", name="Step", exact=True).click()
    expect(page.get_by_role("columnheader", name="Step")).to_have_attribute("aria-sort", "ascending")
    page.get_by_role("button", name="Loss", exact=True).click()
    page.get_by_role("button", name="Loss", exact=True).click()
    expect(page.get_by_role("columnheader", name="Loss")).to_have_attribute("aria-sort", "ascending")
    assert set(names(page)[:2]) == {"r30", "r31"}
    row(page, "r30").get_by_role("button", name="wide, deep").click()
    expect(page.get_by_text(f"{RUNS // 2} runs", exact=True)).to_be_visible()
    page.reload()
    expect(page.get_by_text(f"{RUNS // 2} runs", exact=True)).to_be_visible()
    assert names(page)[0] == "r30"
    expect(page.get_by_role("columnheader", name="Loss")).to_have_attribute("aria-sort", "ascending")
    page.get_by_role("button", name="Remove the filter wide, deep").click()
    page.get_by_label("Project").select_option("shop")
    expect(page).to_have_url(re.compile("project=shop"))
    expect(page.get_by_text("5 runs", exact=True)).to_be_visible()


def test_selected_runs_are_changed_together_and_every_change_is_undone(
    page: Page, console: Console, address: str
) -> None:
    page.goto(f"{address}/?sort=name")
    pick(page, "r01")
    pick(page, "r03", range_of=True)
    chosen = page.get_by_role("group", name="Selected runs")
    expect(chosen).to_contain_text("3 selected")
    chosen.get_by_role("button", name="Tag").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Remove the tag even").click()
    dialog.get_by_label("Add a tag").fill("night")
    dialog.get_by_label("Add a tag").press("Enter")
    dialog.get_by_role("button", name="Save").click()
    expect(row(page, "r01")).to_contain_text("night")
    expect(row(page, "r02")).not_to_contain_text("even")
    assert of(address, "r02")["tags"] == ["wide, deep", "night"]
    undo(page, "Tagged 3 runs.")
    expect(row(page, "r02")).to_contain_text("even")
    assert [of(address, f"r0{number}")["tags"] for number in (1, 2)] == [[], ["even", "wide, deep"]]

    chosen.get_by_role("button", name="Archive").click()
    expect(row(page, "r02")).to_have_count(0)
    expect(page.get_by_text(f"{RUNS - 3} runs", exact=True)).to_be_visible()
    page.get_by_label("State").select_option("archived")
    expect(page.get_by_text("3 runs", exact=True)).to_be_visible()
    expect(row(page, "r02")).to_be_visible()
    undo(page, "Archived 3 runs.")
    expect(page.get_by_text("No matching runs")).to_be_visible()
    page.get_by_role("button", name="Show all runs").click()
    expect(page.get_by_text(f"{RUNS} runs", exact=True)).to_be_visible()

    pick(page, "r02")
    chosen.get_by_role("button", name="Delete").click()
    expect(row(page, "r02")).to_have_count(0)
    assert httpx.get(f"{address}/api/v1/runs/r02").status_code == 404
    undo(page, "Deleted 1 run.")
    expect(row(page, "r02")).to_be_visible()
    assert of(address, "r02")["last_step"] == 4

    pick(page, "r02")
    chosen.get_by_role("button", name="Rename").click()
    expect(dialog.get_by_label("Notes")).to_be_enabled()
    dialog.get_by_label("Name").fill("r02 wide")
    dialog.get_by_label("Notes").fill("lr halved")
    dialog.get_by_role("button", name="Save").click()
    expect(row(page, "r02 wide")).to_be_visible()
    assert (of(address, "r02")["name"], of(address, "r02")["notes"]) == ("r02 wide", "lr halved")
    undo(page, "Changed 1 run.")
    expect(row(page, "r02")).to_be_visible()
    assert of(address, "r02")["notes"] == ""

    page.goto(f"{address}/run/r02/info")
    page.get_by_role("button", name="Rename, edit notes").click()
    expect(dialog.get_by_label("Notes")).to_be_enabled()
    dialog.get_by_label("Notes").fill("lr halved at step 3")
    dialog.get_by_role("button", name="Save").click()
    expect(page.get_by_role("region", name="Notes")).to_contain_text("lr halved at step 3")


def test_everything_is_done_with_the_keyboard(page: Page, console: Console, address: str) -> None:
    page.goto(f"{address}/?sort=name")
    expect(row(page, "r00")).to_be_visible()
    page.wait_for_function(
        "performance.getEntriesByName(new URL('static/js/pages/runs/list-keys.js', location)).length"
    )
    expect_focused = lambda name: expect(page.get_by_role("link", name=name, exact=True)).to_be_focused()  # noqa: E731
    page.keyboard.press("j")
    expect_focused("r00")
    page.keyboard.press("End")
    expect_focused(f"r{RUNS - 1}")
    page.keyboard.press("Home")
    expect_focused("r00")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("x")
    page.keyboard.press("Shift+ArrowDown")
    page.keyboard.press("Shift+ArrowDown")
    expect_focused("r03")
    chosen = page.get_by_role("group", name="Selected runs")
    expect(chosen).to_contain_text("3 selected")
    expect(page).to_have_url(re.compile("pick=r01,r02,r03"))
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
        found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"]})
        assert found.response["violations"] == []
    page.keyboard.press("Delete")
    toast = page.get_by_role("region", name="Last change")
    expect(toast).to_contain_text("Deleted 3 runs.")
    expect(chosen).to_have_count(0)
    expect(page.locator("#main")).to_be_focused()
    expect(page.get_by_role("status").filter(has_text="Press u to undo.")).to_have_count(1)
    page.keyboard.press("u")
    expect(toast).to_contain_text("Restored 3 runs.")
    expect(row(page, "r02")).to_be_visible()
    toast.get_by_role("button", name="Close this message").click()
    expect(toast).to_have_count(0)
