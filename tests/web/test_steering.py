"""Changing a run from the page: two ranks that step together, and fields for every type of control."""

import re
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, Page, expect

from tests.control.job import Job, Server, until
from tests.web.training import Console, Training

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

IN_TIME_MS = 20_000


def opened(page: Page, address: str) -> None:
    """Opens an address and waits until the controls are there."""
    page.goto(address)
    expect(page.get_by_role("heading", name=re.compile("^(Controls|Other controls)$"))).to_be_visible(
        timeout=IN_TIME_MS
    )


def card(page: Page, name: str) -> Locator:
    """The card of a control."""
    return page.locator("form.control").filter(has=page.get_by_text(name, exact=True))


def changes(page: Page) -> Locator:
    """What was changed, newest first."""
    return page.get_by_role("list", name="Changes").locator("> li")


def click_mark(page: Page, text: str) -> None:
    """Moves over a chart until its tooltip names an event, and clicks."""
    plot = page.locator(".u-over").first
    expect(plot).to_be_visible(timeout=IN_TIME_MS)
    box = plot.bounding_box()
    assert box is not None
    for offset in range(0, int(box["width"]), 3):
        page.mouse.move(box["x"] + offset, box["y"] + box["height"] / 2)
        if page.locator(".tooltip", has_text=text).count():
            page.mouse.click(box["x"] + offset, box["y"] + box["height"] / 2)
            return
    raise AssertionError(f"no mark says {text!r}")


def is_accessible(page: Page) -> None:
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_two_ranks_change_at_one_step_and_back_and_stop_when_confirmed(
    page: Page, console: Console, tmp_path: Path
) -> None:
    with Server(tmp_path / "data") as server, Job(server, tmp_path / "job", 2) as job:
        job.start()
        opened(page, f"{server.url}/run/{job.run}/tables")
        one = card(page, "a")
        expect(one).to_contain_text("All ranks change at one step.")
        expect(card(page, "free")).to_contain_text("Each rank changes at its next step.")

        one.get_by_role("spinbutton").fill("7")
        one.get_by_label("Reason").fill("a try")
        page.keyboard.press("Enter")
        expect(one.get_by_role("status")).to_contain_text(re.compile(r"7: applied at step \d+$"), timeout=IN_TIME_MS)
        expect(changes(page).first).to_contain_text(re.compile(r"a 1 → 7.* by local: a try", re.DOTALL))
        changes(page).first.locator("summary").click()
        expect(changes(page).first).to_contain_text(re.compile(r"ranks 0 and 1: applied at step \d+"))

        # The windows of its effect are as long as the run was before it; the loss falls all the while.
        changes(page).first.get_by_role("button", name="Effect").click()
        effect = page.get_by_role("region", name="Effect")
        expect(effect).to_contain_text("Not enough steps yet")
        (asked,) = job.commands()
        for rank in (0, 1):
            assert asked["ranks"][str(rank)]["step"] == job.changes(rank, "a")[0][1]
        expect(effect).to_contain_text(
            re.compile(rf"\d+ steps before and after step {asked['ranks']['0']['step']}\. No more, as the run began"),
            timeout=IN_TIME_MS,
        )
        expect(effect.get_by_role("row")).to_have_count(2)
        expect(effect.get_by_role("row").last).to_contain_text(
            re.compile("^loss(as its trend before|lower, perhaps by a trend|within the noise)−")
        )
        is_accessible(page)

        page.get_by_role("button", name="Revert to 1: a").click()
        expect(one.get_by_role("status")).to_contain_text(re.compile(r"^1: applied at step"), timeout=IN_TIME_MS)
        expect(changes(page).first).to_contain_text(re.compile(r"a 7 → 1.*a revert", re.DOTALL))
        assert job.changes(0, "a") == job.changes(1, "a")
        assert [value for value, _ in job.changes(0, "a")] == [7, 1]
        # The event leads to the effect, and so does its mark on a chart, see below.
        page.get_by_role("link", name="Events").click()
        page.get_by_role("row", name="a: 1 → 7").get_by_role("link", name="Effect").click()
        expect(page).to_have_url(re.compile(rf"/tables\?effect={asked['id']}$"))
        expect(effect).to_contain_text("steps before and after")

        stop = page.get_by_role("button", name="stop…")
        stop.click()
        expect(page.get_by_role("dialog", name="stop")).to_contain_text("End this training now?")
        is_accessible(page)
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)
        assert len(job.commands()) == 2
        stop.click()
        page.get_by_role("dialog").get_by_label("Reason").fill("seen enough")
        page.get_by_role("dialog").get_by_role("button", name="stop").click()
        assert job.wait() == [0, 0]
        expect(changes(page).first).to_contain_text(re.compile(r"stop.*seen enough", re.DOTALL))
        expect(stop).to_be_disabled(timeout=IN_TIME_MS)
        asked = job.settled(job.commands()[-1])
        assert (asked["control"], asked["state"], asked["reason"]) == ("stop", "applied", "seen enough")
        page.get_by_role("link", name="Charts").click()
        click_mark(page, "a: 7 → 1")
        reverted = job.commands()[1]["id"]
        expect(page).to_have_url(re.compile(rf"/tables\?.*effect={reverted}$"))
        expect(effect).to_contain_text("steps before and after")


