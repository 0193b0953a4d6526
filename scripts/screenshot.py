"""Take the pictures of the documentation: every page in both themes and three widths, and a control that is changed.

Usage: `make screenshot`. A short training and a second one, which goes on meanwhile with another filter interval, are
shown in headless Chromium. The pictures go to docs/images.
"""

import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, Route, expect, sync_playwright

import recis.monitor

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
COMMAND = Path(sys.executable).parent / "recis-monitor"
RATE = 10
STEPS_OF_FIRST_RUN = 500
STEPS_BEFORE_CHANGE = 200
STEPS_BEFORE_PICTURES = 420
WINDOWS = {"phone": (390, 844), "tablet": (820, 1100), "desktop": (1400, 900)}
THEMES = ("light", "dark")
SCALE = 1.5
"""Device pixels per pixel: text is read on dense displays."""
QUALITY = 80

MOVING_WINDOW = (1000, 640)
MOVING_QUALITY = 60
FRAME_S = 0.2
HOLD_S = 2.5
"""How long the last frame stays before the moving picture begins again."""


def main() -> None:
    """Train, and take all pictures."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as data:
        with demo(data, "--steps", str(STEPS_OF_FIRST_RUN)) as lines:
            address = wait_for(lines, r"Watch the training at (\S+)")
            wait_for(lines, r"The training ended")
            [first] = recis.monitor.connect(address).runs()
            recis.monitor.connect(address).run(first["id"]).update(name="deepfm-filter-50")
        with demo(data) as lines:
            address = wait_for(lines, r"Watch the training at (\S+)")
            wait_for(lines, rf"<gstep={STEPS_BEFORE_CHANGE}>")
            change_interval(address, first["id"], 20)
            wait_for(lines, rf"<gstep={STEPS_BEFORE_PICTURES}>")
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
                take_pictures(browser, address)
                take_moving_picture(browser, address)
                browser.close()


@contextmanager
def demo(data: str, *options: str) -> Iterator[Iterator[str]]:
    """Run the demo on a data folder; yield the lines that it prints."""
    command = [str(COMMAND), "demo", "--no-browser", "--port", "0", "--data", data, "--rate", str(RATE), *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        try:
            yield iter(process.stdout)
        finally:
            process.terminate()
            process.communicate(timeout=60)


def wait_for(lines: Iterator[str], pattern: str) -> str:
    """Read lines up to one that matches; return its first group, or all that matches."""
    for line in lines:
        if found := re.search(pattern, line):
            return found[1] if found.groups() else found[0]
    raise RuntimeError(f"the demo ended without a line that matches {pattern!r}")


def change_interval(address: str, other: str, interval: int) -> None:
    """Change the filter interval of the run that is not the other one, and name it after that."""
    client = recis.monitor.connect(address)
    [live] = [run["id"] for run in client.runs() if run["id"] != other]
    client.run(live).set(filter_interval=interval, reason="smaller tables", wait=True)
    client.run(live).update(name=f"deepfm-filter-{interval}", tags=["tables"])


def pages_of(address: str) -> dict[str, str]:
    """Return the addresses of all pages by the names of their pictures; that of the running run comes first."""
    runs = recis.monitor.connect(address).runs()
    live, *others = [run["id"] for run in sorted(runs, key=lambda run: run["state"] != "running")]
    tabs = {tab: f"/run/{live}/{tab}" for tab in ("tables", "events", "traces", "logs", "info")}
    return {"runs": "/", "charts": f"/run/{live}", **tabs, "compare": f"/compare?runs={','.join([live, *others])}"}


def take_pictures(browser: Browser, address: str) -> None:
    """Save every page in each theme and width."""
    for theme in THEMES:
        for window, (width, height) in WINDOWS.items():
            page = new_page(browser, (width, height), theme)
            for name, path in pages_of(address).items():
                page.goto(f"{address.rstrip('/')}{path}")
                wait_until_drawn(page)
                save(page.screenshot(), IMAGES / f"{name}-{theme}-{window}.webp")
            page.context.close()


def save(picture: bytes, path: Path) -> None:
    """Save a picture in the smaller of two encodings: flat areas with text take less space without any loss."""
    image = Image.open(BytesIO(picture)).convert("RGB")
    encoded = []
    for options in ({"quality": QUALITY}, {"lossless": True}):
        buffer = BytesIO()
        image.save(buffer, "webp", method=6, **options)
        encoded.append(buffer.getvalue())
    path.write_bytes(min(encoded, key=len))
    sys.stdout.write(f"{path} {path.stat().st_size}\n")


def take_moving_picture(browser: Browser, address: str) -> None:
    """Save what is seen while another filter interval is requested and takes effect."""
    page = new_page(browser, MOVING_WINDOW, "dark")
    page.goto(f"{address.rstrip('/')}{pages_of(address)['tables']}")
    wait_until_drawn(page)
    interval = page.get_by_role("spinbutton", name="filter_interval")
    form = page.locator("form").filter(has=interval)
    applied = form.get_by_role("status").filter(has_text="applied at step")
    frames = film(page, 1.0)
    interval.fill("")
    for digit in "100":
        interval.press(digit)
        frames += film(page, 0.4)
    frames += film(page, 1.5)
    form.get_by_role("button", name="Apply").click()
    began = time.monotonic()
    while not applied.is_visible() and time.monotonic() < began + 30:
        frames += film(page, FRAME_S)
    expect(applied).to_be_visible()
    frames += film(page, 3.0)
    durations = [int(FRAME_S * 1000)] * (len(frames) - 1) + [int(HOLD_S * 1000)]
    picture = IMAGES / "control.webp"
    first, *others = frames
    first.save(
        picture, save_all=True, append_images=others, duration=durations, loop=0, quality=MOVING_QUALITY, method=6
    )
    sys.stdout.write(f"{picture} {picture.stat().st_size}\n")


def film(page: Page, seconds: float) -> list[Image.Image]:
    """Take a picture every `FRAME_S`."""
    frames = []
    for _ in range(max(1, round(seconds / FRAME_S))):
        page.wait_for_timeout(FRAME_S * 1000)
        frames.append(Image.open(BytesIO(page.screenshot(scale="css"))).convert("RGB"))
    return frames


def new_page(browser: Browser, window: tuple[int, int], theme: str) -> Page:
    """Return a page of a new profile."""
    width, height = window
    context = browser.new_context(
        viewport={"width": width, "height": height},
        device_scale_factor=SCALE,
        color_scheme=theme,  # type: ignore[arg-type]
    )
    # The pictures show no paths of the machine on which they were taken.
    context.route("**/api/v1/runs/*/info*", hide_paths)
    return context.new_page()


def hide_paths(route: Route) -> None:
    """Answer with what a run says about itself, as if it had been started in a home folder."""
    answer = route.fetch()
    text = re.sub(r"/tmp/[^/\" ]+", "/data", answer.text().replace(str(ROOT), "/home/me/recis-monitor"))
    text = re.sub(r'"git":\s*\{[^}]*\}', '"git":{"commit":"8c2f5e0e9d1b","branch":"main","dirty":false}', text)
    route.fulfill(response=answer, body=text)


def wait_until_drawn(page: Page) -> None:
    """Wait until what the page loads is there, and all charts in the window have data."""
    page.wait_for_load_state("networkidle")
    page.locator("main h1, main h2").first.wait_for()
    page.wait_for_function(
        "() => [...document.querySelectorAll('.plot')].every((plot) => {"
        " const { top, bottom } = plot.getBoundingClientRect();"
        " return top > innerHeight || bottom < 0 || !plot.ariaLabel.endsWith('no data yet'); })"
    )
    page.wait_for_timeout(500)  # the frame in which the last chart is drawn


if __name__ == "__main__":
    main()
