"""A real training: values that were set apply from the first filter pass of the next start, and an action ends it
normally.
"""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.children import TRAINING, Child, start
from tests.control.job import Server, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.waits]


def train(server: Server, folder: Path, attempt: int) -> Child:
    environment = {
        **os.environ,
        "RECIS_MONITOR_URL": server.url,
        "RECIS_MONITOR_RUN_ID": "job",
        "TORCHELASTIC_RUN_ID": "elastic",
        "TORCHELASTIC_RESTART_COUNT": str(attempt),
    }
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"log{attempt}.txt").open("wb") as log:
        command = ["-m", "tests.control.training", str(folder), "2000"]
        return start(*command, imports=TRAINING, env=environment, stdout=log, stderr=subprocess.STDOUT)


def test_what_was_set_holds_from_the_first_filter_pass_and_a_stop_ends_it_well(tmp_path: Path) -> None:
    with Server(tmp_path / "data") as server:

        def training() -> bool:
            runs = server.ask("GET", "/runs")["runs"]
            return bool(runs) and (runs[0]["last_step"] or 0) > 3

        def done(command: dict[str, Any]) -> dict[str, Any] | None:
            found: dict[str, Any] = server.ask("GET", f"/runs/job/commands/{command['id']}")
            return found if found["state"] == "applied" else None

        first = train(server, tmp_path / "job", 0)
        try:
            until(training, 60, "it trains")
            body = {"values": {"filter_interval": 5, "table/user/filter_step": 7}, "reason": "less often"}
            command = server.ask("PUT", "/runs/job/controls", body)
            until(lambda: done(command), 20, "it is applied")
        finally:
            first.kill()
            first.wait(20)
        again = train(server, tmp_path / "job", 1)
        try:
            log = tmp_path / "job" / "log1.txt"
            until(lambda: "filter pass after step" in log.read_text(), 60, "it filters")
            # The interval in the code is 2: this attempt has never had it.
            assert re.findall(r"filter pass after step (\d+)", log.read_text())[0] == "5"
            assert server.ask("GET", "/runs/job")["attempts"] == 2
            names = {one["name"]: one for one in server.ask("GET", "/runs/job/controls")["controls"]}
            until(lambda: not _differing(server), 20, "every rank has its desired value")
            assert names["table/user/filter_step"]["desired"] == 7
            assert {"checkpoint", "evaluate", "stop", "profile", "log_step"} <= names.keys()
            stop = server.ask("PUT", "/runs/job/controls/stop", {"value": None, "reason": "enough"})
            assert again.wait(60) == 0
            ended = until(lambda: done(stop), 20, "it is in the ledger")
            assert ended is not None
            assert (ended["requested_by"], ended["reason"]) == ("local", "enough")
            until(lambda: server.ask("GET", "/runs/job")["state"] == "finished", 20, "it has finished")
        finally:
            again.kill()
            again.wait(20)
        assert "Traceback" not in log.read_text()


def _differing(server: Server) -> list[str]:
    return [one["name"] for one in server.ask("GET", "/runs/job/controls")["controls"] if one["differs"]]
