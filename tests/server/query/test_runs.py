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


@pytest.mark.parametrize("age_s", [-3600, 0, 601, 10**9])
def test_a_run_that_stays_away_is_disconnected_for_good(age_s: int) -> None:
    assert shown_state(ROW._replace(updated_ns=time.time_ns() - age_s * 10**9), Said(None)) == "disconnected"
