"""The options of the demo: accepted and refused values, and those passed to the server."""

import argparse
import subprocess
import sys
from pathlib import Path

import pytest
from recis_server import demo

from recis.demo.incidents import BEGIN, GROWING_TABLE, INCIDENTS


def parse(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(exit_on_error=False)
    demo.add_arguments(parser)
    return parser.parse_args(arguments)


def test_the_defaults_can_be_watched_for_minutes() -> None:
    options = parse()
    assert (options.steps, options.incident, options.exit, options.no_browser) == (None, None, False, False)
    assert 1 <= options.rate <= 10


def test_a_slow_rank_is_slow_beside_others_and_each_incident_is_one_of_the_trainings() -> None:
    def ranks(*arguments: str) -> str:
        options = parse(*arguments)
        options.data = None
        command = demo.training_command(options, [])
        return command[command.index("--nproc-per-node") + 1] if "--nproc-per-node" in command else "1"

    assert set(demo.INCIDENTS) == set(INCIDENTS)
    for text in demo.INCIDENTS.values():
        assert f"From step {BEGIN} on" in text
    assert GROWING_TABLE in demo.INCIDENTS["growing-table"]
    assert [ranks(), ranks("--ranks", "3"), ranks("--incident", "nan")] == ["1", "3", "1"]
    slow = ("--incident", "slow-rank")
    assert [ranks(*slow), ranks(*slow, "--ranks", "1"), ranks(*slow, "--ranks", "3")] == ["4", "2", "3"]


@pytest.mark.parametrize(
    ("option", "value"),
    [("--steps", "0"), ("--incident", "flood"), ("--ranks", "-1"), ("--rate", "-1"), ("--rate", "inf")],
)
def test_a_number_out_of_bounds_is_named(option: str, value: str) -> None:
    with pytest.raises(argparse.ArgumentError, match=value):
        parse(option, value)


@pytest.mark.slow
def test_bad_usage_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "recis_server", "demo", "--steps", "many"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "many" in done.stderr
    assert list(tmp_path.iterdir()) == []
