"""How often a training sends: at the refresh rate of the page while the run is viewed, less often otherwise."""

import json
import time
from pathlib import Path

import pytest
from websockets.sync.client import connect

import recis.monitor
from tests.e2e.processes import until
from tests.faults.reports import address_of, meter, serve

pytestmark = [pytest.mark.alone, pytest.mark.slow, pytest.mark.timeout(120)]
PERIOD_S = 4.0


def frames_while_reporting(run: recis.monitor.Run, address: str, step: int) -> float:
    """Return the number of frames that the server commits during steady reports."""
    before, end = meter(address, "recis_frames_total"), time.monotonic() + PERIOD_S
    while time.monotonic() < end:
        step += 1
        run.log({"loss": 1.0 / step}, step)
        time.sleep(0.01)  # one training step
    return meter(address, "recis_frames_total") - before


def test_a_run_that_nobody_watches_is_sent_less_often(tmp_path: Path) -> None:
    with serve(tmp_path / "data") as server:
        address = address_of(server)
        with recis.monitor.init(address, run_id="r", spool_dir=str(tmp_path / "spool")) as run:
            run.log({"loss": 1.0}, 0)
            until(lambda: meter(address, "recis_frames_total"), 30, "the first frame, which goes at once")
            alone = frames_while_reporting(run, address, 0)
            with connect(f"{address.replace('http', 'ws')}/ws/live", max_size=None) as page:
                page.send(json.dumps({"type": "watch", "id": 1, "run": "r", "keys": ["loss"]}))
                page.recv()
                watched = frames_while_reporting(run, address, 1000)
            assert 1 <= alone <= watched / 2
