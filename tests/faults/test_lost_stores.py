"""The data folder is removed under a running server, and restored or not: nothing is acknowledged but stored data."""

import json
import os
import shutil
import signal
import urllib.error
from pathlib import Path

import pytest

import recis.monitor
from tests.e2e.processes import RunningCommand, get_json, until
from tests.faults.reports import Reported, address_of, count, maintenance_workers, serve, stored

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180), pytest.mark.usefixtures("impatient")]


def said(address: str, path: str) -> tuple[int, str]:
    """Return the status of an answer, and the message of an error."""
    try:
        get_json(f"{address}{path}")
    except urllib.error.HTTPError as error:
        return error.code, str(json.load(error)["error"]["message"])
    return 200, ""


def lost(server: RunningCommand, address: str) -> str:
    """Wait until the server reports the loss of its store, and return the message, which must not contain a path."""
    until(lambda: said(address, "/readyz")[0] == 503, 30, "the loss noticed")
    for path in ("/readyz", "/api/v1/runs", "/api/v1/runs/lost", "/api/v1/runs/lost/metrics"):
        status, message = said(address, path)
        assert status == 503, path
        assert str(server.folder) not in message
        assert address.rpartition(":")[2] not in message
    assert said(address, "/healthz")[0] == 200
    return message


@pytest.mark.parametrize("how", ["removed", "replaced"])
def test_what_comes_after_a_store_is_gone_is_kept_for_the_next_one(tmp_path: Path, how: str) -> None:
    with serve(tmp_path / "server") as server:
        address = address_of(server)
        reported = Reported(recis.monitor.init(address, run_id="lost", spool_dir=str(tmp_path / "spool")))
        reported.log(100)
        until(lambda: count(address, "lost", "value") == 100, 30, "the first points")
        if how == "removed":
            shutil.rmtree(server.data)
        else:
            with serve(tmp_path / "other") as other:
                address_of(other)
            (other.data / "recis.db").replace(server.data / "recis.db")
        reported.log(1)
        message = lost(server, address)
        assert "restart the server" in message
        # The maintenance worker does not create it either, even if it is restarted.
        os.kill(until(lambda: maintenance_workers(server), 10, "a worker")[0], signal.SIGKILL)
        reported.log(99)
        until(
            lambda: server.output.count("maintenance worker exited") and maintenance_workers(server),
            20,
            "another worker",
        )
        until(lambda: server.output.count("maintenance is waiting") >= 1, 20, "a worker that finds nothing")
        assert not server.data.exists() or how == "replaced"
        assert said(address, "/readyz")[0] == 503
        assert server.interrupt() == 0
    assert "Traceback" not in server.output
    with serve(tmp_path / "server", address.rpartition(":")[2]) as again:
        assert address_of(again) == address
        reported.log(10)
        assert reported.run.finish(timeout_s=60)
        for key, sign in (("value", 1), ("other/value", -1)):
            points = stored(address, "lost", key)
            first = points[0][0]
            assert first <= 100, "what came after the loss is there"
            assert points == [(step, sign * step / 7) for step in range(first, reported.num_rows)]


def test_a_folder_that_is_given_back_is_gone_on_with(tmp_path: Path) -> None:
    with serve(tmp_path / "server") as server:
        address = address_of(server)
        reported = Reported(recis.monitor.init(address, run_id="lost", spool_dir=str(tmp_path / "spool")))
        for _ in range(2):
            reported.log(500)
            until(lambda: count(address, "lost", "value") == reported.num_rows, 30, "all points")
            server.data.rename(tmp_path / "away")
            reported.log(500)
            assert "put it back" in lost(server, address)
            (tmp_path / "away").rename(server.data)
            until(lambda: said(address, "/readyz")[0] == 200, 30, "the store back")
        assert reported.run.finish(timeout_s=60)
        reported.check(address)
    assert server.output.count("the store is available again") >= 1
