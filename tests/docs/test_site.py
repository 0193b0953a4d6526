"""The HTML documentation: it builds without warnings, all of its links resolve, and it needs no other origin."""

import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import recis.monitor
from tests.rules.sources import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

LOADING = {"img": "src", "script": "src", "iframe": "src", "source": "src", "link": "href"}
NOT_LOADED = {"canonical", "index", "next", "prev", "search", "author", "copyright"}


class Page(HTMLParser):
    """The addresses of a page: `links` to follow, resources `loaded` by the browser, and `ids` as link targets."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.loaded: set[str] = set()
        self.ids: set[str] = {""}
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.ids.add(found.get("id") or "")
        if tag == "a" and found.get("href"):
            self.links.add(found["href"] or "")
        address = found.get(LOADING.get(tag, ""))
        if address and not (tag == "link" and found.get("rel") in NOT_LOADED):
            self.loaded.add(address)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the built site."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet", "-d"]
    command += [str(folder / "doctrees"), str(ROOT / "docs"), str(folder / "html")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "html"


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    """All pages of the site."""
    return {path: Page(path) for path in sorted(site.rglob("*.html"))}


def test_every_document_is_a_page(site: Path) -> None:
    documents = {path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")}
    assert [name for name in documents if not (site / name).exists()] == []


def test_every_link_arrives(pages: dict[Path, Page]) -> None:
    broken = []
    for path, page in pages.items():
        for link in page.links | page.loaded:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or link == "#":
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.is_file() or (target in pages and unquote(parts.fragment) not in pages[target].ids):
                broken.append(f"{path.name}: {link}")
    assert broken == []


def test_no_page_loads_anything_from_another_origin(site: Path, pages: dict[Path, Page]) -> None:
    assert sum(len(page.loaded) for page in pages.values()) > len(pages)
    foreign = {address for page in pages.values() for address in page.loaded if urlsplit(address).netloc}
    assert foreign == set()
    styles = "".join(path.read_text(encoding="utf-8") for path in site.rglob("*.css"))
    assert "@import" not in styles
    assert not [part for part in styles.split("url(")[1:] if part.lstrip("\"'").startswith(("http", "//"))]


def test_the_api_pages_have_what_the_docstrings_say(site: Path) -> None:
    page = (site / "api" / "monitor.html").read_text(encoding="utf-8")
    assert [name for name in recis.monitor.__all__ if f'id="recis.monitor.{name}"' not in page] == []
    assert (recis.monitor.init.__doc__ or "").split(".")[0] in page
