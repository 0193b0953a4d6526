"""`hatch_build`: the package `recis_monitor` is the source tree's modules, with their imports renamed."""

import ast
import re
import tomllib
from pathlib import Path

import hatch_build
import pytest

from recis import __version__
from tests.rules.sources import ROOT, room_of

ROOMS = {
    "recis.bridge",
    "recis.environment",
    "recis.errors",
    "recis.installation",
    "recis.launch",
    "recis.lazy",
    "recis.metrics",
    "recis.monitor",
    "recis.numerals",
    "recis.reading",
    "recis.remote",
    "recis.system",
    "recis.wire",
}
"""What the package may have of `recis`; a new row is a decision."""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "recis_monitor"
    hatch_build.write_package(folder)
    return folder


def test_it_has_the_bridge_and_nothing_of_hooks_tables_and_trainer() -> None:
    rooms = {room_of(name) for name in hatch_build.find_modules() if name.startswith("recis.")}
    assert rooms == ROOMS


def test_modules_differ_from_their_sources_in_imports_only(package: Path) -> None:
    for name, path in hatch_build.find_modules().items():
        root = ROOT / "distributions" / "bridge" if name.startswith("recis_monitor") else ROOT
        made = package.parent / "recis_monitor" / Path(*path.relative_to(root).parts[1:])
        pairs = zip(path.read_text().splitlines(), made.read_text().splitlines(), strict=True)
        changed = [pair for pair in pairs if pair[0] != pair[1]]
        assert all(new == re.sub(r"^( *from )recis\b", r"\1recis_monitor", old) for old, new in changed), name


def test_every_import_of_an_own_module_can_be_resolved(package: Path) -> None:
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                root, *rest = (node.module or "").split(".")
                assert root != "recis", path
                if root == "recis_monitor" and rest[-1:] != ["_row_writer"]:
                    place = package.joinpath(*rest)
                    assert place.is_dir() or place.with_suffix(".py").is_file(), f"{path}: {node.module}"


def test_an_import_that_cannot_be_renamed_ends_the_build(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text("def f():\n    import recis.monitor\n")
    with pytest.raises(ValueError, match=r"module\.py:2: expected 'from recis\.\.\. import \.\.\.', got 'import recis"):
        hatch_build.renamed(path)


def test_names_that_only_begin_alike_are_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    text = '"""\nfrom recis.monitor import init\n"""\nimport recis_server\nfrom recis import launch\n'
    path.write_text(text)
    assert hatch_build.renamed(path) == text.replace("from recis import", "from recis_monitor import")


def test_version_and_licence_are_those_of_the_project() -> None:
    assert hatch_build.version() == __version__
    assert (ROOT / "distributions/bridge/LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_both_distributions_need_the_same_packages() -> None:
    main, bridge = (
        tomllib.loads((folder / "pyproject.toml").read_text())["project"]
        for folder in (ROOT, ROOT / "distributions/bridge")
    )
    for key in ("dependencies", "requires-python", "license", "authors"):
        assert bridge[key] == main[key]
