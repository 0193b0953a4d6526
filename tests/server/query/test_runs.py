import time
from dataclasses import dataclass

import pytest
from recis_server.query.runs import shown_state
from recis_server.store.values import RunRow

ROW = RunRow("r", "p", "n", "running", 1, 1, (0,), 1, 1, 5, {}, (), "", "{}", 0, 0, 0)


@dataclass
class Said:
    answer: str | None

    def live_state(self, run: str) -> str | None:
        return self.answer

    def live_states(self) -> dict[str, str]:
        return {} if self.answer is None else {"r": self.answer}


@pytest.mark.parametrize("state", ["running", "stalled"])
def test_what_connections_say_of_a_run_that_has_not_ended_is_shown(state: str) -> None:
    assert shown_state(ROW, Said(state)) == state


@pytest.mark.parametrize("state", ["finished", "failed"])
def test_what_ranks_said_last_is_shown_whoever_is_connected(state: str) -> None:
    assert shown_state(ROW._replace(state=state), Said("running")) == state


def test_a_run_that_stays_away_is_stalled() -> None:
    now = time.time_ns()
    assert shown_state(ROW._replace(updated_ns=now), Said(None)) == "disconnected"
    assert shown_state(ROW._replace(updated_ns=now - 601 * 10**9), Said(None)) == "stalled"
