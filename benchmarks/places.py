"""Locations of the benchmark data sets: SQLite files, or databases of a dedicated PostgreSQL server.

Owns folders, copies and sizes; must not know what is measured. A data set is created once, and reused as long as it is
the requested one, in tables of this version.
"""

import importlib.util
import json
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from recis_server.store.engines.schema import SCHEMA_VERSION

from benchmarks.datasets import DataSet, fill

__all__ = ["Place", "PostgresPlace", "SqlitePlace", "filled", "places"]


class Place(Protocol):
    """The stores of one engine, one per data set."""

    engine: str
    folder: Path

    def make(self, name: str) -> str:
        """Create an empty store, replacing an existing one, and return its URL."""

    def url(self, name: str) -> str:
        """Return the URL of a data set's store."""

    def settle(self, name: str) -> int:
        """Write the engine's log to the database, and drop dead rows; return the size in bytes on disk."""

    def copy(self, name: str) -> AbstractContextManager[str]:
        """Yield the URL of a temporary copy."""


class SqlitePlace:
    """One file per data set, `FOLDER/sqlite-NAME/recis.db`."""

    engine = "sqlite"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def _path(self, name: str) -> Path:
        return self.folder / f"sqlite-{name}" / "recis.db"

    def make(self, name: str) -> str:
        shutil.rmtree(self._path(name).parent, ignore_errors=True)
        return self.url(name)

    def url(self, name: str) -> str:
        return f"sqlite:///{self._path(name)}"

    def settle(self, name: str) -> int:
        path = self._path(name)
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return path.stat().st_size

    @contextmanager
    def copy(self, name: str) -> Iterator[str]:
        self.settle(name)
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            shutil.copy(self._path(name), folder)
            yield f"sqlite:///{folder}/recis.db"


class PostgresPlace:
    """One database per data set, in a server that runs from `FOLDER/postgres` while it is needed."""

    engine = "postgres"

    def __init__(self, folder: Path, server: Any) -> None:
        self.folder = folder
        self._server = server

    def make(self, name: str) -> str:
        self._execute(f'DROP DATABASE IF EXISTS "set_{name}"')
        self._execute(f'CREATE DATABASE "set_{name}"')
        return self.url(name)

    def url(self, name: str) -> str:
        url: str = self._server.url(f"set_{name}")
        return url

    def settle(self, name: str) -> int:
        self._execute("VACUUM ANALYZE", database=f"set_{name}")
        self._execute("CHECKPOINT")
        found = self._execute(f"SELECT pg_database_size('set_{name}') - pg_database_size('template1')")
        return int(found[0][0])

    @contextmanager
    def copy(self, name: str) -> Iterator[str]:
        self._execute('DROP DATABASE IF EXISTS "copy"')
        self._execute(f'CREATE DATABASE "copy" TEMPLATE "set_{name}"')
        try:
            yield self._server.url("copy")
        finally:
            self._execute('DROP DATABASE "copy"')

    def _execute(self, sql: str, database: str = "postgres") -> list[Any]:
        import psycopg

        with psycopg.connect(self._server.url(database), autocommit=True) as connection:
            found = connection.execute(sql.encode())
            return found.fetchall() if found.description else []


@contextmanager
def places(folder: Path, engine: str) -> Iterator[Place | None]:
    """Yield the stores of an engine, or None if its programs or driver are not installed."""
    if engine == "sqlite":
        yield SqlitePlace(folder)
        return
    if importlib.util.find_spec("psycopg") is None:
        yield None
        return
    from scripts.postgres import PostgresServer, is_installed

    if not is_installed():
        yield None
        return
    (folder / "postgres").mkdir(exist_ok=True)
    server = PostgresServer(folder / "postgres", durable=True)
    server.start()
    try:
        yield PostgresPlace(folder, server)
    finally:
        server.stop()


def filled(place: Place, data_set: DataSet) -> dict[str, Any]:
    """Return the description of a data set, creating it if it is missing or different."""
    note = place.folder / f"{place.engine}-{data_set.name}.json"
    wanted = {**asdict(data_set), "schema": SCHEMA_VERSION}
    if note.exists():
        found: dict[str, Any] = json.loads(note.read_text(encoding="utf-8"))
        if wanted.items() <= found.items():
            return found
        note.unlink()
    print(f"making {data_set.name} on {place.engine}: {data_set.points:,} points", flush=True)
    about = {**wanted, **fill(place.make(data_set.name), data_set)}
    about["bytes"] = place.settle(data_set.name)
    note.write_text(json.dumps(about), encoding="utf-8")
    return about
