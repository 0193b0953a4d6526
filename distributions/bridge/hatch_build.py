"""The build hook that makes the package `recis_monitor` of the modules in this folder and those of `recis` they need.

What is needed is found by following the imports. Each module is taken as it is, except that its imports of `recis` name
`recis_monitor`. An sdist has the finished package, so a wheel that is built from it takes that one.
"""

import ast
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

HERE = Path(__file__).resolve().parent
SOURCE, TARGET = "recis", "recis_monitor"


class TakeModules(BuildHookInterface[Any]):
    """Adds the modules that the bridge needs to its wheel or sdist."""

    _made: Path | None = None

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the package to the wheel or the sdist.

        Raises:
            ValueError: the install is editable, or a module uses a form of import that cannot be renamed.
        """
        if version == "editable":
            raise ValueError(
                "recis-monitor-bridge: expected a normal install; for an editable one install recis-monitor"
            )
        package = HERE / TARGET
        if not is_finished():
            self._made = Path(tempfile.mkdtemp(prefix="recis-monitor-"))
            write_package(self._made)
            package = self._made
        for path in sorted(package.rglob("*")):
            if path.suffix in (".py", ".typed"):
                build_data["force_include"][str(path)] = f"{TARGET}/{path.relative_to(package).as_posix()}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what was only needed for the build."""
        if self._made is not None:
            shutil.rmtree(self._made)


def is_finished() -> bool:
    """Return whether this is an unpacked sdist."""
    return (HERE / "PKG-INFO").exists()


def version() -> str:
    """Return the version, which is that of recis-monitor."""
    folder = HERE / TARGET if is_finished() else HERE.parents[1] / SOURCE
    found = re.search(
        r'^__version__ = "(.+)"$', (folder / "wire" / "version.py").read_text(encoding="utf-8"), re.MULTILINE
    )
    if found is None:
        raise ValueError(f"{folder}/wire/version.py: expected a line that sets __version__")
    return found[1]


def write_package(folder: Path) -> None:
    """Write the package's files into a folder."""
    for name, path in find_modules().items():
        root = HERE if name.split(".")[0] == TARGET else HERE.parents[1]
        place = folder.joinpath(*path.relative_to(root).parts[1:])
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(renamed(path), encoding="utf-8")
    shutil.copy(HERE.parents[1] / SOURCE / "py.typed", folder)


def find_modules() -> dict[str, Path]:
    """Return the files of the package, by the dotted names that they have in the source tree."""
    found: dict[str, Path] = {}
    waiting = [f"{TARGET}.{path.stem}".removesuffix(".__init__") for path in (HERE / TARGET).glob("*.py")]
    while waiting:
        name = waiting.pop()
        path = _path_of(name)
        if name in found or name == SOURCE or path is None:  # the package `recis` itself becomes `recis_monitor`
            continue
        found[name] = path
        waiting.append(name.rpartition(".")[0])  # the package that it is in
        for node in _imports(path):
            waiting += [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
    return found


def renamed(path: Path) -> str:
    """Return the text of a file, with its imports of `recis` renamed."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    for node in _imports(path):
        line = lines[node.lineno - 1]
        lines[node.lineno - 1] = re.sub(rf"^( *from ){SOURCE}\b(?=[. ])", rf"\1{TARGET}", line)
    return "".join(lines)


def _imports(path: Path) -> list[ast.ImportFrom]:
    """Return the imports of own modules in a file."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import) and any(alias.name.split(".")[0] == SOURCE for alias in node.names):
            raise ValueError(f"{path}:{node.lineno}: expected 'from {SOURCE}... import ...', got {ast.unparse(node)!r}")
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in (SOURCE, TARGET):
            found.append(node)
    return found


def _path_of(name: str) -> Path | None:
    """Return the file of a module or package; None for a name that a module defines, and for compiled modules."""
    root, *rest = name.split(".")
    place = (HERE if root == TARGET else HERE.parents[1]).joinpath(root, *rest)
    return next((path for path in (place / "__init__.py", place.with_name(f"{place.name}.py")) if path.is_file()), None)
