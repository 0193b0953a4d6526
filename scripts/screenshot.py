"""Take the README's screenshots: run the demo, open its page in headless Chromium, and save the pictures.

Usage: `make screenshot`. The pictures go to docs/images.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

IMAGES = Path(__file__).parents[1] / "docs" / "images"
STEPS_BEFORE_THE_PICTURE = 420


def main() -> None:
    """Take the pictures of a run in its second pass over the data."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as data:
        options = ["--no-browser", "--port", "0", "--data", data, "--rate", "10"]
        command = [str(Path(sys.executable).parent / "recis-monitor"), "demo", *options]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as demo:
            assert demo.stdout is not None
            address = ""
            for line in demo.stdout:
                if found := re.search(r"Watch the training at (\S+)", line):
                    address = found.group(1)
                if f"<gstep={STEPS_BEFORE_THE_PICTURE}>" in line:
                    break
            take_pictures(address)
            demo.terminate()
            demo.communicate(timeout=60)


def take_pictures(address: str) -> None:
    """Save the charts, and the hash tables, of the one run."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 860}, device_scale_factor=1.5, color_scheme="dark")
        page.goto(address)
        page.get_by_role("link", name="movielens-deepfm").first.click()
        page.get_by_role("region", name="loss", exact=True).wait_for()
        save(page, "run.png")
        page.get_by_role("link", name="Hash tables").click()
        page.get_by_role("spinbutton", name="filter_interval").wait_for()
        save(page, "tables.png")
        browser.close()


def save(page: Page, name: str) -> None:
    """Save the window once its first data is drawn."""
    page.wait_for_timeout(3000)
    page.screenshot(path=IMAGES / name)
    sys.stdout.write(f"{IMAGES / name}\n")


if __name__ == "__main__":
    main()
