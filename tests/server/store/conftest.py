"""Every engine for the tests that ask for it with `every_engine`: SQLite, PostgreSQL, PostgreSQL in partitions."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.postgres import PostgresServer, postgres_server
from tests.server.store import databases


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server for the whole session."""
    with postgres_server() as server:
        yield server


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
    suffix = "?partitions=3" if name == "postgres-partitioned" else ""
    urls: dict[Path, str] = {}

    def place(folder: Path) -> str:
        if folder not in urls:
            urls[folder] = server.make_database() + suffix
        return urls[folder]

    databases.current.append(place)
    try:
        yield name
    finally:
        databases.current.pop()
