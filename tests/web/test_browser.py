"""The page in a real Chromium, served by the real server, fed by the real bridge."""

import asyncio
import gzip
import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, Page, expect
from recis_server.store import open_store

import recis.monitor
from recis.bridge import opening, sender
from recis.wire.messages import Hello
from tests.e2e.processes import RunningCommand, get_json, until
from tests.faults.proxy import Proxy
from tests.web.training import NOT_TODAY, Console, Training, report_dropped, train_twice

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

PAGES = [
    "/",
    "/run/live",
    "/run/live/tables",
    "/run/live/events",
    "/run/live/traces",
    "/run/live/logs",
    "/run/live/info",
    "/compare?runs=live",
    "/run/nobody",
]


def chart(page: Page, name: str) -> Locator:
    """A chart by the name of its series."""
    return page.get_by_role("region", name=name, exact=True)


def opened(page: Page, address: str) -> None:
    """Opens an address and waits until its content is there."""
    page.goto(address)
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    expect(page.get_by_label("Loading")).to_have_count(0)


def apply(page: Page, text: str) -> None:
    page.get_by_role("spinbutton", name="filter_interval").fill(text)
    page.get_by_role("button", name="Apply").click()


def says(page: Page, pattern: str) -> None:
    """The outcome of a control, within ten seconds."""
    expect(page.get_by_role("status").filter(has_text=re.compile(pattern))).to_be_visible(timeout=10_000)


def test_an_empty_server_says_how_to_start(page: Page, console: Console, tmp_path: Path) -> None:
    with RunningCommand(tmp_path, "serve") as command:
        address = command.wait_for(r"Listening on (http://\S+)").rstrip("/")
        opened(page, address)
        expect(page.get_by_text("recis-monitor demo")).to_be_visible()
        expect(page.get_by_text(f"RECIS_MONITOR_URL={address}")).to_be_visible()


def test_a_run_shows_up_by_itself_and_its_numbers_move(
    page: Page, console: Console, server: str, live: Training, train: Callable[..., Training]
) -> None:
    opened(page, server)
    row = page.get_by_role("row").filter(has=page.get_by_role("link", name="deepfm", exact=True))
    expect(row).to_contain_text("running")
    before = row.inner_text()
    until(lambda: row.inner_text() != before, 10, "other numbers in the row")
    train("second", "newcomer")
    expect(page.get_by_role("link", name="newcomer")).to_be_visible(timeout=10_000)


def test_runs_are_found_by_name_and_state(page: Page, console: Console, server: str, live: Training) -> None:
    opened(page, server)
    page.keyboard.press("/")
    page.keyboard.type("films deep")
    expect(page.get_by_role("link", name="deepfm", exact=True)).to_be_visible()
    page.get_by_label("State").select_option("failed")
    expect(page.get_by_text("No matching runs")).to_be_visible()
    page.reload()
    expect(page.get_by_text("No matching runs")).to_be_visible()
    page.get_by_role("button", name="Show all runs").click()
    expect(page.get_by_role("link", name="deepfm", exact=True)).to_be_visible()


