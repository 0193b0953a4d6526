"""`recis-monitor serve --store URL` where the store cannot be had: one line that says why, and exit code 2."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from recis_server.store import open_store

from scripts.postgres import PostgresServer
from tests.server.store.streams import run

pytestmark = pytest.mark.slow


def serve(folder: Path, url: str, **environment: str) -> str:
    """The one line that a server with this store leaves behind."""
    done = subprocess.run(
        [sys.executable, "-m", "recis_server", "serve", "--store", url, "--data", str(folder / "data"), "--port", "0"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **environment},
    )
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def test_a_driver_that_is_not_installed_is_told_with_the_way_to_get_it(tmp_path: Path) -> None:
    (tmp_path / "psycopg.py").write_text("raise ImportError('there is no psycopg here')\n")
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    said = serve(tmp_path, "postgresql://127.0.0.1/x", PYTHONPATH=path)
    assert "pip install 'recis-monitor[scale]'" in said


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("postgresql://me:secret@127.0.0.1:9/x", "PostgreSQL at 127.0.0.1, database x: connection failed"),
        ("postgresql://me:secret@127.0.0.1:9/x?partitions=2000", "partitions=N with N up to 1024, got '2000'"),
        ("postgresql://me:secret@127.0.0.1:9/x?colour=red", "got an unknown option colour"),
        ("sqlite:///", "expected sqlite:///PATH"),
    ],
)
def test_a_database_that_cannot_be_reached_is_told_without_its_password(tmp_path: Path, url: str, wanted: str) -> None:
    said = serve(tmp_path, url)
    assert wanted in said
    assert "secret" not in said


def test_a_second_server_on_the_same_database_ends_with_one_line(tmp_path: Path, postgres: PostgresServer) -> None:
    async def scenario() -> None:
        store = open_store(url)
        await store.open()
        try:
            assert "for this server alone" in serve(tmp_path, url)
            # In another spelling, too: it is the database that is locked.
            assert "has another server" in serve(tmp_path, url.replace("127.0.0.1", "localhost") + "?partitions=2")
        finally:
            await store.close()

    url = postgres.make_database()
    run(scenario)
