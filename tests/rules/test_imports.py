"""Allowed imports. A new row or a new name in a row is a decision: make it in the same commit as the import."""

import ast
import subprocess
import sys

import pytest

from tests.rules.sources import room_of, sources

MAY_IMPORT: dict[str, set[str]] = {
    # --- the training process
    "recis": {"recis.installation", "recis.wire"},
    "recis.installation": {"recis.wire"},
    "recis.errors": set(),
    "recis.numerals": {"recis.errors"},
    "recis.state": set(),
    "recis.environment": set(),
    "recis.lazy": set(),
    "recis.system": set(),
    "recis.launch": {"recis.environment"},
    "recis.wire": set(),
    "recis.utils": {"recis.environment"},
    "recis.metrics": {"recis.errors", "recis.lazy", "recis.numerals"},
    "recis.ragged": {"recis.errors"},
    "recis.nn": {"recis.errors", "recis.numerals", "recis.ragged", "recis.system"},
    "recis.optim": {"recis.errors", "recis.nn", "recis.numerals"},
    "recis.hooks": {
        "recis.environment",
        "recis.errors",
        "recis.launch",
        "recis.lazy",
        "recis.metrics",
        "recis.nn",
        "recis.numerals",
        "recis.state",
        "recis.system",
        "recis.utils",
    },
    "recis.framework": {
        "recis.environment",
        "recis.errors",
        "recis.hooks",
        "recis.lazy",
        "recis.metrics",
        "recis.state",
        "recis.system",
    },
    "recis.bridge": {"recis.environment", "recis.launch", "recis.metrics", "recis.system", "recis.wire"},
    "recis.reading": {"recis.bridge", "recis.remote", "recis.wire"},
    "recis.remote": {"recis.bridge", "recis.environment", "recis.wire"},
    "recis.importing": {"recis.bridge", "recis.environment", "recis.wire"},
    "recis.monitor": {
        "recis.bridge",
        "recis.environment",
        "recis.installation",
        "recis.metrics",
        "recis.reading",
        "recis.remote",
        "recis.wire",
    },
    "recis.hooks.monitor_hook": {
        "recis.bridge",
        "recis.hooks",
        "recis.metrics",
        "recis.monitor",
        "recis.state",
        "recis.wire",
    },
    "recis.demo": {
        "recis.environment",
        "recis.errors",
        "recis.framework",
        "recis.hooks",
        "recis.nn",
        "recis.optim",
    },
    # --- the training side as a separate package, without hooks, tables or the trainer
    "recis_monitor": {"recis.monitor", "recis.wire", "recis_monitor.monitor_hook"},
    "recis_monitor.__main__": {"recis.bridge", "recis.wire"},
    "recis_monitor.fresh_metrics": {"recis.metrics"},
    "recis_monitor.monitor_hook": {"recis.bridge", "recis.monitor", "recis.numerals", "recis_monitor.fresh_metrics"},
    # --- the command, the only module of this side that may import the server
    "recis.cli": {
        "recis",
        "recis.bridge",
        "recis.installation",
        "recis.remote",
        "recis_server.__main__",
        "recis_server.commands",
    },
    # --- the server, from the ground up
    "recis_server": {"recis.wire"},
    "recis_server.commands": set(),
    "recis_server.errors": set(),
    "recis_server.settings": set(),
    "recis_server.bus": {"recis_server.errors"},
    "recis_server.blobs": {"recis_server.errors"},
    "recis_server.connections": set(),
    "recis_server.tls": {"recis_server.errors"},
    "recis_server.logs": set(),
    "recis_server.plain_pages": set(),
    "recis_server.refusals": {"recis_server.connections", "recis_server.errors", "recis_server.plain_pages"},
    "recis_server.schemas": {"recis.wire"},
    "recis_server.store": {"recis.wire", "recis_server.errors"},
    "recis_server.meters": {"recis.wire", "recis_server.bus", "recis_server.store"},
    "recis_server.access": {"recis_server.errors", "recis_server.settings", "recis_server.store"},
    "recis_server.people": {"recis_server.access", "recis_server.errors", "recis_server.settings"},
    "recis_server.oidc": {
        "recis_server.access",
        "recis_server.errors",
        "recis_server.people",
        "recis_server.settings",
    },
    "recis_server.cookies": set(),
    "recis_server.gate": {
        "recis.wire",
        "recis_server.access",
        "recis_server.connections",
        "recis_server.cookies",
        "recis_server.errors",
        "recis_server.oidc",
        "recis_server.people",
        "recis_server.refusals",
    },
    "recis_server.query": {"recis.wire", "recis_server.errors", "recis_server.store"},
    "recis_server.traces": {
        "recis.wire",
        "recis_server.blobs",
        "recis_server.bus",
        "recis_server.errors",
        "recis_server.store",
    },
    "recis_server.control": {"recis.wire", "recis_server.bus", "recis_server.errors", "recis_server.store"},
    "recis_server.ingest": {
        "recis.wire",
        "recis_server.bus",
        "recis_server.control",
        "recis_server.errors",
        "recis_server.store",
    },
    "recis_server.live": {
        "recis.wire",
        "recis_server",
        "recis_server.bus",
        "recis_server.connections",
        "recis_server.errors",
        "recis_server.ingest",
        "recis_server.query",
        "recis_server.refusals",
        "recis_server.store",
    },
    "recis_server.removal": {
        "recis_server.blobs",
        "recis_server.bus",
        "recis_server.errors",
        "recis_server.ingest",
        "recis_server.query",
        "recis_server.store",
    },
    "recis_server.siblings": {"recis_server.bus", "recis_server.errors", "recis_server.store"},
    "recis_server.deps": {
        "recis_server.access",
        "recis_server.connections",
        "recis_server.blobs",
        "recis_server.bus",
        "recis_server.control",
        "recis_server.ingest",
        "recis_server.live",
        "recis_server.meters",
        "recis_server.query",
        "recis_server.removal",
        "recis_server.store",
    },
    "recis_server.routes": {
        "recis.wire",
        "recis_server",
        "recis_server.access",
        "recis_server.bus",
        "recis_server.cookies",
        "recis_server.deps",
        "recis_server.errors",
        "recis_server.oidc",
        "recis_server.plain_pages",
        "recis_server.query",
        "recis_server.refusals",
        "recis_server.removal",
        "recis_server.schemas",
    },
    "recis_server.main": {
        "recis_server",
        "recis_server.access",
        "recis_server.blobs",
        "recis_server.bus",
        "recis_server.connections",
        "recis_server.control",
        "recis_server.errors",
        "recis_server.gate",
        "recis_server.ingest",
        "recis_server.live",
        "recis_server.meters",
        "recis_server.oidc",
        "recis_server.people",
        "recis_server.query",
        "recis_server.removal",
        "recis_server.routes",
        "recis_server.settings",
        "recis_server.siblings",
        "recis_server.store",
        "recis_server.traces",
    },
    "recis_server.serving": {
        "recis.wire",
        "recis_server.access",
        "recis_server.connections",
        "recis_server.errors",
        "recis_server.gate",
        "recis_server.main",
        "recis_server.settings",
        "recis_server.tls",
    },
    "recis_server.demo": {"recis_server.settings"},
    "recis_server.importing": {"recis_server.errors", "recis_server.serving", "recis_server.settings"},
    "recis_server.exporting": {"recis.wire", "recis_server.query", "recis_server.store"},
    "recis_server.cli": {
        "recis_server.access",
        "recis_server.commands",
        "recis_server.demo",
        "recis_server.errors",
        "recis_server.exporting",
        "recis_server.importing",
        "recis_server.logs",
        "recis_server.query",
        "recis_server.serving",
        "recis_server.settings",
        "recis_server.store",
    },
    "recis_server.__main__": {"recis_server.cli", "recis_server.commands"},
}