def test_a_long_list_is_whole_and_only_what_is_on_screen_is_made(page: Page, console: Console, tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as threads:  # this one has the event loop of the browser's driver
        threads.submit(asyncio.run, fill(tmp_path / "data", 3000)).result()
    with RunningCommand(tmp_path, "serve") as command:
        opened(page, command.wait_for(r"Listening on (http://\S+)"))
        expect(page.get_by_text("3 000 runs")).to_be_visible()
        expect(page.get_by_role("link", name="number 2999", exact=True)).to_be_visible()
        assert page.get_by_role("row").count() < 100
        page.keyboard.press("End")
        expect(page.get_by_role("link", name="number 0", exact=True)).to_be_visible()
        assert page.get_by_role("row").count() < 100
        page.get_by_label("Search runs").fill("1234 NUMBER")
        expect(page.get_by_role("link", name="number 1234", exact=True)).to_be_visible()
        expect(page.get_by_text("1 run", exact=True)).to_be_visible()
        page.get_by_label("Search runs").fill("")
        expect(page.get_by_role("link", name="number 2999", exact=True)).to_be_visible()


async def fill(folder: Path, num_runs: int) -> None:
    """A store with runs that have only greeted."""
    store = open_store(f"sqlite:///{folder / 'recis.db'}")
    await store.open()
    for number in range(num_runs):
        await store.register(Hello(run=f"r{number}", writer="w", attempt="a", name=f"number {number}"), number * 10**9)
    await store.close()


def test_charts_are_pushed_and_never_asked_for(page: Page, console: Console, server: str, live: Training) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    opened(page, server)
    page.get_by_role("link", name="deepfm", exact=True).click()
    for name in ("loss", "qps", "train/lr"):
        chart(page, name).scroll_into_view_if_needed()
        expect(chart(page, name).locator("canvas")).to_be_visible()
    quiet = len(asked)
    text = chart(page, "loss").inner_text()
    until(lambda: chart(page, "loss").inner_text() != text, 10, "another loss")
    picture = chart(page, "loss").locator("canvas").screenshot()
    until(lambda: chart(page, "loss").locator("canvas").screenshot() != picture, 10, "another picture")
    assert asked[quiet:] == []
    assert {url.split("/")[2] for url in asked} == {server.split("/")[2]}
    expect(chart(page, "loss").get_by_role("img")).to_have_attribute(
        "aria-label", re.compile(r"^loss: last .* at step")
    )


def test_values_that_are_not_finite_are_counted_on_the_card(
    page: Page, console: Console, server: str, live: Training
) -> None:
    opened(page, f"{server}/run/live")
    expect(chart(page, "loss").get_by_text("1 non-finite")).to_be_visible(timeout=10_000)


def test_zoom_lives_in_the_address(page: Page, console: Console, server: str, live: Training) -> None:
    opened(page, f"{server}/run/live?smooth=0.6")
    box = chart(page, "loss").locator("canvas").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 100, box["y"] + 80)
    page.mouse.down()
    page.mouse.move(box["x"] + 200, box["y"] + 80, steps=4)
    page.mouse.up()
    expect(page).to_have_url(re.compile(r"\?from=\d+&to=\d+&smooth=0\.6$"))
    zoomed = page.url
    page.reload()
    page.get_by_role("button", name="Back to live").click()
    expect(page).to_have_url(f"{server}/run/live?smooth=0.6")
    page.go_back()
    expect(page).to_have_url(zoomed)
    expect(page.get_by_role("button", name="Back to live")).to_be_visible()


def test_charts_are_found_by_a_pattern(page: Page, console: Console, server: str, live: Training) -> None:
    opened(page, f"{server}/run/live")
    page.get_by_label("Search charts").fill("^q|/lr$")
    expect(page.locator(".sections").get_by_role("region")).to_have_count(2)
    page.get_by_label("Search charts").fill("*(")
    expect(page.get_by_text("No matching charts")).to_be_visible()


def test_the_keyboard_reaches_everything(page: Page, console: Console, server: str, live: Training) -> None:
    opened(page, f"{server}/run/live")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    expect(chart(page, "loss").get_by_role("img")).to_have_attribute("aria-label", re.compile("last"))
    page.keyboard.press("j")
    expect(chart(page, "loss").get_by_role("img")).to_be_focused()
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("status").filter(has_text=re.compile(r"^step [\d\s]+: 0\.\d+"))).to_have_count(1)
    page.keyboard.press("+")
    expect(page.get_by_role("button", name="Back to live")).to_be_visible()
    page.keyboard.press("0")
    page.keyboard.press("Space")
    expect(page.get_by_role("button", name="Paused")).to_be_visible()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_an_interval_is_applied_at_a_step_and_can_be_taken_back(
    page: Page, console: Console, server: str, live: Training
) -> None:
    opened(page, f"{server}/run/live/tables")
    field = page.get_by_role("spinbutton", name="filter_interval")
    expect(field).to_have_value("100")
    field.fill("50")
    expect(page.get_by_text(re.compile(r"then every 50 steps"))).to_be_visible()
    prediction = page.get_by_role("region", name="Prediction")
    expect(prediction.or_(page.get_by_text("There have been no filter passes yet."))).to_be_visible()
    field.fill("200")
    expect(prediction).to_contain_text(re.compile(r"Evicted by it\s*80 ± 0"), timeout=20_000)
    field.fill("50")
    page.get_by_role("button", name="Apply").click()
    says(page, r"applied at step \d+")
    assert live.interval == 50
    page.get_by_role("button", name="Revert to 100").click()
    until(lambda: live.interval == 100, 10, "the old interval")
    expect(field).to_have_value("100")


