import time
from dataclasses import dataclass, replace

import pytest
from recis_server.query.runs import shown_state
from recis_server.store.interface import RunRow

ROW = RunRow("r", "p", "n", "running", 1, 1, (0,), 1, 1, 5, {}, (), "", {}, 0, 0, 0)


@dataclass
class Said:
    answer: str

    def state(self, row: RunRow) -> str:
        return self.answer


@pytest.mark.parametrize("state", ["running", "stalled", "finished", "failed"])
def test_what_presence_says_is_shown(state: str) -> None:
    assert shown_state(ROW, Said(state)) == state


def test_a_run_that_stays_away_is_stalled() -> None:
    now = time.time_ns()
    assert shown_state(replace(ROW, updated_ns=now), Said("disconnected")) == "disconnected"
    assert shown_state(replace(ROW, updated_ns=now - 601 * 10**9), Said("disconnected")) == "stalled"