def test_a_rank_that_is_gone_is_named_as_away_and_as_different(page: Page, console: Console, tmp_path: Path) -> None:
    with Server(tmp_path / "data") as server, Job(server, tmp_path / "job", 2) as job:
        job.start(lockstep=False)
        opened(page, f"{server.url}/run/{job.run}/tables")
        job.kill(1)
        asked = job.set("free", 5)
        until(lambda: job.command(asked["id"])["away"] == [1], 20, "rank 1 is away")
        one = card(page, "free")
        one.get_by_role("spinbutton").fill("9")
        one.get_by_role("button", name="Apply").click()
        expect(one.get_by_role("status")).to_contain_text("rank 1 is away and gets it", timeout=IN_TIME_MS)
        expect(one).to_contain_text("rank 1 has 1")
        page.set_viewport_size({"width": 390, "height": 844})
        expect(page.get_by_role("heading", name="No hash tables yet")).to_be_visible()
        is_accessible(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_type_of_control_has_its_field(
    page: Page, console: Console, server: str, live: Training, scheme: str
) -> None:
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.set_viewport_size({"width": 390, "height": 844})
    opened(page, f"{server}/run/live/tables")
    page.get_by_role("heading", name="Other controls").click()
    combiner = card(page, "combiner")
    combiner.get_by_role("checkbox", name="none").uncheck()
    combiner.get_by_role("combobox").select_option("2")
    combiner.get_by_role("button", name="Apply").click()
    until(lambda: live.settings["combiner"] == 2, 10, "the number of the choices")
    combiner.get_by_role("checkbox", name="none").check()
    combiner.get_by_role("button", name="Apply").click()
    until(lambda: live.settings["combiner"] is None, 10, "none")
    label = card(page, "label")
    label.get_by_role("textbox", name="label").fill("cvr")
    label.get_by_role("button", name="Apply").click()
    until(lambda: live.settings["label"] == "cvr", 10, "a text")
    shuffle = card(page, "shuffle")
    wanted = not live.settings["shuffle"]
    shuffle.get_by_role("combobox").select_option("on" if wanted else "off")
    shuffle.get_by_role("button", name="Apply").click()
    expect(page.get_by_role("dialog")).to_contain_text("Shuffling makes steps slower.")
    assert live.settings["shuffle"] is not wanted
    page.get_by_role("dialog").get_by_role("button", name="Apply").click()
    until(lambda: live.settings["shuffle"] is wanted, 10, "the switch, once it is confirmed")
    is_accessible(page)
