"""Several servers on one PostgreSQL database and one NATS server, behind a proxy that spreads connections."""

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path

from scripts.nats import NatsServer, nats_server
from scripts.ports import free_port
from scripts.postgres import PostgresServer, postgres_server
from tests.e2e.processes import RunningCommand
from tests.faults.proxy import Proxy
from tests.faults.reports import address_of, serve

__all__ = ["Deployment", "deployment"]


class Deployment:
    """What runs, and how to break it."""

    def __init__(
        self, folder: Path, number: int, postgres: PostgresServer, nats: NatsServer, standby: PostgresServer | None
    ) -> None:
        self.postgres = postgres
        self.standby = standby
        self.nats = nats
        self._folder = folder
        self._store = postgres.make_database()
        if standby is not None:
            own = f"127.0.0.1:{postgres.port}"
            self._store = self._store.replace(own, f"{own},127.0.0.1:{standby.port}")
        self._ports = [free_port() for _ in range(number)]
        self.servers: list[RunningCommand] = [self._start(place) for place in range(number)]
        self.addresses = [address_of(server) for server in self.servers]
        self.proxy = Proxy(*self._ports)

    def _start(self, place: int) -> RunningCommand:
        folder = self._folder / f"server-{place}"
        options = ("--store", self._store, "--bus", self.nats.url, "--blobs", f"file://{self._folder / 'blobs'}")
        return serve(folder, str(self._ports[place]), *options)

    def kill(self, place: int) -> None:
        """SIGKILL of one server."""
        self.servers[place].process.send_signal(signal.SIGKILL)
        self.servers[place].process.wait(60)

    def freeze(self, place: int) -> None:
        """Stop one without ending it, as a machine does that is short of memory; `thaw` continues it."""
        self.servers[place].process.send_signal(signal.SIGSTOP)

    def thaw(self, place: int) -> None:
        """Continue a frozen one."""
        self.servers[place].process.send_signal(signal.SIGCONT)

    def restart(self, place: int) -> None:
        """Start one again, at its address."""
        self.servers[place] = self._start(place)
        address_of(self.servers[place])

    def close(self) -> None:
        """End everything."""
        self.proxy.close()
        for server in self.servers:
            with server:
                pass


@contextlib.contextmanager
def deployment(folder: Path, number: int, *, has_standby: bool = False) -> Iterator[Deployment]:
    """Run so many servers until the block ends, if wanted on a database with a synchronous standby."""
    with contextlib.ExitStack() as stack:
        postgres = stack.enter_context(postgres_server(durable=True))
        nats = stack.enter_context(nats_server())
        standby = stack.enter_context(postgres_server(durable=True, primary=postgres)) if has_standby else None
        if standby is not None:
            postgres.wait_for_standby()
        made = Deployment(folder, number, postgres, nats, standby)
        try:
            yield made
        except BaseException:
            for place, server in enumerate(made.servers):
                print(f"--- server {place}\n{server.output}")
            raise
        finally:
            made.close()