def test_none_is_a_value_where_the_control_allows_it(page: Page, console: Console, server: str, live: Training) -> None:
    opened(page, f"{server}/run/live/tables")
    page.get_by_role("checkbox", name="none").check()
    page.get_by_role("button", name="Apply").click()
    says(page, r"none: applied at step \d+")
    assert live.interval is None
    page.get_by_role("checkbox", name="none").uncheck()
    apply(page, "100")
    until(lambda: live.interval == 100, 10, "the filter to be on again")


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "x", ""])
def test_a_bad_interval_is_answered_on_the_spot_and_not_sent(
    page: Page, console: Console, server: str, live: Training, text: str
) -> None:
    opened(page, f"{server}/run/live/tables")
    before = get_json(f"{server}/api/v1/runs/live/commands")
    apply(page, text)
    says(page, "refused: filter_interval must be an integer of at least 1, or none")
    assert get_json(f"{server}/api/v1/runs/live/commands") == before


def test_what_the_training_refuses_is_shown_with_its_reason(
    page: Page, console: Console, server: str, live: Training
) -> None:
    opened(page, f"{server}/run/live/tables")
    apply(page, str(NOT_TODAY))
    says(page, "refused: .*13 is not taken today")
    assert live.interval == 100


def test_passes_arrive_by_themselves(page: Page, console: Console, server: str, live: Training) -> None:
    opened(page, f"{server}/run/live/tables")
    passes = page.get_by_role("region", name="Recent filter passes").get_by_role("row")
    expect(passes.nth(1)).to_contain_text("user", timeout=10_000)
    newest = passes.nth(1).inner_text()
    until(lambda: passes.nth(1).inner_text().split("\t")[0] != newest.split("\t")[0], 10, "another pass on top")
    expect(chart(page, "table/user/rows").locator("canvas")).to_be_visible()


def test_a_trace_appears_and_downloads_byte_for_byte(
    page: Page, console: Console, server: str, live: Training, tmp_path: Path
) -> None:
    opened(page, f"{server}/run/live/traces")
    expect(page.get_by_text("No traces yet")).to_be_visible()
    file = tmp_path / "local-rank0-timeline-50.json.gz"
    file.write_bytes(gzip.compress(json.dumps({"traceEvents": []}).encode()))
    live.run.upload_trace(file, 50)
    link = page.get_by_role("link", name="Download")
    expect(link).to_be_visible(timeout=15_000)
    with page.expect_download() as waiting:
        link.click()
    assert waiting.value.suggested_filename == file.name
    assert waiting.value.path().read_bytes() == file.read_bytes()
    row = page.get_by_role("row").filter(has_text=file.name)
    expect(row).to_contain_text("no summary: expected complete events", timeout=15_000)


def test_a_summary_appears_by_itself(page: Page, console: Console, server: str, live: Training, tmp_path: Path) -> None:
    opened(page, f"{server}/run/live/traces")
    event = {"ph": "X", "cat": "cpu_op", "name": "aten::\x01mm", "pid": 1, "tid": 1, "ts": 1.0, "dur": 2000.0}
    file = tmp_path / "summarised.json"
    file.write_text(json.dumps({"traceEvents": [event]}).replace("\\u0001", "\x01"))
    live.run.upload_trace(file, 60)
    facts = page.get_by_role("row").filter(has_text=file.name).get_by_text("0 steps in 2.00 ms, 1 event, top operators")
    expect(facts).to_be_visible(timeout=15_000)
    facts.click()
    expect(page.get_by_role("cell", name="aten:: mm")).to_be_visible()


