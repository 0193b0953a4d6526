"""What the page shows is true: pauses, units, owners of figures, events, touch, reloads and long lists."""

import math
import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from recis.wire.messages import Pass
from tests.e2e.processes import RunningCommand, until
from tests.web.reports import Report, send
from tests.web.training import Console

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

STEPS = 600
PAUSE_AT = 300
PAUSE_S = 300
EVENTS = (
    ("alert", "error", 50, "Loss is above 0.9"),
    ("alert", "warning", 52, "Gradients grow: 14.2 against 3.1 usually"),
    ("disconnected", "warning", PAUSE_AT + 1, "Rank 0 lost its connection"),
    ("checkpoint", "info", 400, "Checkpoint out/step-400"),
)
RUNS = [f"run-{number}" for number in range(17)]


def seconds(step: int) -> float:
    """One step a second, and a pause in the middle."""
    return step + (PAUSE_S if step > PAUSE_AT else 0)


def passes() -> list[Pass]:
    """One at every other step."""
    return [
        Pass(
            table="user", step=step, time_ns=0, interval=2, rows_before=1000, evicted=40, rows_after=960,
            admitted=40, milliseconds=12.245, bytes=61_440,
        )
        for step in range(2, STEPS, 2)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with a run that has paused, one of two ranks, and seventeen to compare."""
    with RunningCommand(tmp_path_factory.mktemp("server"), "serve") as command:
        url = command.wait_for(r"Listening on (http://\S+)").rstrip("/")
        wave = [0.5 + 0.1 * math.sin(step / 9) for step in range(STEPS)]
        spiky = [50.0 if step == 200 else value for step, value in enumerate(wave)]
        big = [1e9 + step % 5 for step in range(STEPS)]
        values = {"loss": wave, "train/spiky": spiky, "step_ms": [1999.0] * STEPS, "big": big}
        send(url, "paused", [Report(values, seconds, events=EVENTS, passes=passes())])
        send(
            url, "two", [Report({"train/loss": [0.5 + rank] * 50, "samples_per_second": [7.0] * 50}) for rank in (0, 1)]
        )
        slow = {11: {"step_ms": 5.0}, 37: {"train/loss": 0.2}}
        ranks = []
        for rank in range(64):
            extra = slow.get(rank, {})
            loss = [0.5 + extra.get("train/loss", 0.0) + rank % 3 / 1000] * 40
            ranks.append(
                Report({"train/loss": loss, "step_ms": [10.0 + extra.get("step_ms", 0.0) + rank % 3 / 100] * 40})
            )
        send(url, "wide", ranks)
        many = {f"part{number // 10}/metric{number}": [1.0, 2.0, 3.0] for number in range(200)}
        send(url, "many", [Report(many)])
        for number, run in enumerate(RUNS):
            report = Report({"train/loss": [1 + number / 10] * 200}, lambda step, number=number: step * (1 + number))  # type: ignore[misc]
            send(url, run, [report], name=f"{run} with a name that is rather long")
        yield url


def card(page: Page, name: str) -> Locator:
    """A chart by the name of its series."""
    return page.get_by_role("region", name=name, exact=True)


def drawn(page: Page, address: str, name: str) -> Locator:
    """Opens an address and waits until a chart has data."""
    page.goto(address)
    expect(card(page, name).get_by_role("img")).to_have_attribute("aria-label", re.compile("last"), timeout=15_000)
    return card(page, name)


def hover(page: Page, chart: Locator, share: float) -> None:
    """Puts the pointer on a plot, at a share of its width."""
    box = chart.locator(".u-over").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * share, box["y"] + box["height"] / 2)


def value(chart: Locator) -> Locator:
    """The figure of a card."""
    return chart.locator(".value")


def test_a_pause_is_a_gap_with_its_reason(page: Page, console: Console, address: str) -> None:
    loss = drawn(page, f"{address}/run/paused?x=time", "loss")
    hover(page, loss, 0.5)
    expect(loss.locator(".tooltip")).to_contain_text(re.compile(r"No data for 5 min 1 s: Rank 0 lost its connection"))
    expect(value(loss)).to_have_text("–")
    hover(page, loss, 0.9)
    expect(loss.locator(".tooltip")).not_to_contain_text("No data")
    expect(value(loss)).to_have_text(re.compile(r"0\.\d+"))


def test_numbers_keep_their_digits_and_labels_differ(page: Page, console: Console, address: str) -> None:
    expect(value(drawn(page, f"{address}/run/paused", "step_ms"))).to_have_text("2.00 s")
    name = card(page, "big").get_by_role("img")
    expect(name).to_have_attribute("aria-label", re.compile("last"))
    labels = page.evaluate(
        "async () => { const { tickLabels } = await import('/static/js/format/axes.js');"
        " return [tickLabels([1e9, 1e9 + 1, 1e9 + 2, 1e9 + 3]), tickLabels([0, 5], { symbol: 's', scale: 1e-3 })] }"
    )
    assert len(set(labels[0])) == 4
    assert labels[1] == ["0", "5ms"]
    page.goto(f"{address}/run/paused/tables")
    expect(page.get_by_role("region", name="Hash tables")).to_contain_text("12.2 ms")


def test_figures_say_whose_they_are_and_agree(page: Page, console: Console, address: str) -> None:
    loss = drawn(page, f"{address}/run/two?rank=1", "train/loss")
    head = page.locator(".figure").filter(has_text="train/loss")
    expect(head).to_contain_text("rank 1")
    expect(head).to_contain_text("1.5")
    expect(value(loss)).to_have_text("1.500")
    expect(loss.locator(".owner")).to_have_text("rank 1")
    loss = drawn(page, f"{address}/run/two?rank=all", "train/loss")
    expect(value(loss)).to_have_text("0.5000")
    expect(loss.locator(".owner")).to_have_text("rank 0")
    hover(page, loss, 0.5)
    expect(value(loss)).to_have_text("0.5000")


def test_many_ranks_are_a_band_and_the_slow_and_the_odd_one_are_named(
    page: Page, console: Console, address: str
) -> None:
    sizes: list[int] = []
    page.on("response", lambda answer: sizes.append(int(answer.headers.get("content-length", 0))))
    loss = drawn(page, f"{address}/run/wide?rank=all", "train/loss")
    expect(loss.get_by_role("button", name="odd: rank 37")).to_be_visible()
    expect(card(page, "step_ms").get_by_role("button", name="slowest: rank 11")).to_be_visible()
    expect(loss.locator(".owner")).to_have_text("median of 64 ranks")
    expect(value(loss)).to_have_text(re.compile(r"^0\.50"))
    assert sum(sizes) < 500_000
    loss.get_by_role("button", name="odd: rank 37").click()
    expect(page).to_have_url(re.compile("rank=37"))
    expect(loss.locator(".owner")).to_have_text("rank 37")
    expect(value(loss)).to_have_text(re.compile(r"^0\.70"))


def test_a_comparison_keeps_colors_place_and_runs(page: Page, console: Console, address: str) -> None:
    console.allow(r"404 \(Not Found\)")
    loss = drawn(page, f"{address}/compare?runs={','.join([*RUNS, 'nobody'])}", "train/loss")
    expect(page.get_by_text("1 run not found: nobody")).to_be_visible()
    box = loss.bounding_box()
    assert box is not None and box["y"] + box["height"] < 720  # noqa: PT018 - the first chart is on the first screen

    def swatch() -> str:
        item = page.get_by_role("listitem").filter(has=page.get_by_role("link", name=re.compile("^run-9 ")))
        return str(item.locator("line").evaluate("line => line.outerHTML"))

    before = swatch()
    hover(page, loss, 0.97)
    tooltip = loss.locator(".tooltip").bounding_box()
    assert tooltip is not None
    assert tooltip["x"] >= 0
    assert tooltip["x"] + tooltip["width"] <= 1280
    page.get_by_role("checkbox", name="Show run-0 ").uncheck()
    expect(page).to_have_url(re.compile("hide=run-0"))
    drawn(page, f"{address}/compare?runs={','.join(RUNS[9:8:-1] + RUNS[3:0:-1])}", "train/loss")
    assert swatch() == before


def test_a_drag_on_the_time_axis_zooms_every_run_to_that_time(page: Page, console: Console, address: str) -> None:
    loss = drawn(page, f"{address}/compare?runs=run-0,run-16&x=time", "train/loss")
    box = loss.locator(".u-over").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + 50, steps=4)
    page.mouse.up()
    # The first run has ended long before: only the second one has steps there.
    expect(page).to_have_url(re.compile(r"from=1[0-2]\d&to=1[78]\d&times=\d+"))
    page.reload()
    expect(page.get_by_role("button", name="Back to live")).to_be_visible()


def test_events_are_read_on_the_chart_and_in_a_list(page: Page, console: Console, address: str) -> None:
    loss = drawn(page, f"{address}/run/paused", "loss")
    hover(page, loss, 50.5 / STEPS)
    for _, _, _, text in EVENTS[:2]:
        expect(loss.locator(".tooltip")).to_contain_text(text)
    hover(page, loss, 400 / STEPS)
    expect(loss.locator(".tooltip")).to_contain_text("Checkpoint out/step-400")
    page.get_by_role("link", name="3 alerts").click()
    table = page.get_by_role("table", name="Events")
    for _, level, _, text in EVENTS:
        expect(table.get_by_role("row").filter(has_text=text)).to_contain_text(level)
    page.get_by_label("Search events").fill("gradients")
    expect(table.get_by_role("row")).to_have_count(2)
    page.go_back()
    hover(page, loss, 50.5 / STEPS)
    expect(loss.locator(".tooltip")).to_contain_text(EVENTS[0][3])
    page.mouse.down()
    page.mouse.up()
    expect(page).to_have_url(re.compile("/run/paused/events$"))
    answer = page.request.get(f"{address}/api/v1/runs/paused/filters?limit=10", headers={"Accept-Encoding": "gzip"})
    assert answer.headers["content-encoding"] == "gzip"
    assert [one["step"] for one in answer.json()["passes"]][-1] == STEPS - 2
    assert len(answer.json()["passes"]) == 10


def test_escape_clears_a_search_for_good(page: Page, console: Console, address: str) -> None:
    drawn(page, f"{address}/run/paused?q=loss", "loss")
    field = page.get_by_label("Search charts")
    field.focus()
    page.keyboard.press("Escape")
    expect(field).to_have_value("")
    expect(card(page, "big")).to_be_visible()
    expect(page).to_have_url(f"{address}/run/paused")


def test_a_crosshair_and_its_figure_agree_after_a_zoom(page: Page, console: Console, address: str) -> None:
    loss = drawn(page, f"{address}/run/paused", "loss")
    box = loss.locator(".u-over").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.75, box["y"] + 50, steps=4)
    page.mouse.up()
    expect(page).to_have_url(re.compile(r"from=(29|30)\d&to=(44|45)\d"))
    # The pointer rests at three quarters of the plot, which are now three quarters of the zoomed range.
    expect(loss.locator(".tooltip b")).to_have_text(re.compile(r"^step 41[0-9]$"))


def test_an_outlier_is_seen_and_can_be_left_out(page: Page, console: Console, address: str) -> None:
    spiky = drawn(page, f"{address}/run/paused", "train/spiky")
    page.get_by_role("button", name="Robust").click()
    expect(spiky.locator(".outside")).to_have_text("1 above")
    page.reload()
    expect(spiky.locator(".outside")).to_have_text("1 above")
    expect(card(page, "loss").locator(".outside")).to_have_count(0)


def test_fingers_move_the_crosshair_and_zoom(browser: Browser, address: str) -> None:
    context = browser.new_context(has_touch=True, viewport={"width": 390, "height": 844})
    page = context.new_page()
    loss = drawn(page, f"{address}/run/paused", "loss")
    over = loss.locator(".u-over")
    over.scroll_into_view_if_needed()
    box = over.bounding_box()
    assert box is not None
    page.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + 40)
    expect(loss.locator(".tooltip b")).to_have_text(re.compile(r"^step (29|30)\d$"))
    tooltip = loss.locator(".tooltip").bounding_box()
    assert tooltip is not None
    assert tooltip["x"] + tooltip["width"] <= 390
    session = context.new_cdp_session(page)
    middle = box["x"] + box["width"] / 2
    for kind, spread in (("touchStart", 30), ("touchMove", 60), ("touchMove", 90), ("touchEnd", 0)):
        points = (
            [{"x": middle + sign * spread, "y": box["y"] + 40, "id": sign + 1} for sign in (-1, 1)] if spread else []
        )
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    expect(page).to_have_url(re.compile(r"from=(19|20)\d&to=(39|40)\d"))
    context.close()


def test_metrics_of_any_name_are_columns(page: Page, console: Console, address: str) -> None:
    page.goto(address)
    row = page.get_by_role("row").filter(has=page.get_by_role("link", name="two", exact=True))
    expect(row).to_contain_text("7")
    expect(row.get_by_title("train/loss: ")).to_have_text(re.compile(r"^(0\.5000|1\.500)$"))
    page.get_by_label("Add a column").select_option("step_ms")
    expect(page).to_have_url(re.compile("metrics=step_ms"))
    row = page.get_by_role("row").filter(has=page.get_by_role("link", name="paused", exact=True))
    expect(row).to_contain_text("2.00 s")
    page.reload()
    expect(row).to_contain_text("2.00 s")
    page.get_by_role("button", name="Remove the column step_ms").click()
    expect(page.get_by_role("columnheader", name="Loss")).to_be_visible()


def test_pause_folds_and_picks_outlive_a_reload(page: Page, console: Console, address: str) -> None:
    page.goto(address)
    for name in ("two", "paused"):
        page.get_by_role("checkbox", name=f"Compare {name}", exact=True).check()
    page.reload()
    expect(page.get_by_role("link", name="Compare 2")).to_be_visible()
    drawn(page, f"{address}/run/two", "train/loss")
    page.get_by_role("heading", name="train").click()
    expect(card(page, "train/loss")).to_have_count(0)
    page.get_by_role("button", name="Pause").click()
    page.reload()
    expect(page.get_by_role("button", name="Paused")).to_be_visible()
    expect(card(page, "samples_per_second").get_by_role("img")).to_have_attribute("aria-label", re.compile("last"))
    expect(card(page, "train/loss")).to_have_count(0)


def test_scrolled_charts_are_drawn_and_printed(page: Page, console: Console, address: str) -> None:
    drawn(page, f"{address}/run/many", "part0/metric0")
    for _ in range(12):
        page.mouse.wheel(0, 400)
        page.evaluate("() => new Promise(requestAnimationFrame)")
    # While it scrolls data arrives for what lies ahead, so that nothing on screen waits for the end of the scroll.
    empty = "() => [...document.querySelectorAll('.plot')].filter((plot) => { const box = plot.getBoundingClientRect();"
    empty += " return box.bottom > 0 && box.top < innerHeight && !plot.querySelector('canvas'); }).length"
    until(lambda: page.evaluate(empty) == 0, 60, "charts on the whole screen")
    # Charts that are near the window follow.
    until(lambda: page.locator(".plot canvas").count() > 20, 60, "more charts than fit on the screen")
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    expect(page.get_by_role("toolbar")).to_be_hidden()
    expect(page.locator("html")).to_have_attribute("data-theme", "light")
    num_drawn, num_cards = page.locator(".plot canvas").count(), page.locator(".plot").count()
    assert num_drawn > 20
    assert page.locator(".card:visible").count() == num_drawn, "no blank card is printed"
    expect(page.locator("body")).to_have_attribute(
        "data-unprinted", re.compile(f"^Not printed: {num_cards - num_drawn} ")
    )
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    expect(page.locator("html")).to_have_attribute("data-theme", "system")
