"""The quick reference and the troubleshooting page name everything public, and their quotations exist in the code."""

import ast
import importlib
import re
from pathlib import Path

import pytest
from fastapi import APIRouter
from recis_server.commands import COMMANDS
from recis_server.settings import Settings

import recis.monitor
from recis.cli import main
from tests.rules.sources import ROOT, sources

DOCS = ROOT / "docs"
REFERENCE = (DOCS / "reference.md").read_text(encoding="utf-8")
GROUPS = {"import": ("tensorboard",), "token": ("create", "list", "revoke")}
PAGES = "recis_server.routes.pages"


def _section(heading: str) -> str:
    return re.split(r"^## ", REFERENCE.split(f"\n## {heading}\n")[1], flags=re.MULTILINE)[0]


def _code(text: str) -> set[str]:
    return set(re.findall(r"`([^`]+)`", text))


def _commands() -> list[tuple[str, ...]]:
    names = ("sync", "set", "controls", "effect", "forecast", "mcp", *COMMANDS)
    return [
        (name, *action) for name in names for action in ([(each,) for each in GROUPS[name]] if name in GROUPS else [()])
    ]


def _options(text: str) -> set[str]:
    """Return the long options in help texts."""
    heads = re.findall(r"^ {2}(-.*?)(?: {2}|$)", text, re.MULTILINE)
    return {option for head in heads for option in re.findall(r"--[a-z][a-z-]*", head)} - {"--help"}


def _routes() -> set[str]:
    """Return every route except those of the page, as `METHOD /path`."""
    found = set()
    for source in sources():
        if source.name.startswith("recis_server.") and source.name != PAGES and "APIRouter(" in source.text:
            router = importlib.import_module(source.name).router
            assert isinstance(router, APIRouter)
            for route in router.routes:
                methods = getattr(route, "methods", None) or {"WebSocket"}
                path = route.path.replace(":path}", "}")  # type: ignore[attr-defined]
                found |= {f"{method} {path}" for method in methods}
    return found


@pytest.mark.parametrize("command", _commands(), ids=" ".join)
def test_every_option_is_in_the_reference(command: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([*command, "--help"])
    options = _options(capsys.readouterr().out)
    assert options
    section = _section("Command line")
    assert {option for option in options if not re.search(rf"`{option}[ `]", section)} == set()
    assert any(name.startswith(f"recis-monitor {command[0]}") for name in _code(section))
    if command[1:]:
        assert any(" ".join(command) in name for name in _code(section))


def test_no_option_of_the_reference_is_unknown(capsys: pytest.CaptureFixture[str]) -> None:
    for command in _commands():
        with pytest.raises(SystemExit):
            main([*command, "--help"])
    known = _options(capsys.readouterr().out) | {"--version"}
    assert set(re.findall(r"--[a-z][a-z-]*", _section("Command line"))) <= known


def test_every_route_is_in_the_reference_and_no_other() -> None:
    named = set()
    for cell in re.findall(r"^\| (`.*?) \|", _section("HTTP"), re.MULTILINE):
        method = ""
        for code in re.findall(r"`([^`]+)`", cell):
            method, _, path = code.rpartition(" ") if " " in code else (method, "", code)
            named.add(f"{method} {path}")
    assert named == (_routes() | {"GET /openapi.json", "GET /docs"}) - {"HEAD /api/v1/traces/{trace}/download"}


def test_every_environment_variable_is_in_the_reference_and_no_other() -> None:
    readers = [ROOT / "recis" / name for name in ("environment.py", "launch.py", "bridge/job.py")]
    environment = "\n".join(path.read_text(encoding="utf-8") for path in readers)
    own = {name for source in sources() for name in re.findall(r"monitor_setting\(\"([A-Z_]+)\"", source.text)}
    launchers = set(re.findall(r'"([A-Z][A-Z_]{3,})"', environment)) - own
    build = re.findall(r'"(RECIS_[A-Z_]+)"', (ROOT / "scripts" / "compile_rows.py").read_text(encoding="utf-8"))
    expected = {f"RECIS_MONITOR_{name}" for name in own}
    expected |= {f"RECIS_MONITOR_{name.upper()}" for name in Settings.model_fields}
    expected |= launchers | set(build)
    named = {name for name in _code(_section("Environment variables")) if re.fullmatch(r"[A-Z][A-Z_]+", name)}
    assert named == expected


def test_every_public_name_of_the_bridge_is_in_the_reference() -> None:
    section = _section("Python")
    assert [name for name in recis.monitor.__all__ if not re.search(rf"`{name}[(`]", section)] == []


@pytest.mark.parametrize(
    "module",
    [
        "recis.framework",
        "recis.framework.metrics",
        "recis.hooks",
        "recis.metrics",
        "recis.nn",
        "recis.nn.initializers",
        "recis.optim",
        "recis.ragged",
        "recis_monitor",
    ],
)
def test_every_public_name_of_a_module_is_in_the_reference(module: str) -> None:
    row = re.search(rf"^\| `{module}` \| (.*?) \|", REFERENCE, re.MULTILINE)
    assert row is not None
    assert _code(row.group(1)) == set(importlib.import_module(module).__all__)


def test_quoted_messages_exist() -> None:
    texts = [
        _constants(path) for path in (*(source.path for source in sources()), ROOT / "scripts" / "compile_rows.py")
    ]
    code = "\n".join(texts)
    headings = re.findall(r"^### `(.+)`$", (DOCS / "troubleshooting.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(headings) > 10
    parts = [part.strip() for heading in headings for part in heading.split("…") if len(part.strip()) > 4]
    assert [part for part in parts if part not in code] == []


def _constants(path: Path) -> str:
    """Return the string constants of a file, one per line; adjacent literals are one constant."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return "\n".join(
        node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )
