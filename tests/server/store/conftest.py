"""Every engine for the tests that ask for it with `every_engine`: SQLite, PostgreSQL, PostgreSQL in partitions."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from recis_server.store.engines.open import open_engine

from scripts.postgres import PostgresServer, postgres_server
from tests.server.store import databases


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server for the whole session."""
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_templates(postgres: PostgresServer) -> dict[str, str]:
    """By options of the URL, a database that has the tables: a copy takes half as long as to make them."""
    templates: dict[str, str] = {}
    for options in ("", "?partitions=3"):
        url = postgres.make_database()
        engine = open_engine(url + options)
        engine.open(exclusive=True)
        engine.close()
        templates[options] = url.rpartition("/")[2]
    return templates


@pytest.fixture(
    params=[
        "sqlite",
        pytest.param("postgres", marks=pytest.mark.slow),
        pytest.param("postgres-partitioned", marks=pytest.mark.slow),
    ]
)
def every_engine(request: pytest.FixtureRequest) -> Iterator[str]:
    """Runs the test on each engine."""
    name: str = request.param
    if name == "sqlite":
        yield name
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    templates: dict[str, str] = request.getfixturevalue("postgres_templates")
    options = "?partitions=3" if name == "postgres-partitioned" else ""
    urls: dict[Path, str] = {}

    def place(folder: Path) -> str:
        if folder not in urls:
            urls[folder] = server.make_database(like=templates[options]) + options
        return urls[folder]

    databases.current.append(place)
    try:
        yield name
    finally:
        databases.current.pop()
