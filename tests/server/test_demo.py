"""The demo's options: what they take, what they refuse, and what the server gets of them."""

import argparse
import subprocess
import sys
from pathlib import Path

import pytest
from recis_server import demo


def parse(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(exit_on_error=False)
    demo.add_arguments(parser)
    return parser.parse_args(arguments)


def test_the_defaults_can_be_watched_for_minutes() -> None:
    options = parse()
    assert (options.steps, options.ranks, options.exit, options.no_browser) == (None, 1, False, False)
    assert 1 <= options.rate <= 10


@pytest.mark.parametrize(
    ("option", "value"), [("--steps", "0"), ("--ranks", "-1"), ("--rate", "-1"), ("--rate", "inf")]
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
