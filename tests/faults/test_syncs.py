"""`recis-monitor sync`, interrupted at any moment and in any way, and repeated."""

import random
import signal
import subprocess
from pathlib import Path

import pytest

import recis.monitor
from tests.e2e.processes import COMMAND, get_json, until
from tests.faults.proxy import Proxy
from tests.faults.reports import Reported, address_of, count, serve, sync

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

STEPS = 300_000
"""More segments than eight killed syncs get rid of, some with megabytes in the kernel."""


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def reported(spool: Path) -> Reported:
    """An offline run with all of its reports in the spool."""
    reported = Reported(recis.monitor.init(mode="offline", run_id="interrupted", spool_dir=str(spool)))
    reported.log(STEPS)
    reported.run.finish()
    return reported


class Syncing:
    """The command as a process, with a slow connection."""

    def __init__(self, spool: Path, proxy: Proxy) -> None:
        self._proxy = proxy
        self._links = len(proxy.links)
        self.process = subprocess.Popen(
            [COMMAND, "sync", str(spool), "--url", proxy.address],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def has_sent(self, num_bytes: int) -> bool:
        return self.process.poll() is not None or any(
            link.moved["up"] >= num_bytes for link in self._proxy.links[self._links :]
        )

    def interrupt(self, how: int) -> tuple[int, str, str]:
        """Interrupt it, and return its exit status and output."""
        self.process.send_signal(how)
        output, errors = self.process.communicate(timeout=30)
        return self.process.returncode, output, errors


def test_a_sync_that_is_killed_again_and_again_sends_everything_once(
    tmp_path: Path, spool: Path, reported: Reported
) -> None:
    places = random.Random(8)
    with serve(tmp_path / "server") as server, Proxy(int(address_of(server).rpartition(":")[2])) as proxy:
        address = address_of(server)
        proxy.bytes_per_s = 1_000_000.0
        kills = 0
        for number in range(8):
            syncing = Syncing(spool, proxy)
            enough = places.choice([0, 1, 500, places.randrange(1000, 300_000)])
            until(lambda enough=enough, one=syncing: one.has_sent(enough), 60, "enough for the kill")  # type: ignore[misc]
            kills += syncing.interrupt(signal.SIGKILL)[0] == -signal.SIGKILL
            if number % 4:
                # Otherwise data in the kernel would still reach the server while the next process starts.
                proxy.cut()
        assert kills >= 5
        proxy.bytes_per_s = None
        done = sync(spool, address)
        assert (done.returncode, done.stderr) == (0, "")
        assert not spool.exists()
        reported.check(address)
        assert get_json(f"{address}/api/v1/runs/interrupted")["state"] == "finished"


def test_a_sync_that_is_interrupted_says_so_and_goes_on_where_it_was(
    tmp_path: Path, spool: Path, reported: Reported
) -> None:
    with serve(tmp_path / "server") as server, Proxy(int(address_of(server).rpartition(":")[2])) as proxy:
        address = address_of(server)
        proxy.bytes_per_s = 1_000_000.0
        syncing = Syncing(spool, proxy)
        until(lambda: known(address) > 0, 60, "the first points")
        status, output, errors = syncing.interrupt(signal.SIGINT)
        assert (status, output, errors) == (130, "", "interrupted; the same command continues where it stopped\n")
        before = known(address)
        assert 0 < before < STEPS
        proxy.bytes_per_s = None
        links = len(proxy.links)
        assert sync(spool, proxy.address).returncode == 0
        sent = sum(link.moved["up"] for link in proxy.links[links:])
        assert sent < 40 * (STEPS - before) + (3 << 20), "sent again from its start"
        assert not spool.exists()
        reported.check(address)


def known(address: str) -> int:
    return count(address, "interrupted", "value")
