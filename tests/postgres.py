"""A real PostgreSQL server for tests: its own folder and port, started as another user where the tests run as root."""

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg

__all__ = ["PostgresServer", "postgres_server"]

USER = "postgres"


def binary(name: str) -> str:
    """Where a program of PostgreSQL is."""
    found = shutil.which(name)
    if found is not None:
        return found
    installed = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]))
    assert installed, "expected PostgreSQL to be installed (sh scripts/install_postgres.sh)"
    return str(installed[-1])


class PostgresServer:
    """See the module; stopped and started again at will, always on the same port and data."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._num_databases = 0
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        # It refuses to run as root; another user must reach the folder.
        self._as_user = ["runuser", "-u", USER, "--"] if os.getuid() == 0 else []
        if self._as_user:
            shutil.chown(folder, USER)
            for parent in folder.parents:
                if parent.stat().st_uid == os.getuid() and parent != Path("/"):
                    parent.chmod(parent.stat().st_mode | 0o011)
        self._run(binary("initdb"), "--auth=trust", f"--username={USER}", "--no-instructions", "-D", "data")

    def _run(self, *command: str) -> None:
        subprocess.run([*self._as_user, *command], cwd=self._folder, check=True, stdout=subprocess.DEVNULL)

    def start(self) -> None:
        """Starts it and waits until it answers."""
        settings = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self._folder),
            "max_connections": 50,
        }
        options = [text for name, value in settings.items() for text in ("-c", f"{name}={value}")]
        with (self._folder.parent / "postgres.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self._as_user, binary("postgres"), "-D", "data", *options], cwd=self._folder, stdout=log, stderr=log
            )
        for _ in range(600):
            assert self._process.poll() is None, (self._folder.parent / "postgres.log").read_text()
            with contextlib.suppress(psycopg.OperationalError):
                psycopg.connect(self.url("postgres"), connect_timeout=2).close()
                return
            time.sleep(0.05)
        raise AssertionError("PostgreSQL does not answer")

    def stop(self, mode: str = "fast") -> None:
        """Ends it, `fast` as an operator would, `immediate` as a crash would."""
        process, self._process = self._process, None
        if process is not None:
            self._run(binary("pg_ctl"), "stop", "-m", mode, "-D", "data")
            process.wait(30)

    def url(self, database: str) -> str:
        """What `--store` is given."""
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{database}"

    def make_database(self) -> str:
        """The URL of a new, empty database."""
        self._num_databases += 1
        name = f"test_{self._num_databases}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return self.url(name)


@contextlib.contextmanager
def postgres_server(folder: Path) -> Iterator[PostgresServer]:
    """A server that runs until the block ends."""
    folder.mkdir()
    server = PostgresServer(folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()
