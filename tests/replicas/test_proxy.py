"""Several servers behind the proxy of `docker-compose.yml`: one that is killed is noticed by nobody for long.

Without nginx there is nothing to run: the test is left out rather than skipped.
"""

import contextlib
import shutil
import socket
import subprocess
import urllib.error
from collections.abc import Iterator
from pathlib import Path

import pytest

import recis.monitor
from scripts.ports import free_port
from tests.e2e.processes import get_json, until
from tests.faults.reports import Reported
from tests.replicas.deployment import deployment
from tests.replicas.test_storm import Browser, watching
from tests.rules.sources import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@contextlib.contextmanager
def nginx(folder: Path, servers: list[str]) -> Iterator[str]:
    """Run the proxy until the block ends; return its address."""
    port = free_port()
    text = (ROOT / "deploy" / "compose" / "nginx.conf").read_text(encoding="utf-8")
    [line] = (line for line in text.splitlines(keepends=True) if "server-2:8765" in line)
    further = (line.replace("server-2", f"server-{n}") for n in range(3, len(servers) + 1))
    text = text.replace(line, line + "".join(further))
    changes = {f"server-{n}:8765": one.removeprefix("http://") for n, one in enumerate(servers, start=1)}
    for old, new in {**changes, "listen 8080": f"listen 127.0.0.1:{port}", "/tmp": str(folder)}.items():
        assert old in text
        text = text.replace(old, new)
    config = folder / "nginx.conf"
    config.write_text(text)
    process = subprocess.Popen(["nginx", "-c", str(config), "-e", "stderr", "-g", "daemon off;"])

    def listens() -> bool:
        assert process.poll() is None
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    try:
        until(listens, 30, "the proxy listens")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def is_answered(address: str) -> bool:
    with contextlib.suppress(urllib.error.HTTPError):
        return bool(get_json(f"{address}/api/v1/runs")["runs"])
    return False


if shutil.which("nginx"):

    @pytest.mark.usefixtures("impatient")
    def test_requests_streams_and_browsers_go_on_when_a_server_is_killed(tmp_path: Path) -> None:
        with deployment(tmp_path, 2) as servers, nginx(tmp_path, servers.addresses) as address:
            reported = Reported(recis.monitor.init(address, run_id="one", spool_dir=str(tmp_path / "spool")))
            reported.log(20)
            until(lambda: is_answered(address), 60, "the run is known")
            browser = Browser(address, "one")
            with watching([browser]):
                until(lambda: browser.last() == reported.num_rows - 1, 60, "all is drawn")
                servers.kill(0)
                reported.log(20)
                assert all(is_answered(address) for _ in range(20))
                until(lambda: browser.last() == reported.num_rows - 1, 60, "all is drawn again")
                servers.restart(0)
                assert reported.run.finish(timeout_s=60)
                until(lambda: browser.num_points() == reported.num_rows, 60, "each is drawn once")
            reported.check(address)
