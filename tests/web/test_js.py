"""The page without a browser: its modules in Node, its types and style, its vendored files and its rules."""

import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from recis_server.routes.pages import load_pages

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
WEB = ROOT / "web"
JS = WEB / "js"
SOURCES = sorted(JS.rglob("*.js"))
MAX_BYTES_OF_FIRST_SCREEN = 90_000
MAX_BYTES = 150_000
STATIC_IMPORT = r"from '([^']+)'"
IMPORT = r"(?:from |import\()'([^']+)'"

# Which folder of web/js may import which, as docs/architecture.md has it. Files beside the folders may import all.
MAY_IMPORT = {
    "format": set(),
    "controls": {"format"},
    "routing": {"data"},
    "data": {"format", "routing"},
    "charts": {"data", "format"},
    "components": {"charts", "controls", "data", "format", "routing"},
    "pages": {"charts", "components", "controls", "data", "format", "routing"},
}
ALL_ROOMS = {*MAY_IMPORT, "app.js", "shortcuts.js"}

# What only a browser has. A module that uses none of it runs in Node and has a test file at the same path.
BROWSER_ONLY = re.compile(
    r"\b(document|window|location|history|addEventListener|matchMedia|localStorage|requestAnimationFrame)\b"
    r"|vendor/uplot\.js|\bhtml`"
)