def test_a_run_that_was_started_again_shows_what_it_replaced_as_a_ghost(
    page: Page, console: Console, server: str, tmp_path: Path
) -> None:
    train_twice(server, tmp_path / "spool", "twice")
    opened(page, f"{server}/run/twice")
    plot = chart(page, "loss").get_by_role("img")
    expect(plot).to_have_attribute("aria-label", re.compile(r"at step 179.*, 100 superseded points$"))
    expect(chart(page, "loss").locator(".value")).to_have_text("0.5525")
    # The value is that of the newer attempt, the older one's is no second line under the crosshair.
    plot.focus()
    for _ in range(31):
        page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("status").filter(has_text=re.compile(r"^step 1\d\d: 0\.\d+$"))).to_have_count(1)
    with_ghost = plot.locator("canvas").screenshot()
    page.goto(f"{server}/compare?runs=twice")
    expect(chart(page, "loss").get_by_role("img")).to_have_attribute("aria-label", re.compile(r"at step 179"))
    expect(chart(page, "loss").get_by_role("img")).not_to_have_attribute("aria-label", re.compile("superseded"))
    assert chart(page, "loss").locator("canvas").screenshot() != with_ghost


def test_what_the_monitor_costs_is_in_the_header_and_its_charts_are_folded(
    page: Page, console: Console, server: str, live: Training, tmp_path: Path
) -> None:
    opened(page, f"{server}/run/live")
    cost = page.locator(".figure").filter(has_text="Monitor")
    expect(cost).to_have_text(re.compile(r"^Monitor(< )?[\d.]+ % of step time$"), timeout=20_000)
    expect(cost).to_have_attribute(
        "title", re.compile(r"^[\d.]+ [µm]s per step, p99 [\d.]+ [µm]s; \d+ values waiting to be sent; .+B/s$")
    )
    expect(chart(page, "loss")).to_be_visible()
    section = page.get_by_role("heading", name="monitor")
    expect(chart(page, "monitor/time_share")).to_have_count(0)
    section.click()
    expect(chart(page, "monitor/time_share")).to_be_visible()
    train_twice(server, tmp_path / "spool", "short")
    page.goto(f"{server}/run/short")
    expect(page.get_by_text("of step time")).to_have_count(0)


def test_dropped_points_are_a_warning_in_words(page: Page, console: Console, server: str, live: Training) -> None:
    report_dropped(server, "lossy", 1204)
    opened(page, f"{server}/run/lossy")
    expect(
        page.get_by_role("status").filter(has_text=re.compile(r"1\s204 points dropped.*spool.*full"))
    ).to_be_visible()
    page.goto(f"{server}/run/live")
    expect(chart(page, "loss")).to_be_visible()
    expect(page.get_by_text(re.compile("dropped"))).to_have_count(0)


