"""The page in Chromium: bytes, the first chart, live charts, and scrolling through charts and through the list of runs.

    python -m benchmarks.page             # all scenes, benchmarks/results/page.json
    python -m benchmarks.page --quick     # tiny sizes, as a smoke test

Chromium draws in software here, so only ratios count: frames are compared with those of a blank page in the same
browser, and those of a scrolled list with a table of plain text that is as long. A visible card is empty while its plot
has no canvas. Needs Playwright and a Chromium.
"""

import argparse
import asyncio
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, Response, sync_playwright

import recis.monitor
from benchmarks.measuring import ServerProcess, machine, show, write_results
from benchmarks.runs_list import fill
from recis.monitor import Run

WINDOW = {"width": 1400, "height": 900}
LIVE_HZ = 10.0
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
READY = "() => [...document.querySelectorAll('.plot canvas')].length > 0"
# Scrolls by `px` in each frame; counts frames, and those with more than a tenth of the visible cards empty.
SCROLL = """async ([px, seconds]) => {
  const isEmpty = (plot) => !plot.querySelector('canvas');
  const isVisible = (plot) => {
    const { top, bottom } = plot.getBoundingClientRect();
    return bottom > 0 && top < innerHeight;
  };
  const tasks = [];
  const observer = new PerformanceObserver((list) => tasks.push(...list.getEntries().map((one) => one.duration)));
  observer.observe({ entryTypes: ['longtask'] });
  let frames = 0, poor = 0, direction = 1;
  const end = performance.now() + seconds * 1000;
  while (performance.now() < end) {
    await new Promise(requestAnimationFrame);
    frames++;
    const visible = [...document.querySelectorAll('.plot')].filter(isVisible);
    if (visible.filter(isEmpty).length > visible.length / 10) poor++;
    if (px && scrollY + innerHeight >= document.documentElement.scrollHeight - 1) direction = -1;
    if (px && scrollY <= 0) direction = 1;
    scrollBy(0, px * direction);
  }
  observer.disconnect();
  return { frames_per_s: frames / seconds, frames, poor, longest_task_ms: Math.max(0, ...tasks) };
}"""


class Reporting:
    """A training that reports `count` metrics `LIVE_HZ` times a second, in a thread, until it is left."""

    def __init__(self, url: str, folder: Path, count: int) -> None:
        self._run = recis.monitor.init(url, run_id="live", spool_dir=str(folder / "live"), collect="none")
        self._names = [f"part{number // 20}/metric{number}" for number in range(count)]
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._report, name="reporting")

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._thread.join()
        self._run.finish()

    def _report(self) -> None:
        step = 0
        while not self._ends.wait(1 / LIVE_HZ):
            step += 1
            self._run.log({name: float(step % 17 + place) for place, name in enumerate(self._names)}, step)


def report_all(run: Run, count: int, steps: int) -> None:
    """Report some steps of `count` metrics."""
    names = [f"part{number // 20}/metric{number}" for number in range(count)]
    for step in range(steps):
        run.log({name: float((step * (place + 1)) % 97) for place, name in enumerate(names)}, step)
    run.finish()


def new_page(browser: Browser) -> Page:
    """Return a page of a new profile."""
    return browser.new_context(viewport=WINDOW).new_page()  # type: ignore[arg-type]


def received(page: Page, url: str, is_ready: Callable[[], object]) -> dict[str, float]:
    """Open a page; return the bytes that came until it was ready, as sent, and how long that took."""
    answers: list[Response] = []

    def note(answer: Response) -> None:  # Playwright marks the function, which a built-in one does not allow
        answers.append(answer)

    page.on("response", note)
    began = time.perf_counter()
    page.goto(url)
    is_ready()
    took_ms = (time.perf_counter() - began) * 1e3
    sizes = {"static_bytes": 0, "data_bytes": 0}
    for answer in answers:
        kind = "static_bytes" if "/static/" in answer.url else "data_bytes"
        sizes[kind] += answer.request.sizes()["responseBodySize"]
    return {"ready_ms": took_ms, **sizes}


def scroll(page: Page, px: int, seconds: float) -> dict[str, float]:
    """Scroll and return what `SCROLL` counted."""
    found: dict[str, float] = page.evaluate(SCROLL, [px, seconds])
    return found