STORE_MAY_IMPORT: dict[str, set[str]] = {
    # --- the rooms of the store, from the ground up
    "recis_server.store.steps": set(),
    "recis_server.store.json_columns": set(),
    "recis_server.store.values": {"recis_server.store.json_columns"},
    "recis_server.store.interface": {"recis_server.store.values"},
    "recis_server.store.engines": {"recis_server.store.json_columns"},
    "recis_server.store.tables": {
        "recis_server.store.engines",
        "recis_server.store.json_columns",
        "recis_server.store.steps",
        "recis_server.store.values",
    },
    "recis_server.store.points": {
        "recis_server.store.engines",
        "recis_server.store.steps",
        "recis_server.store.tables",
        "recis_server.store.values",
    },
    "recis_server.store.upkeep": {
        "recis_server.store.engines",
        "recis_server.store.points",
        "recis_server.store.tables",
    },
    # --- the store itself, which uses them all
    "recis_server.store.writer": {"recis_server.store.engines", "recis_server.store.values"},
    "recis_server.store.reader": {"recis_server.store.engines"},
    "recis_server.store.probe": {"recis_server.store.engines", "recis_server.store.writer"},
    "recis_server.store.leases": {"recis_server.store.engines"},
    "recis_server.store.sql": {
        "recis_server.store.engines",
        "recis_server.store.interface",
        "recis_server.store.leases",
        "recis_server.store.points",
        "recis_server.store.probe",
        "recis_server.store.reader",
        "recis_server.store.tables",
        "recis_server.store.upkeep",
        "recis_server.store.values",
        "recis_server.store.writer",
    },
    "recis_server.store.open": {
        "recis_server.store.engines",
        "recis_server.store.interface",
        "recis_server.store.sql",
        "recis_server.store.upkeep",
        "recis_server.store.values",
    },
    "recis_server.store": {
        "recis_server.store.interface",
        "recis_server.store.open",
        "recis_server.store.upkeep",
    },
}
"""Who may import whom within the store: a row may name only rows above it."""

