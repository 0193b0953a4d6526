"""Documents under test: they exist, they name what the code has, and the commands they show can be run."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import recis
from tests.rules.sources import ROOT

DOCS = ROOT / "docs"
PUBLIC = (
    "recis.hooks",
    "recis.framework",
    "recis.framework.metrics",
    "recis.metrics",
    "recis.nn",
    "recis.optim",
    "recis.ragged",
    "recis.monitor",
    "recis_monitor",
)


def _headings() -> str:
    texts = [path.read_text(encoding="utf-8") for path in DOCS.glob("*.md")]
    return "\n".join(line for text in texts for line in text.splitlines() if line.startswith("#"))


def _anchors(path: Path) -> set[str]:
    """Return what links to headings of a document end with, as code hosts and Sphinx make it."""
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _make_targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


@pytest.mark.parametrize("module", PUBLIC)
def test_every_public_name_has_a_heading(module: str) -> None:
    headings = _headings().replace("`", " ")
    names = importlib.import_module(module).__all__
    assert [name for name in names if not re.search(rf"\b{name}\b", headings)] == []


def test_every_document_has_a_title_and_a_place_in_the_index() -> None:
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    for path in DOCS.glob("*.md"):
        assert path.read_text(encoding="utf-8").startswith("# ")
        assert path.name == "index.md" or f"]({path.name})" in index
        assert path.name == "index.md" or re.search(rf"^{path.stem}$", index, re.MULTILINE), "expected in a toctree"


def test_decisions_have_numbers_of_their_own() -> None:
    names = sorted(path.name for path in (DOCS / "decisions").glob("*"))
    assert all(re.fullmatch(r"\d{4}-[a-z0-9-]+\.md", name) for name in names)
    assert len({name[:4] for name in names}) == len(names)


@pytest.mark.parametrize("document", [ROOT / "README.md", *sorted(DOCS.glob("*.md"))], ids=lambda path: path.name)
def test_commands_and_links_of_a_document_exist(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    assert set(re.findall(r"\bmake ([a-z]+)\b(?=[^a-z ]|$| ARGS)", text, re.MULTILINE)) <= _make_targets()
    links = [link.partition("#") for link in re.findall(r"\]\(([^)\s]+)", text) if "://" not in link]
    targets = [((document.parent / name if name else document), anchor) for name, _, anchor in links]
    assert [path for path, _ in targets if not path.exists()] == []
    assert [(path.name, anchor) for path, anchor in targets if anchor and anchor not in _anchors(path)] == []


def test_commands_of_recis_monitor_in_documents_exist() -> None:
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "README.md", *DOCS.glob("*.md"))]
    shown = {name for text in texts for name in re.findall(r"`recis-monitor ([a-z]+)", text)}
    command = [sys.executable, "-m", "recis.cli", "--help"]
    known = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "serve" in shown
    assert [name for name in shown if not re.search(rf"^ +{name} ", known, re.MULTILINE)] == []


def test_the_readme_names_the_two_commands() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "make demo" in readme
    assert "make test" in readme
    assert "make test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize(
    "document",
    [ROOT / "README.md", DOCS / "coming-from-recis.md", DOCS / "coming-from-wandb.md", DOCS / "monitor.md"],
    ids=lambda path: path.name,
)
def test_the_examples_run(document: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECIS_MONITOR_MODE", "offline")  # whatever server runs here is not the example's
    blocks = re.findall(r"```python\n(.*?)```", document.read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    for block in blocks:
        command = [sys.executable, "-W", "error", "-c", block]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_the_example_of_a_server_has_the_version_of_this_one() -> None:
    assert f'{{"version": "{recis.__version__}", ' in (DOCS / "http.md").read_text(encoding="utf-8")
