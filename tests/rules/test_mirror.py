"""Tests mirror the source: `tests/recis/hooks/test_x.py` tests `recis/hooks/x.py`, and likewise for the server."""

from pathlib import Path

from tests.rules.sources import ROOT, sources

FOLDERS = {"recis": "tests/recis", "recis_server": "tests/server", "recis_monitor": "tests/distributions/bridge"}

PROVEN_BY = {
    "recis.bridge.declaration": "tests/recis/bridge/test_run.py",
    "recis.bridge.frame_reader": "tests/recis/bridge/test_frames.py",
    "recis.bridge.outbox_reader": "tests/recis/bridge/test_outbox.py",
    "recis.bridge.outbox_writer": "tests/recis/bridge/test_outbox.py",
    "recis.bridge.parts": "tests/recis/bridge/test_run.py",
    "recis.bridge.passes": "tests/recis/bridge/test_run.py",
    "recis.bridge.progress": "tests/recis/bridge/test_sync.py",
    "recis.bridge.refusals": "tests/recis/bridge/test_run.py",
    "recis.bridge.segment_queue": "tests/recis/bridge/test_outbox.py",
    "recis.bridge.sockets": "tests/faults/test_connections.py",
    "recis.demo.__main__": "tests/e2e/test_demo.py",
    "recis.environment": "tests/rules/test_reference.py",
    "recis.hooks.control": "tests/recis/hooks/test_dispatch.py",
    "recis.nn.modules.exact_rows": "tests/recis/optim/test_sparse_optimizer.py",
    "recis.nn.modules.table_view": "tests/recis/nn/modules/test_table_rules.py",
    "recis.optim.adam_rule": "tests/recis/optim/test_sparse_adamw.py",
    "recis.optim.sparse_adamw_tf": "tests/recis/optim/test_adamw_tf.py",
    "recis.remote.http": "tests/recis/remote/test_client.py",
    "recis.wire.exports": "tests/server/query/test_exports.py",
    "recis_server.query.loglines": "tests/server/routes/test_process.py",
    "recis.wire.messages": "tests/contract/test_protocol_document.py",
    "recis.wire.output": "tests/server/test_exporting.py",
    "recis.wire.version": "tests/rules/test_repository.py",
    "recis_monitor.__main__": "tests/e2e/test_wheel.py",
    "recis_server.__main__": "tests/recis/test_cli.py",
    "recis_server.commands": "tests/recis/test_cli.py",
    "recis_server.bus.memory": "tests/server/bus/test_interface.py",
    "recis_server.control.liverun": "tests/server/control/test_service.py",
    "recis_server.control.mirror": "tests/replicas/test_commands.py",
    "recis_server.control.peers": "tests/replicas/test_commands.py",
    "recis_server.cookies": "tests/server/test_gate.py",
    "recis_server.control.tasks": "tests/server/control/test_service.py",
    "recis_server.deps": "tests/server/routes/test_answers.py",
    "recis_server.errors": "tests/server/routes/test_answers.py",
    "recis_server.live.changes": "tests/server/live/test_chart.py",
    "recis_server.live.channel": "tests/server/live/test_channels.py",
    "recis_server.live.commits": "tests/server/live/test_hub.py",
    "recis_server.live.messages": "tests/server/live/test_channels.py",
    "recis_server.live.rows": "tests/server/live/test_chart.py",
    "recis_server.main": "tests/server/routes/test_answers.py",
    "recis_server.meters": "tests/server/routes/test_health.py",
    "recis_server.plain_pages": "tests/server/test_refusals.py",
    "recis_server.query.audit": "tests/server/routes/test_control.py",
    "recis_server.query.parquet": "tests/server/query/test_exports.py",
    "recis_server.routes.sign_in": "tests/server/test_oidc.py",
    "recis_server.schemas": "tests/server/test_schema_fuzz.py",
    "recis_server.settings": "tests/server/test_cli.py",
    "recis_server.siblings": "tests/replicas/test_bad_input.py",
    "recis_server.store.engines.engine": "tests/server/store/test_store.py",
    "recis_server.store.engines.failures": "tests/server/store/engines/test_postgres.py",
    "recis_server.store.engines.meta": "tests/server/store/engines/test_files.py",
    "recis_server.store.engines.postgres_dialect": "tests/server/store/engines/test_postgres.py",
    "recis_server.store.engines.open": "tests/server/store/test_open.py",
    "recis_server.store.interface": "tests/server/store/test_store.py",
    "recis_server.store.json_columns": "tests/server/store/test_numbers.py",
    "recis_server.store.leases": "tests/server/store/test_sharing.py",
    "recis_server.store.points.arrays": "tests/server/store/points/test_series.py",
    "recis_server.store.points.chart": "tests/server/store/test_exact.py",
    "recis_server.store.points.hot_frames": "tests/server/store/points/test_compaction.py",
    "recis_server.store.probe": "tests/server/store/engines/test_files.py",
    "recis_server.store.reader": "tests/server/store/points/test_export_windows.py",
    "recis_server.store.sql": "tests/server/store/test_store.py",
    "recis_server.store.steps": "tests/server/store/test_exact.py",
    "recis_server.store.tables.controls": "tests/server/control/test_service.py",
    "recis_server.store.tables.deletion": "tests/server/store/upkeep/test_trim.py",
    "recis_server.store.tables.frames": "tests/server/store/tables/test_tallies.py",
    "recis_server.store.tables.rows": "tests/server/store/tables/test_tallies.py",
    "recis_server.store.upkeep.retention": "tests/server/store/test_exact.py",
    "recis_server.store.values": "tests/server/store/test_store.py",
    "recis_server.store.writer": "tests/server/store/test_store.py",
}
"""Modules without a test file of their own, and the file that proves them."""

