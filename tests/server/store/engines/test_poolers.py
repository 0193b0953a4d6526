"""A store behind PgBouncer; without the program there is nothing to run, and the tests are left out."""

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from recis_server.errors import StoreError
from recis_server.store import open_store

from scripts.ports import free_port
from scripts.postgres import USER, PostgresServer
from tests.e2e.processes import until

pytestmark = pytest.mark.slow
PGBOUNCER = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")


@contextmanager
def pooler(server: PostgresServer, mode: str, *options: str) -> Iterator[str]:
    """Run PgBouncer in front of a new database; give the URL for `--store`."""
    assert PGBOUNCER is not None
    database, port = server.make_database().rpartition("/")[2], free_port()
    user = USER if os.getuid() == 0 else None  # PgBouncer refuses to run as root
    with tempfile.TemporaryDirectory(prefix="recis-pgbouncer-") as name:
        folder = Path(name)
        lines = (
            "[databases]",
            f"{database} = host=127.0.0.1 port={server.port} user={USER}",
            "[pgbouncer]",
            "listen_addr = 127.0.0.1",
            f"listen_port = {port}",
            "unix_socket_dir =",
            "auth_type = any",
            f"pool_mode = {mode}",
            *options,
        )
        (folder / "ini").write_text("\n".join(lines) + "\n")
        folder.chmod(0o755)
        process = subprocess.Popen(
            [PGBOUNCER, "-q", str(folder / "ini")],
            user=user,
            group=user,
            extra_groups=[] if user else None,
            stderr=subprocess.DEVNULL,
        )
        url = f"postgresql://{USER}@127.0.0.1:{port}/{database}"

        def answers() -> bool:
            assert process.poll() is None
            try:
                psycopg.connect(url, connect_timeout=2).close()
            except psycopg.OperationalError:
                return False
            return True

        try:
            until(answers, 60, "PgBouncer answers")
            yield url
        finally:
            process.terminate()
            process.wait(30)


async def opened(url: str) -> None:
    store = open_store(url)
    await store.open()
    await store.close()


if PGBOUNCER is not None:

    @pytest.mark.parametrize("option", ["server_round_robin = 0", "server_round_robin = 1"])
    def test_sessions_per_transaction_are_refused(postgres: PostgresServer, option: str) -> None:
        with pooler(postgres, "transaction", option) as url:
            # Several sessions are idle in the pool.
            several = [psycopg.connect(url) for _ in range(3)]
            for one in several:
                one.execute("SELECT 1")
            for one in several:
                one.close()
            with pytest.raises(StoreError, match="behind a pooler that assigns sessions per transaction"):
                asyncio.run(opened(url))

    def test_sessions_per_connection_are_those_of_the_database(postgres: PostgresServer) -> None:
        async def scenario(url: str) -> None:
            first = open_store(url)
            await first.open()
            try:
                with pytest.raises(StoreError, match="has another server"):
                    await opened(url)
            finally:
                await first.close()
            await opened(url)

        with pooler(postgres, "session") as url:
            asyncio.run(scenario(url))