LAZY: dict[str, str] = {
    "recis.cli -> recis.bridge.sync": "the sender is loaded for `sync` only, not in a server's process",
    "recis.cli -> recis.remote.commands": "the client is not loaded in a server's process either",
    "recis.remote.commands -> recis.remote.mcp_server": "mcp is an extra: large, and needed for one command",
    "recis_server.__main__ -> recis_server.cli": "its packages may be missing, which is then said in one line",
    "recis_server.bus.open -> recis_server.bus.nats": "its client is an optional extra",
    "recis_server.query.exports -> recis_server.query.parquet": "pyarrow is an extra: large, and needed for one format",
    "recis_server.store.engines.open -> recis_server.store.engines.postgres": "its driver is an optional extra",
}
"""Imports of own modules inside functions, `importer -> imported`, with the reason beside it."""


def test_every_import_of_an_own_module_is_in_the_table() -> None:
    wrong = {
        f"{source.where}: {source.room} imports {imported}"
        for source in sources()
        for imported in source.imports(run_time=True)
        if (room := room_of(imported)) != source.room and room not in MAY_IMPORT.get(source.room, set())
    }
    assert not wrong


def test_the_table_has_no_row_and_no_entry_that_nobody_needs() -> None:
    needed: dict[str, set[str]] = {}
    for source in sources():
        row = needed.setdefault(source.room, set())
        row |= {room_of(imported) for imported in source.imports(run_time=True)} - {source.room}
    spare = {room: allowed - needed.get(room, set()) for room, allowed in MAY_IMPORT.items()}
    assert set(MAY_IMPORT) == set(needed)
    assert {room: names for room, names in spare.items() if names} == {}


def test_rooms_of_the_store_import_only_what_lies_below_them() -> None:
    needed: dict[str, set[str]] = {room: set() for room in STORE_MAY_IMPORT}
    for source in sources():
        if source.room == "recis_server.store":
            room = _room_of_store(source.name)
            imported = {_room_of_store(name) for name in source.imports() if room_of(name) == source.room}
            needed[room] |= imported - {room}
    assert needed == STORE_MAY_IMPORT
    rooms = list(STORE_MAY_IMPORT)
    assert all(rooms.index(below) < place for place, room in enumerate(rooms) for below in needed[room])


def _room_of_store(name: str) -> str:
    return ".".join(name.split(".")[:3])


def test_the_server_imports_only_the_wire_from_the_training_side() -> None:
    for source in sources():
        if source.name.startswith("recis_server"):
            foreign = {name for name in source.imports() if not name.startswith("recis_server")}
            assert all(room_of(name) == "recis.wire" for name in foreign), source.where


def test_of_the_training_side_only_the_command_imports_the_server() -> None:
    importers = {
        source.name
        for source in sources()
        if not source.name.startswith("recis_server")
        and any(name.startswith("recis_server") for name in source.imports())
    }
    assert importers == {"recis.cli"}
    assert not [source.where for source in sources() if "recis.cli" in source.imports()]


SEAM = {
    "recis_server.store",
    "recis_server.store.interface",
    "recis_server.store.values",
    "recis_server.store.steps",
    "recis_server.store.points.buckets",
}
"""What the rest of the server may see of the store; everything else there knows that there are engines."""
DRIVERS = {
    "nats": "recis_server.bus.nats",
    "psycopg": "recis_server.store.engines.postgres",
    "sqlite3": "recis_server.store.engines.sqlite",
}


def test_only_the_store_knows_that_there_are_engines() -> None:
    for source in sources():
        if source.room != "recis_server.store":
            seen = {name for name in source.imports() if name.startswith("recis_server.store")}
            assert seen <= SEAM, source.where


@pytest.mark.parametrize(("driver", "owner"), DRIVERS.items())
def test_a_driver_is_imported_by_its_engine_alone(driver: str, owner: str) -> None:
    found = {
        source.name
        for source in sources()
        for node in source.nodes
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""])
        if name.split(".")[0] == driver
    }
    assert found == {owner}


def test_modules_do_not_import_each_other_in_a_circle() -> None:
    graph = {source.name: set(source.imports(run_time=True, in_functions=False)) for source in sources()}
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join((*path[path.index(name) :], name))
        if name not in done:
            for imported in graph.get(name, ()):
                visit(imported, (*path, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_own_modules_are_imported_inside_functions_only_where_listed() -> None:
    found = {
        f"{source.name} -> {name}" for source in sources() for name in source.imports(run_time=True, in_functions=True)
    }
    assert found == set(LAZY)


@pytest.mark.parametrize(
    "modules",
    ["recis_server, recis_server.cli, recis_server.main, recis_server.demo", "recis.monitor, recis.wire, recis.cli"],
)
def test_torch_is_not_loaded_by(modules: str) -> None:
    script = f"import sys, {modules}\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)