BEYOND = {
    "tests/distributions/bridge/test_hatch_build.py": "the build of the bridge's own distribution",
    "tests/recis/bridge/test_interruptions.py": "signals at every instruction of a report",
    "tests/recis/framework/test_preemption.py": "trainings that are killed and go on, as processes",
    "tests/recis/hooks/test_documentation.py": "the page about hooks, against the hooks",
    "tests/recis/hooks/test_recis_document.py": "scripts from RecIS's documents",
    "tests/recis/nn/modules/test_hashtable_threads.py": "a table in several threads",
    "tests/recis/nn/test_recis_documents.py": "what RecIS's documents say of its tables",
    "tests/server/store/engines/test_migrations.py": "stores of older versions, migrated",
    "tests/server/store/engines/test_poolers.py": "PostgreSQL behind PgBouncer",
    "tests/server/store/test_exact.py": "all that is read from a store, against brute force",
    "tests/server/store/test_numbers.py": "all numbers from outside, through the whole store",
    "tests/server/store/test_old_stores.py": "stores of older versions, read",
    "tests/server/store/test_sharing.py": "several servers on one database",
    "tests/server/store/test_store.py": "what every engine does alike",
    "tests/server/test_schema_fuzz.py": "every route, against the schema that the server publishes",
}
"""Tests of more than one module, or of none, and what they prove."""


def _mirrors() -> dict[str, str]:
    """Return the path of the test of each module, by the module's name."""
    places = {}
    for source in sources():
        if source.path.name != "__init__.py":
            package, *rooms, module = source.name.split(".")
            places[source.name] = "/".join((FOLDERS[package], *rooms, f"test_{module}.py"))
    return places


def _tests() -> set[str]:
    return {
        path.relative_to(ROOT).as_posix() for folder in FOLDERS.values() for path in (ROOT / folder).rglob("test_*.py")
    }


def test_every_test_file_mirrors_a_module_or_says_what_it_proves() -> None:
    assert sorted(_tests() - set(_mirrors().values())) == sorted(BEYOND)


def test_every_module_has_its_test_file_or_names_the_one_that_proves_it() -> None:
    tests = _tests()
    assert sorted(name for name, place in _mirrors().items() if place not in tests) == sorted(PROVEN_BY)


def test_named_tests_exist() -> None:
    assert [place for place in PROVEN_BY.values() if not Path(ROOT / place).is_file()] == []
