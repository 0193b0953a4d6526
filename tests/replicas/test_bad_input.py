"""Servers that cannot share what they are given: each is refused with one line, and nothing secret in it."""

from pathlib import Path

import pytest

from scripts.nats import nats_server
from scripts.ports import free_port
from scripts.postgres import postgres_server
from tests.faults.reports import address_of, serve

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.waits]


def refused(folder: Path, *options: str) -> str:
    """What a server says that does not start."""
    with serve(folder, "0", *options) as server:
        assert server.wait(60) == 2
        [line] = server.output.strip().splitlines()
        assert "secret" not in line
        return line


def test_each_is_refused_in_one_line(tmp_path: Path) -> None:
    blobs = ("--blobs", f"file://{tmp_path / 'blobs'}")
    with postgres_server() as postgres, nats_server() as nats, nats_server() as other:
        store = ("--store", postgres.make_database())
        with serve(tmp_path / "one", "0", *store, *blobs, "--bus", nats.url) as first:
            address_of(first)
            # Two deployments on one database.
            line = refused(tmp_path / "two", *store, *blobs, "--bus", other.url)
            assert "--bus: expected the bus of all servers of this --store, but 1 of them did not answer" in line
            line = refused(tmp_path / "three", *store, *blobs)
            assert "expected a store for this server alone, PostgreSQL at 127.0.0.1" in line
            line = refused(tmp_path / "four", *store, "--bus", nats.url)
            assert "--blobs: expected a place that all servers on the --bus share" in line
            away = f"nats://me:secret@127.0.0.1:{free_port()}"
            line = refused(tmp_path / "five", *store, *blobs, "--bus", away)
            assert "--bus: expected a NATS server that accepts this login, NATS at 127.0.0.1:" in line
            with serve(tmp_path / "six", "0", *store, *blobs, "--bus", nats.url) as second:
                address_of(second)
        line = refused(tmp_path / "seven", *blobs, "--bus", nats.url)
        assert "--store: expected postgresql://… for servers that share a --bus" in line
