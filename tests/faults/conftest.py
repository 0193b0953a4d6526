"""One healthy server for the tests that break only connections, and a client with short retry intervals."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import recis.monitor
from recis.bridge import sender, sockets
from tests.faults.proxy import Proxy
from tests.faults.reports import Reported, address_of, serve


@pytest.fixture(scope="module")
def server_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server for the tests of one file."""
    with serve(tmp_path_factory.mktemp("server")) as server:
        yield address_of(server)


@pytest.fixture
def proxy(server_address: str) -> Iterator[Proxy]:
    """A proxy in front of that server."""
    with Proxy(int(server_address.rpartition(":")[2])) as made:
        yield made


@pytest.fixture
def spool(tmp_path: Path) -> str:
    """The spool of this test's training."""
    return str(tmp_path / "spool")


@pytest.fixture
def opened(proxy: Proxy, spool: str, impatient: None) -> Iterator[Callable[[str], Reported]]:
    """Open runs through the proxy; those that a failing test leaves open are closed."""
    made: list[Reported] = []

    def open_it(run_id: str) -> Reported:
        made.append(Reported(recis.monitor.init(proxy.address, run_id=run_id, spool_dir=spool)))
        return made[-1]

    yield open_it
    for reported in made:
        if reported.run.is_open:
            reported.run.finish(timeout_s=0.1)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the waits of the client."""
    monkeypatch.setattr(sender, "BACKOFF_S", (0.05, 0.5))
    monkeypatch.setattr(sockets, "CONNECT_S", 1.0)
    monkeypatch.setattr(sockets, "PING_S", 1.0)
    monkeypatch.setattr(sockets, "SILENCE_S", 1.5)
