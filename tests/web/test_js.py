"""The page without a browser: its pure modules in Node, its types, its vendored files and its rules."""

import gzip
import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
WEB = HERE.parents[1] / "web"
SOURCES = sorted((WEB / "js").rglob("*.js"))
MAX_LINES = 300
MAX_RAW_BYTES = 242_000
MAX_GZIP_BYTES = 81_500


def run(*command: str, cwd: Path = HERE) -> None:
    """Runs a command and shows what it said when it fails."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-6000:]}\n{done.stderr[-2000:]}"


def code(path: Path) -> str:
    """A file without its comments."""
    return re.sub(r"/\*.*?\*/|(?<!:)//[^\n]*", "", path.read_text("utf-8"), flags=re.DOTALL)


def users_of(pattern: str) -> set[str]:
    """Files of the page whose code matches."""
    return {path.relative_to(WEB).as_posix() for path in SOURCES if re.search(pattern, code(path))}


@pytest.fixture(scope="session")
def tools() -> Path:
    """The development tools at their locked versions; installed where they are missing or out of date."""
    assert shutil.which("npm"), "the type check of the page needs node and npm"
    modules = HERE / "node_modules"
    stamp = modules / ".package-lock.json"
    wanted = json.loads((HERE / "package-lock.json").read_text())["packages"]
    present = json.loads(stamp.read_text())["packages"] if stamp.exists() else {}
    named = json.loads((HERE / "package.json").read_text())["devDependencies"]
    if any(
        present.get(f"node_modules/{name}", {}).get("version") != wanted[f"node_modules/{name}"]["version"]
        for name in named
    ):
        run("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts")
    return modules


def test_pure_modules_pass_their_tests_in_node() -> None:
    run("node", "--test", *(path.name for path in sorted(HERE.glob("*.test.js"))))


@pytest.mark.slow
def test_types_of_the_page_are_sound(tools: Path) -> None:
    run(str(tools / ".bin" / "tsc"), "-p", str(WEB))


@pytest.mark.slow
def test_vendored_files_come_from_the_locked_packages(tools: Path, tmp_path: Path) -> None:
    run("node", str(WEB / "vendor" / "vendor.mjs"), str(tmp_path))
    assert (tmp_path / "SHA256SUMS").read_text() == (WEB / "vendor" / "SHA256SUMS").read_text()
    notices = (tmp_path / "THIRD-PARTY-NOTICES").read_text()
    assert notices == (WEB.parent / "THIRD-PARTY-NOTICES").read_text()
    assert notices.count("Permission is hereby granted") == 4, "expected the MIT licences of four packages"
    assert "Apache License" in notices


def test_vendored_files_are_the_ones_with_these_sums() -> None:
    lines = (WEB / "vendor" / "SHA256SUMS").read_text().splitlines()
    sums = dict(reversed(line.split("  ")) for line in lines)
    assert {"ui.js", "uplot.js", "uplot.css", "uplot.d.ts"} == sums.keys()
    for name, digest in sums.items():
        assert hashlib.sha256((WEB / "vendor" / name).read_bytes()).hexdigest() == digest, name


def test_versions_in_the_vendor_note_are_the_locked_ones() -> None:
    note = (WEB / "vendor" / "README.md").read_text()
    for name in ("preact", "@preact/signals", "htm", "uplot"):
        locked = json.loads((HERE / "package-lock.json").read_text())["packages"][f"node_modules/{name}"]["version"]
        assert re.search(rf"`{re.escape(name)}` \| {re.escape(locked)} ", note), f"{name} {locked}"


def test_one_file_talks_to_the_server() -> None:
    assert users_of(r"\bfetch\(") == {"js/wire.js"}
    assert users_of(r"\bWebSocket\b") == {"js/wire.js"}


def test_one_file_remembers_and_one_knows_the_chart_library() -> None:
    assert users_of(r"\blocalStorage\b") == {"js/settings.js"}
    assert users_of(r"vendor/uplot\.js") == {"js/chart.js"}


def test_text_from_outside_is_never_markup() -> None:
    forbidden = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|dangerouslySetInnerHTML|\beval\(|new Function"
    assert users_of(forbidden) == set()
    assert users_of(r"style=\"") == set()


def test_views_leave_the_server_to_the_session() -> None:
    assert [path.name for path in (WEB / "js" / "views").glob("*.js") if "wire.js" in code(path)] == []


def test_pure_modules_know_no_document() -> None:
    for name in ("series", "format", "router", "value", "outcome", "picture", "watch"):
        assert not re.search(r"\b(document|window|location)\.", code(WEB / "js" / f"{name}.js")), name


def test_every_file_is_small_checked_and_says_what_it_is() -> None:
    for path in SOURCES:
        text = path.read_text("utf-8")
        assert text.startswith("// @ts-check\n/**"), path
        assert text.count("\n") <= MAX_LINES, path


def test_every_import_is_a_file_of_the_page() -> None:
    for path in SOURCES:
        for target in re.findall(r"from '([^']+)'", code(path)):
            assert target.startswith("."), f"{path}: {target}"
            assert (path.parent / target).resolve().is_relative_to(WEB), f"{path}: {target}"
            assert (path.parent / target).is_file(), f"{path}: {target}"


def test_the_page_asks_for_its_own_files_only() -> None:
    text = (WEB / "index.html").read_text()
    assert re.findall(r"(?:href|src)=\"(?!__ROOT__/)[^\"]*\"", text) == []
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\son\w+=|style=", text)
    for name in re.findall(r"__ROOT__/static/([^\"]+)", text):
        assert (WEB / name).is_file(), name


def test_script_and_style_stay_within_their_budget() -> None:
    files = [*SOURCES, *(WEB / "vendor").glob("*.js"), *(WEB / "css").glob("*.css"), *(WEB / "vendor").glob("*.css")]
    whole = b"".join(path.read_bytes() for path in files)
    assert len(whole) <= MAX_RAW_BYTES
    assert len(gzip.compress(whole, 9)) <= MAX_GZIP_BYTES
