"""Lines of hooks in a separate process: what is shown depends on its logging configuration."""

import subprocess
import sys

import pytest

USE = """
import logging, sys
from recis.hooks.console import hook_logger, refresh_console
logger = hook_logger("recis.hooks.logger_hook")
def say():
    refresh_console()
    logger.info("a line")
"""


def streams_of(script: str) -> tuple[str, str]:
    done = subprocess.run([sys.executable, "-c", USE + script], capture_output=True, text=True, check=True)
    return done.stdout, done.stderr


@pytest.mark.parametrize(
    ("script", "out", "err"),
    [
        ("say()", "a line\n", ""),
        ("logger.info('by a subclass')", "by a subclass\n", ""),
        ("hook_logger('recis.hooks.filter_hook'); say(); say()", "a line\na line\n", ""),
        ("logger.warning('beware')", "", "beware\n"),
        ("logger.addHandler(logging.StreamHandler()); say()", "a line\n", "a line\n"),
        ("sys.stdout = sys.stderr; say()", "", "a line\n"),
    ],
)
def test_a_line_is_seen_where_nobody_has_set_up_logging(script: str, out: str, err: str) -> None:
    assert streams_of(script) == (out, err)


@pytest.mark.parametrize(
    ("script", "out", "err"),
    [
        ("logging.basicConfig(level='INFO', format='own %(message)s'); say()", "", "own a line\n"),
        ("say(); logging.basicConfig(level='INFO', format='own %(message)s'); say()", "a line\n", "own a line\n"),
        ("logging.basicConfig(level='WARNING'); say()", "", ""),
        ("say(); logging.basicConfig(level='WARNING'); say()", "a line\n", ""),
        ("logging.getLogger('recis').setLevel('ERROR'); say()", "", ""),
        ("logging.getLogger('recis.hooks').setLevel('ERROR'); say()", "", ""),
        ("logging.disable(); say()", "", ""),
        ("logging.getLogger().addHandler(logging.NullHandler()); say()", "", ""),
    ],
)
def test_whoever_sets_up_logging_decides(script: str, out: str, err: str) -> None:
    assert streams_of(script) == (out, err)
