"""Rules for all files of both packages: module docstrings, `__all__`, sizes, and calls allowed only in one module."""

import ast
from collections.abc import Iterator

import pytest

from tests.rules.sources import ROOT, Source, sources

MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 60
MAX_CONSTRUCTOR_PARAMETERS = 8
MAX_SCRIPT_LINES = 300

# Exceptions to a limit, with their size, which may only become smaller.
LONG_FILES: dict[str, int] = {}
LONG_FUNCTIONS: dict[str, int] = {}
WIDE_CONSTRUCTORS: dict[str, int] = {
    "recis.hooks.monitor_hook.MonitorHook": 13,  # it has the parameters of `recis.monitor.init`
    "recis.nn.modules.hashtable.HashTable": 12,  # those of RecIS's table, which scripts pass by name
}
LONG_SCRIPTS: dict[str, int] = {}

FORBIDDEN_NAMES = frozenset({"utils", "helpers", "common", "misc", "manager", "base"})
NAMES_OF_OTHERS = {
    "recis.utils": "scripts for RecIS import `recis.utils.logger.Logger`; nothing else may live there",
}
ENVIRONMENT = {
    "recis/environment.py",
    "server/recis_server/settings.py",
    "server/recis_server/demo.py",  # passes its environment to the processes it starts, and reads nothing from it
}
THREADS = {
    "recis/bridge/sender.py",
    "recis/bridge/job.py",
    "recis/bridge/left_over.py",
    "recis/bridge/observer.py",
    "recis/demo/__main__.py",
    "server/recis_server/demo.py",
    "server/recis_server/store/writer.py",
    "server/recis_server/traces/digest.py",
}
BOUNDED_ROOMS = ("recis.bridge", "recis_server.ingest", "recis_server.live")
QUEUES = frozenset({"Queue", "SimpleQueue", "LifoQueue", "PriorityQueue", "deque"})

EVERY_SOURCE = pytest.mark.parametrize("source", sources(), ids=lambda source: source.where)


def _functions(tree: ast.AST, prefix: str) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{prefix}.{node.name}", node
        inner = f"{prefix}.{node.name}" if hasattr(node, "name") else prefix
        yield from _functions(node, inner)


def _calls(source: Source) -> Iterator[tuple[str, ast.Call]]:
    for node in source.nodes:
        if isinstance(node, ast.Call):
            match node.func:
                case ast.Attribute(attr=name) | ast.Name(id=name):
                    yield name, node


def _exceeding(counts: dict[str, int], budget: int) -> dict[str, int]:
    return {name: count for name, count in counts.items() if count > budget}


@EVERY_SOURCE
def test_a_module_opens_by_saying_what_it_owns(source: Source) -> None:
    if source.tree.body:
        docstring = ast.get_docstring(source.tree)
        assert docstring, source.where
        assert len(docstring.splitlines()) <= 16, "an opening is a few lines, or the tree of the errors"


@EVERY_SOURCE
def test_a_public_module_lists_its_names(source: Source) -> None:
    if any(part.startswith("_") for part in source.name.split(".")) or source.path.name == "__init__.py":
        return
    lists = [
        ast.literal_eval(node.value)
        for node in source.tree.body
        if isinstance(node, ast.Assign) and any(ast.unparse(target) == "__all__" for target in node.targets)
    ]
    assert len(lists) == 1, f"{source.where}: expected one __all__"
    assert len(set(lists[0])) == len(lists[0])


@EVERY_SOURCE
def test_a_file_is_called_by_a_noun_of_its_own(source: Source) -> None:
    name = source.name.rsplit(".", 1)[-1]  # of a package as well
    assert name not in FORBIDDEN_NAMES or source.name in NAMES_OF_OTHERS


def test_a_name_of_others_holds_what_they_have_there() -> None:
    assert {source.name for source in sources() if source.room == "recis.utils"} == {
        "recis.utils",
        "recis.utils.logger",
    }


def test_files_stay_short() -> None:
    lines = {source.where: len(source.text.splitlines()) for source in sources()}
    assert _exceeding(lines, MAX_FILE_LINES) == LONG_FILES


def test_functions_stay_short() -> None:
    lines = {
        name: (node.end_lineno or 0) - node.lineno + 1
        for source in sources()
        for name, node in _functions(source.tree, source.name)
    }
    assert _exceeding(lines, MAX_FUNCTION_LINES) == LONG_FUNCTIONS


def test_constructors_take_few_parameters() -> None:
    counts = {
        name.removesuffix(".__init__"): len(node.args.posonlyargs + node.args.args + node.args.kwonlyargs) - 1
        for source in sources()
        for name, node in _functions(source.tree, source.name)
        if node.name == "__init__"
    }
    assert _exceeding(counts, MAX_CONSTRUCTOR_PARAMETERS) == WIDE_CONSTRUCTORS


def test_page_scripts_stay_short() -> None:
    lines = {
        path.relative_to(ROOT).as_posix(): len(path.read_text(encoding="utf-8").splitlines())
        for path in (ROOT / "web" / "js").rglob("*.js")
    }
    assert _exceeding(lines, MAX_SCRIPT_LINES) == LONG_SCRIPTS


def test_the_environment_is_read_in_one_file_per_package() -> None:
    readers = {source.where for source in sources() if "os.environ" in source.text or "getenv" in source.text}
    assert readers <= ENVIRONMENT


def test_threads_are_started_in_the_listed_files_only_and_have_names() -> None:
    starters = set()
    for source in sources():
        for name, call in _calls(source):
            if name == "Thread":
                starters.add(source.where)
                assert any(keyword.arg == "name" for keyword in call.keywords), f"{source.where}: a thread has no name"
    assert starters == THREADS


def test_queues_on_the_data_path_have_a_size_or_say_what_bounds_them() -> None:
    unbounded = [
        f"{source.where}:{call.lineno}"
        for source in sources()
        if source.room in BOUNDED_ROOMS
        for name, call in _calls(source)
        if name in QUEUES
        and not any(keyword.arg in {"maxlen", "maxsize"} for keyword in call.keywords)
        and "# bounded" not in source.text.splitlines()[call.lineno - 1]
    ]
    assert unbounded == []


@EVERY_SOURCE
def test_nothing_is_printed(source: Source) -> None:
    assert all(name != "print" for name, _ in _calls(source))


@pytest.mark.parametrize("word", ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("])
def test_the_page_never_makes_markup_from_text(word: str) -> None:
    assert not [path.name for path in (ROOT / "web" / "js").rglob("*.js") if word in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("word", ["fetch(", "new WebSocket(", "localStorage"])
def test_the_page_reaches_outside_in_one_file(word: str) -> None:
    users = [path.name for path in (ROOT / "web" / "js").rglob("*.js") if word in path.read_text(encoding="utf-8")]
    assert len(users) <= 1