def plain_list(browser: Browser, rows: int, px: int, seconds: float) -> dict[str, float]:
    """Scroll through a table of plain text, the floor of a list as long."""
    page = new_page(browser)
    cells = "".join(
        f"<td>{text}</td>" for text in ("running", "deepfm", "films", "1.12 k", "10.02", "0.5387", "1", "0 s")
    )
    page.set_content(f"<table style='width:100%'>{f'<tr style=height:40px>{cells}</tr>' * rows}</table>")
    return scroll(page, px, seconds)


def measure_charts(browser: Browser, folder: Path, count: int, steps: int, seconds: float) -> list[dict[str, Any]]:
    """Measure a run with `count` charts, and one that reports a fifth as many while it is watched."""
    scenes: list[dict[str, Any]] = []
    with ServerProcess(folder) as server:
        run = recis.monitor.init(server.url, run_id="many", spool_dir=str(folder / "many"), collect="none")
        report_all(run, count, steps)
        page = new_page(browser)
        ready = partial(page.wait_for_function, READY)
        scenes.append({"scene": f"first chart of {count}", **received(page, f"{server.url}/run/many", ready)})
        blank = new_page(browser)
        scenes.append({"scene": "blank page", **scroll(blank, 0, seconds)})
        scenes.append({"scene": f"{count} charts, 40 px a frame", **scroll(page, 40, seconds)})
        scenes.append({"scene": f"{count} charts, 120 px a frame", **scroll(page, 120, seconds)})
        page.close()
        with Reporting(server.url, folder, count // 5):
            live = new_page(browser)
            live.goto(f"{server.url}/run/live")
            live.wait_for_function(READY)
            scenes.append({"scene": f"{count // 5} live charts", **scroll(live, 0, seconds)})
    return scenes


def measure_list(browser: Browser, folder: Path, count: int, seconds: float) -> list[dict[str, Any]]:
    """Measure the list of `count` runs that are in the folder's store."""
    with ServerProcess(folder) as server:
        page = new_page(browser)
        ready = page.get_by_role("link", name="deepfm").first.wait_for
        scenes: list[dict[str, Any]] = [{"scene": f"list of {count:,} runs", **received(page, server.url, ready)}]
        for px in (20, 200):
            scenes.append({"scene": f"plain table, {px} px a frame", **plain_list(browser, count, px, seconds)})
            scenes.append({"scene": f"list of {count:,} runs, {px} px a frame", **scroll(page, px, seconds)})
    return scenes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, as a smoke test")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("results"))
    options = parser.parse_args()
    charts, steps, runs, seconds = (20, 20, 100, 0.5) if options.quick else (500, 500, 10_000, 6.0)
    about = machine()
    system = next((path for name in ("chromium", "chromium-browser") if (path := shutil.which(name))), None)
    with tempfile.TemporaryDirectory() as name:
        charts_folder, list_folder = Path(name) / "charts", Path(name) / "list"
        for folder in (charts_folder, list_folder):
            (folder / "data").mkdir(parents=True)
        # Before Playwright, whose event loop runs in this thread.
        asyncio.run(fill(f"sqlite:///{list_folder / 'data' / 'recis.db'}", runs))
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=system, args=ARGUMENTS)
            scenes = measure_charts(browser, charts_folder, charts, steps, seconds)
            scenes += measure_list(browser, list_folder, runs, seconds)
            browser.close()
    loads = [one for one in scenes if "ready_ms" in one]
    show(
        "Until it is ready",
        ("scene", "ms", "static, bytes", "data, bytes"),
        [(one["scene"], *(f"{one[key]:,.0f}" for key in ("ready_ms", "static_bytes", "data_bytes"))) for one in loads],
    )
    keys = ("frames_per_s", "frames", "poor", "longest_task_ms")
    show(
        "Frames",
        ("scene", "frames/s", "frames", "of these with empty cards", "longest task ms"),
        [(one["scene"], *(f"{one[key]:,.0f}" for key in keys)) for one in scenes if "frames" in one],
    )
    write_results(options.output, "page", {"machine": about, "scenes": scenes})


if __name__ == "__main__":
    main()
