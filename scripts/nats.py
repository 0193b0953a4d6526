"""NATS servers for tests and benchmarks, each with a port of its own; several form a cluster."""

import contextlib
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence

from scripts.ports import free_port

__all__ = ["NatsServer", "nats_cluster", "nats_server"]


class NatsServer:
    """A server that can be stopped and restarted on the same port.

    Args:
        options: further options of `nats-server`.
    """

    def __init__(self, *options: str) -> None:
        self.port = free_port()
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The URL for `--bus`."""
        return f"nats://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start the server and wait until it answers."""
        program = shutil.which("nats-server")
        assert program is not None, "expected NATS to be installed (sh scripts/install_servers.sh)"
        self._process = subprocess.Popen(
            [program, "--addr", "127.0.0.1", "--port", str(self.port), *self._options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(600):
            assert self._process.poll() is None, "NATS has ended"
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.05)
        raise AssertionError("NATS does not answer")

    def stop(self, how: signal.Signals = signal.SIGKILL) -> None:
        """Stop the server."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(how)
            process.wait(30)

    def freeze(self) -> None:
        """Stop answering without closing a connection, as a lost network would."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)


@contextlib.contextmanager
def nats_server(*options: str) -> Iterator[NatsServer]:
    """Run a server until the block ends."""
    server = NatsServer(*options)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@contextlib.contextmanager
def nats_cluster(number: int) -> Iterator[Sequence[NatsServer]]:
    """Run a cluster of servers until the block ends."""
    ports = [free_port() for _ in range(number)]
    routes = ",".join(f"nats://127.0.0.1:{port}" for port in ports)
    servers = [
        NatsServer("--cluster_name", "test", "--cluster", f"nats://127.0.0.1:{port}", "--routes", routes)
        for port in ports
    ]
    try:
        for server in servers:
            server.start()
        yield servers
    finally:
        for server in servers:
            server.stop()
