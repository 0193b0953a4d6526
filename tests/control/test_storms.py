"""Two hundred commands to each of two jobs while everything around them is killed, stopped and started."""

from pathlib import Path

import pytest

from tests.control.storm import Storm

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_every_command_is_applied_at_one_step_in_order_or_the_ledger_says_where(tmp_path: Path) -> None:
    storm = Storm(tmp_path, seed=11, num_commands=200, duration_s=12.0, rounds=2)
    for run, outcome in storm.run().items():
        # Check the storm itself: ranks were restarted, and most commands that were not superseded were applied at their
        # step.
        assert outcome.lives > 5, run
        assert outcome.exact > 10, (run, outcome)
