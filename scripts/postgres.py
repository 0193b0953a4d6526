"""A PostgreSQL server for tests and benchmarks, with its own folder and port; under root it runs as another user."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg

from scripts.ports import free_port

__all__ = ["PostgresServer", "is_installed", "postgres_server"]

USER = "postgres"


def is_installed() -> bool:
    """Return whether PostgreSQL's programs are installed."""
    return _find("postgres") is not None


def binary(name: str) -> str:
    """Return the path of a PostgreSQL program."""
    found = _find(name)
    assert found is not None, "expected PostgreSQL to be installed (sh scripts/install_postgres.sh)"
    return found


def _find(name: str) -> str | None:
    installed = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]))
    return shutil.which(name) or (str(installed[-1]) if installed else None)


class PostgresServer:
    """A server that can be stopped and restarted on the same port and data; its local socket is in its folder.

    Args:
        folder: its data folder; empty, or left by an earlier server.
        durable: whether commits survive a crash, and dead rows are cleaned up; False halves the time of tests.
        primary: a running server of which it is the standby.
    """

    def __init__(self, folder: Path, *, durable: bool, primary: "PostgresServer | None" = None) -> None:
        # Without autovacuum: it would process hundreds of databases in turn, long after their tests have ended.
        off = ("fsync", "full_page_writes", "synchronous_commit", "autovacuum")
        self._settings = {} if durable else dict.fromkeys(off, "off")
        self.folder = folder
        self._log = folder / "log"
        self._process: subprocess.Popen[bytes] | None = None
        self._num_databases = 0
        self.port = free_port()
        # PostgreSQL refuses to run as root.
        self._user = USER if os.getuid() == 0 else None
        if self._user:
            shutil.chown(folder, self._user)
        if (folder / "data").exists():
            return
        if primary is None:
            program = "initdb"
            options = ["--no-sync", "--auth=trust", f"--username={USER}", "--no-instructions", "-D", "data"]
        else:
            program = "pg_basebackup"
            options = ["-d", primary.url("postgres"), "--write-recovery-conf", "--checkpoint=fast", "-D", "data"]
        with self._run(program, *options) as process:
            assert process.wait(60) == 0, self._log.read_text()

    def _run(self, program: str, *options: str) -> "subprocess.Popen[bytes]":
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [binary(program), *options],
                cwd=self.folder,
                stdout=log,
                stderr=log,
                user=self._user,
                group=self._user,
                extra_groups=[] if self._user else None,
            )

    def start(self) -> None:
        """Start the server and wait until it answers."""
        settings = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self.folder),
            "max_connections": 50,
            **self._settings,
        }
        options = [text for name, value in settings.items() for text in ("-c", f"{name}={value}")]
        self._process = self._run("postgres", "-D", "data", *options)
        for _ in range(600):
            assert self._process.poll() is None, self._log.read_text()
            with contextlib.suppress(psycopg.OperationalError):
                psycopg.connect(self.url("postgres"), connect_timeout=2).close()
                return
            time.sleep(0.05)
        raise AssertionError("PostgreSQL does not answer")

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop the server: SIGINT as an operator would, SIGQUIT to simulate a crash."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(how)
            process.wait(30)

    def wait_for_standby(self) -> None:
        """Acknowledge commits only when a standby has them too; its name is the default one of a standby."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET synchronous_standby_names = 'walreceiver'")
            connection.execute("SELECT pg_reload_conf()")
            for _ in range(600):
                found = connection.execute("SELECT sync_state FROM pg_stat_replication").fetchall()
                if found == [("sync",)]:
                    return
                time.sleep(0.05)
        raise AssertionError(f"expected a synchronous standby, got {found}")

    def set_read_only(self, value: bool) -> None:
        """Refuse or take further commits, as managed databases do before a switch and on a full disk."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute("SET default_transaction_read_only = off")
            connection.execute(f"ALTER SYSTEM SET default_transaction_read_only = {'on' if value else 'off'}".encode())
            connection.execute("SELECT pg_reload_conf()")

    def promote(self) -> None:
        """Make a standby the primary; return once it takes commits."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            assert connection.execute("SELECT pg_promote(true, 60)").fetchone() == (True,)

    def url(self, database: str) -> str:
        """Return the URL for `--store`."""
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{database}"

    def make_database(self, like: str = "template1") -> str:
        """Create a database, empty or a copy of another that is not in use, and return its URL."""
        self._num_databases += 1
        name = f"test_{self._num_databases}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {like}".encode())
        return self.url(name)


@contextlib.contextmanager
def postgres_server(*, durable: bool = False, primary: PostgresServer | None = None) -> Iterator[PostgresServer]:
    """Run a server until the block ends; see `PostgresServer`."""
    # Not below pytest's folder, which only its owner can access.
    with tempfile.TemporaryDirectory(prefix="recis-postgres-") as folder:
        server = PostgresServer(Path(folder), durable=durable, primary=primary)
        server.start()
        try:
            yield server
        finally:
            server.stop()