def run(*command: str, cwd: Path = HERE) -> None:
    """Runs a command and shows what it said when it fails."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-6000:]}\n{done.stderr[-2000:]}"


def code(path: Path) -> str:
    """A file without its comments."""
    return code_of(path.read_text("utf-8"))


def code_of(text: str) -> str:
    """A text without comments."""
    return re.sub(r"/\*.*?\*/|(?<!:)//[^\n]*", "", text, flags=re.DOTALL)


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


def browser_modules() -> set[Path]:
    """Modules that need a browser: those that use what only it has, or import a module that does."""
    found = {path for path in SOURCES if BROWSER_ONLY.search(code(path))}
    while True:
        importers = {path for path in SOURCES if imports(path) & found}
        if importers <= found:
            return found
        found |= importers


def imports(path: Path) -> set[Path]:
    """The modules that a module imports; those it imports on demand too."""
    return {(path.parent / target).resolve() for target in re.findall(IMPORT, code(path))}


def loaded_with(name: str) -> set[Path]:
    """The modules that are loaded with one: those that it imports, directly or not, but not on demand."""
    found, new = set[Path](), {JS / name}
    while new:
        found |= new
        targets = {(path.parent / target).resolve() for path in new for target in re.findall(STATIC_IMPORT, code(path))}
        new = targets - found
    return found


def test_modules_pass_their_tests_in_node() -> None:
    run("node", "--test")


def test_every_module_that_runs_without_a_browser_has_unit_tests() -> None:
    testable = {path.relative_to(JS).with_suffix(".test.js") for path in set(SOURCES) - browser_modules()}
    assert len(testable) >= 30
    present = {path.relative_to(HERE) for path in HERE.rglob("*.test.js") if "node_modules" not in path.parts}
    assert present == testable


@pytest.mark.slow
def test_formatter_and_linter_find_nothing(tools: Path) -> None:
    run(str(tools / ".bin" / "biome"), "check", cwd=ROOT)


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
    sums = {name: digest for digest, name in (line.split("  ") for line in lines)}
    assert {"ui.js", "uplot.js", "uplot.css", "uplot.d.ts"} == sums.keys()
    for name, digest in sums.items():
        assert hashlib.sha256((WEB / "vendor" / name).read_bytes()).hexdigest() == digest, name


def test_versions_in_the_vendor_note_are_the_locked_ones() -> None:
    note = (WEB / "vendor" / "README.md").read_text()
    for name in ("preact", "@preact/signals", "htm", "uplot"):
        locked = json.loads((HERE / "package-lock.json").read_text())["packages"][f"node_modules/{name}"]["version"]
        assert re.search(rf"`{re.escape(name)}` \| {re.escape(locked)} ", note), f"{name} {locked}"


def test_one_module_each_talks_to_the_server() -> None:
    assert users_of(r"\bfetch\(") == {"js/data/api.js"}
    assert users_of(r"\bnew WebSocket\b") == {"js/data/connection.js"}


def test_one_module_stores_settings_and_one_creates_charts() -> None:
    assert users_of(r"\blocalStorage\b") == {"js/data/settings.js"}
    assert users_of(r"vendor/uplot\.js") == {"js/charts/chart.js"}


def test_no_line_is_wider_than_120_columns() -> None:
    texts = [*SOURCES, *HERE.rglob("*.test.js"), *(WEB / "css").glob("*.css"), *JS.rglob("*.d.ts"), WEB / "index.html"]
    own = [path for path in texts if "node_modules" not in path.parts]
    wide = [f"{path}:{i}" for path in own for i, line in enumerate(path.read_text().splitlines(), 1) if len(line) > 120]
    assert wide == []


def test_text_from_outside_is_never_markup() -> None:
    forbidden = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|dangerouslySetInnerHTML|\beval\(|new Function"
    assert users_of(forbidden) == set()
    assert users_of(r"style=\"") == set()


def test_rooms_import_only_what_their_table_allows() -> None:
    for path in SOURCES:
        room = path.relative_to(JS).parts[0]
        rooms = {module.relative_to(JS).parts[0] for module in imports(path) if module.is_relative_to(JS)}
        assert rooms - {room} <= MAY_IMPORT.get(room, ALL_ROOMS), path


def test_views_leave_requests_to_the_session() -> None:
    for room in ("components", "pages"):
        for path in (JS / room).rglob("*.js"):
            assert imports(path) & {JS / "data" / "api.js", JS / "data" / "connection.js"} == set(), path


def test_every_file_is_type_checked_and_describes_itself() -> None:
    for path in SOURCES:
        assert path.read_text("utf-8").startswith("// @ts-check\n/**"), path


def test_every_import_is_a_file_of_the_page() -> None:
    for path in SOURCES:
        for target in re.findall(IMPORT, code(path)):
            assert target.startswith("."), f"{path}: {target}"
            assert (path.parent / target).resolve().is_relative_to(WEB), f"{path}: {target}"
            assert (path.parent / target).is_file(), f"{path}: {target}"


def test_the_page_asks_for_its_own_files_only() -> None:
    text = (WEB / "index.html").read_text()
    assert re.findall(r"(?:href|src)=\"(?!__ROOT__/)[^\"]*\"", text) == []
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\son\w+=|style=", text)
    for name in re.findall(r"__ROOT__/static/([^\"]+)", text):
        assert (WEB / name).is_file(), name


def test_every_module_of_a_first_screen_is_preloaded() -> None:
    text = (WEB / "index.html").read_text()
    templates = re.findall(r"<template.*?</template>", text, re.DOTALL)
    at_once = loaded_with("main.js")
    charts = loaded_with("pages/run/run-page.js") - at_once
    runs = loaded_with("pages/runs/runs-page.js") - at_once
    assert len(templates) == 2
    rest = re.sub(r"<template.*?</template>", "", text, flags=re.DOTALL)
    for part, modules in ((rest, at_once - {JS / "main.js"}), (templates[0], runs), (templates[1], charts)):
        preloaded = re.findall(r"modulepreload\" href=\"__ROOT__/static/([^\"]+)", part)
        assert sorted(preloaded) == sorted(path.relative_to(WEB).as_posix() for path in modules)


def test_every_style_sheet_is_used() -> None:
    used = re.findall(r"stylesheet\" href=\"__ROOT__/static/([^\"]+)", (WEB / "index.html").read_text())
    assert sorted(used) == sorted(path.relative_to(WEB).as_posix() for path in WEB.rglob("*.css"))


def test_every_module_is_loaded_at_once_or_on_demand() -> None:
    on_demand = {target for path in SOURCES for target in imports(path)}
    assert set(SOURCES) - {JS / "main.js", JS / "preload.js"} <= on_demand


def test_script_and_style_stay_within_their_budget() -> None:
    at_once = {*loaded_with("main.js"), JS / "preload.js", WEB / "css" / "all.css", WEB / "icon.svg"}
    first_screens = [at_once | loaded_with(f"pages/{page}.js") for page in ("runs/runs-page", "run/run-page")]
    assert set((WEB / "vendor").glob("*.js")) <= first_screens[1]
    pages = load_pages("")
    names = {path: path.relative_to(WEB).as_posix() for path in {*first_screens[1], *SOURCES}}
    sizes = {path: len(pages.file(name).brotli()) for path, name in names.items()}
    for screen in first_screens:
        assert sum(sizes[path] for path in screen) <= MAX_BYTES_OF_FIRST_SCREEN
    assert sum(sizes.values()) <= MAX_BYTES


def test_what_is_sent_is_what_was_written_without_its_comments_and_indentation() -> None:
    pages = load_pages("")
    for path in SOURCES:
        sent = pages.file(path.relative_to(WEB).as_posix()).body.decode()
        written = path.read_text("utf-8")
        assert len(sent.splitlines()) == len(written.splitlines()), path
        assert not re.search(r"^[ \t]", sent, re.MULTILINE), path
        words = [re.sub(r"\s+", "", code_of(text)) for text in (sent, written)]
        assert words[0] == words[1], path
        assert "@ts-check" not in sent
