"""The Python sources of the project for the rules: path, dotted name, room, syntax tree and imports.

Owns reading them; must not know any rule.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

__all__ = ["ROOT", "Source", "sources"]

ROOT = Path(__file__).parents[2]
_PACKAGES = {
    "recis": ROOT / "recis",
    "recis_server": ROOT / "server" / "recis_server",
    "recis_monitor": ROOT / "distributions" / "bridge" / "recis_monitor",
}
_OWN_ROOMS = frozenset({"recis.hooks.monitor_hook"})


@dataclass(frozen=True)
class Source:
    """One Python file of a package."""

    path: Path
    name: str

    @cached_property
    def text(self) -> str:
        """The file's content."""
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        """The file's syntax tree."""
        return ast.parse(self.text)

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """All nodes of the syntax tree."""
        return list(ast.walk(self.tree))

    @property
    def where(self) -> str:
        """The path below the repository, for messages and lists."""
        return self.path.relative_to(ROOT).as_posix()

    @property
    def room(self) -> str:
        """The unit of the import table: a sub-package, or a module beside the sub-packages."""
        return room_of(self.name)

    def imports(self, *, run_time: bool = False, in_functions: bool | None = None) -> Iterator[str]:
        """Yield the dotted names of the project's modules that this one imports.

        Args:
            run_time: leave out what only type checkers see.
            in_functions: only imports inside functions, or only those outside; both when None.
        """
        for name, inside, typing_only in self._own_imports:
            if not (run_time and typing_only) and (in_functions is None or inside is in_functions):
                yield name

    @cached_property
    def _own_imports(self) -> list[tuple[str, bool, bool]]:
        return [
            (name, inside, typing_only)
            for node, inside, typing_only in _imports(self.tree)
            for name in ([alias.name for alias in node.names] if isinstance(node, ast.Import) else _from(node))
            if name.split(".")[0] in _PACKAGES
        ]


def room_of(name: str) -> str:
    """Return the room of a dotted module name."""
    return name if name in _OWN_ROOMS else ".".join(name.split(".")[:2])


def sources() -> list[Source]:
    """Return all Python files of the packages, by name."""
    return _SOURCES


def _from(node: ast.ImportFrom) -> list[str]:
    module = node.module or ""
    # `from package import module` imports the module.
    return [full if (full := f"{module}.{alias.name}") in _NAMES else module for alias in node.names]


def _imports(
    tree: ast.AST, inside: bool = False, typing_only: bool = False
) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool, bool]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node, inside, typing_only
        else:
            function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            guarded = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
            yield from _imports(node, inside or function, typing_only or guarded)


def _read() -> Iterator[Source]:
    for package, folder in _PACKAGES.items():
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            yield Source(path, ".".join((package, *parts)).removesuffix(".__init__"))


_SOURCES = list(_read())
_NAMES = frozenset(source.name for source in _SOURCES)