def test_what_a_full_spool_has_dropped_is_said_on_the_page(
    page: Page, console: Console, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the bound of a real spool, over a server that was away, to the words that a user reads."""
    monkeypatch.setattr(opening, "SPOOL_BYTES", 4 << 20)
    monkeypatch.setattr(sender, "BACKOFF_S", (0.05, 0.2))
    with Proxy(int(server.rpartition(":")[2])) as proxy:
        proxy.refusing = True
        with recis.monitor.init(proxy.address, run_id="full", spool_dir=str(tmp_path / "spool")) as run:
            for step in range(150_000):
                run.log({f"metric/{number}": float(step) for number in range(5)}, step)
            assert run.dropped > 0
            proxy.refusing = False
            assert run.finish(timeout_s=60)
            dropped = run.dropped  # the end of the run needs room too
    received = get_json(f"{server}/api/v1/runs/full")["received"]
    assert received["dropped"] == dropped
    assert received["missing"] == 0
    opened(page, f"{server}/run/full")
    said = page.get_by_role("status").filter(has_text=re.compile(r"points dropped.*spool.*full"))
    expect(said).to_be_visible()
    assert re.sub(r"\D", "", said.inner_text()) == str(dropped)


def test_an_unknown_run_has_a_page_with_a_way_back(page: Page, console: Console, server: str) -> None:
    console.allow(r"404 \(Not Found\)")
    opened(page, f"{server}/run/nobody")
    expect(page.get_by_role("heading", name="Run not found")).to_be_visible()
    page.get_by_role("link", name="Back to all runs").click()
    expect(page).to_have_url(f"{server}/")


def test_a_run_opened_before_its_training_is_shown_when_it_starts(
    page: Page, console: Console, server: str, train: Callable[..., Training]
) -> None:
    console.allow(r"404 \(Not Found\)")
    opened(page, f"{server}/run/early")
    expect(page.get_by_role("heading", name="Run not found")).to_be_visible()
    train("early", "early bird")
    expect(page.get_by_role("heading", name="early bird")).to_be_visible(timeout=10_000)
    expect(chart(page, "loss")).to_be_visible()


def test_an_axis_has_room_for_its_labels(
    page: Page, console: Console, server: str, train: Callable[..., Training]
) -> None:
    training = train("wide", "wide labels")
    for step in range(10):
        training.run.log({"bytes": 228_355.0 + step / 2}, 10_000 + step)
    opened(page, f"{server}/run/wide")

    def width(name: str) -> float:
        axis = chart(page, name).locator(".u-axis").nth(1)
        expect(axis).to_be_visible(timeout=10_000)
        return float(axis.evaluate("axis => axis.getBoundingClientRect().width"))

    # "228.355k" in the page's 11 pixels, where "0.55" is.
    expect(chart(page, "bytes").get_by_role("img")).to_have_attribute("aria-label", re.compile("at step 10009"))
    needed = page.evaluate(
        "() => { const pen = document.createElement('canvas').getContext('2d');"
        " pen.font = '11px system-ui, sans-serif'; return pen.measureText('228.355k').width }"
    )
    assert width("bytes") >= needed
    assert width("loss") == 46


def test_hostile_names_are_text_and_keep_their_place(
    page: Page, console: Console, server: str, train: Callable[..., Training]
) -> None:
    name = "<img src=x onerror=alert(1)>\u202e🔥 ../../etc/passwd " + "x" * 3000
    training = train("hostile", name)
    training.run.log({"<script>alert(2)</script>/../" + "y" * 300: 1.0}, 1)
    page.set_viewport_size({"width": 800, "height": 700})
    for path in ("/", "/run/hostile", "/run/hostile/tables"):
        opened(page, server + path)
        expect(page.get_by_text("<img src=x onerror=alert(1)>").first).to_be_visible(timeout=10_000)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.locator("img[src=x]").count() == 0


def test_the_page_outlives_its_server(page: Page, console: Console, tmp_path: Path) -> None:
    console.allow("ERR_CONNECTION_REFUSED|Failed to load resource|WebSocket connection")
    with RunningCommand(tmp_path, "serve") as first:
        address = first.wait_for(r"Listening on (http://\S+)").rstrip("/")
        training = Training(address, tmp_path, "survivor", "survivor")
        training.start()
        try:
            until(lambda: get_json(f"{address}/api/v1/runs")["runs"], 10, "the run")
            opened(page, f"{address}/run/survivor")
            expect(chart(page, "loss").locator("canvas")).to_be_visible()
            first.process.terminate()
            first.process.wait(30)
            expect(page.get_by_text("The server is not responding")).to_be_visible(timeout=15_000)
            expect(page.get_by_text("last running")).to_be_visible()
            expect(chart(page, "loss").locator("canvas")).to_be_visible()
            page.get_by_role("link", name="Runs").first.click()  # whose module this page has not loaded
            expect(page.get_by_role("heading", name="The server is not responding")).to_be_visible()
            with RunningCommand(tmp_path, "serve", "--port", address.rsplit(":", 1)[1]):
                page.get_by_role("link", name="survivor").click(timeout=30_000)
                expect(page.get_by_text("Live", exact=True)).to_be_visible(timeout=30_000)
                text = chart(page, "loss").inner_text()
                until(lambda: chart(page, "loss").inner_text() != text, 20, "another loss after the restart")
        finally:
            training.stop()


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_and_nothing_scrolls_sideways(
    page: Page, console: Console, server: str, live: Training, scheme: str, width: int
) -> None:
    console.allow(r"404 \(Not Found\)")
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.set_viewport_size({"width": width, "height": 844})
    for path in PAGES:
        opened(page, server + path)
        found = Axe().run(page)
        assert found.violations_count == 0, f"{path}\n{found.generate_report()}"
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
