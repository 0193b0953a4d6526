"""The logger of RecIS: lines without any configuration, each on its stream."""

import logging
import re
import subprocess
import sys

import pytest

from recis.utils.logger import Logger


def test_a_script_needs_no_setting_up() -> None:
    script = (
        "from recis.utils.logger import Logger\n"
        "logger = Logger('mine')\n"
        "logger = Logger('mine')\n"
        "logger.info('step %d', 3)\n"
        "logger.warning('slow')\n"
        "logger.error('broken')\n"
        "logger.debug('detail')\n"
        "import sys; assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert re.fullmatch(r"\[[^]]+\] \[INFO\] \[mine\] step 3\n", done.stdout)
    levels = re.findall(r"^\[[^]]+\] \[(\w+)\] \[mine\] (\w+)$", done.stderr, re.MULTILINE)
    assert levels == [("WARNING", "slow"), ("ERROR", "broken"), ("DEBUG", "detail")]


def test_lines_go_where_the_streams_are_now(capsys: pytest.CaptureFixture[str]) -> None:
    Logger("now").info("here")
    assert capsys.readouterr().out.endswith("[INFO] [now] here\n")


def test_only_rank_0_says_what_is_for_rank_0(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    logger = Logger("ranks")
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        for say in (logger.info_rank0, logger.warning_rank0, logger.error_rank0):
            say("from %s", rank)
    captured = capsys.readouterr()
    assert captured.out.count("from 0") == 1
    assert captured.err.count("from 0") == 2
    assert "from 1" not in captured.out + captured.err


def test_lower_levels_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    logger = Logger("quiet", level=logging.ERROR)
    logger.info("no")
    logger.error("yes")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.endswith("yes\n")
