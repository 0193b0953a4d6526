"""Tests of several workers: those that run alone, those that keep a core busy, and those that wait. All of them run."""

import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = """
from tests.turns import Turns

def pytest_configure(config):
    if hasattr(config, "workerinput"):
        config.pluginmanager.register(Turns(config.cache.mkdir("turns"), 2))
"""
MODULE = """
import os, time
import pytest

@pytest.fixture(autouse=True)
def noted(request):
    with open("notes", "a") as notes:
        for sign in "+-":
            notes.write(f"{sign}{request.node.nodeid}\\n")
            notes.flush()
            if sign == "+":
                yield

@pytest.mark.parametrize("number", range(10))
def test_beside(number):
    time.sleep(0.02)

@pytest.mark.alone
@pytest.mark.parametrize("number", range(3))
def test_alone(number):
    time.sleep(0.02)

@pytest.mark.waits
@pytest.mark.parametrize("number", range(3))
def test_waiting(number):
    time.sleep(0.2)

def test_after():
    pass
"""


@pytest.mark.slow
def test_what_is_alone_has_nothing_beside_it_places_are_bounded_and_all_run(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n  alone: measures time\n  waits: waits\n")
    for number in range(4):
        (tmp_path / f"test_{number}.py").write_text(MODULE)
    command = [sys.executable, "-m", "pytest", "-q", "-n", "4", "--dist", "loadfile", "-p", "no:schemathesis"]
    root = str(Path(__file__).parents[1])
    done = subprocess.run(
        command, cwd=tmp_path, env={"PYTHONPATH": root, "PATH": ""}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    running: set[str] = set()
    num_beside = most_busy = most = 0
    notes = (tmp_path / "notes").read_text().splitlines()
    for note in notes:
        test = note[1:]
        if note[0] == "-":
            running.remove(test)
            continue
        running.add(test)
        num_beside += len(running) > 1
        most_busy = max(most_busy, sum("test_waiting" not in each for each in running))
        most = max(most, len(running))
        assert len(running) == 1 or not any("test_alone" in each for each in running), running
    assert len(notes) == 2 * 4 * 17
    assert (most_busy, most > 2) == (2, True)
    assert num_beside > 0, "expected workers to run tests beside each other"
