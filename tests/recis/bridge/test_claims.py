"""`recis.bridge.claims`: trainings of one kind are counted on a machine, each once."""

import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from recis.bridge import claims
from recis.bridge.claims import claim


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path / f"recis-monitor-{os.getuid()}"


def test_launches_are_counted_in_their_scope() -> None:
    assert [claim("a", "first"), claim("a", "second"), claim("b", "first")] == [0, 1, 0]
    assert [claim("a", "second"), claim("a", "first"), claim("a", "third")] == [1, 0, 2]


def test_processes_of_a_launch_that_come_at_once_get_the_same_number(folder: Path) -> None:
    launches = [f"launch {number % 5}" for number in range(200)]
    with ThreadPoolExecutor(16) as pool:
        numbers = list(pool.map(lambda launch: claim("a", launch), launches))
    found = dict(zip(launches, numbers, strict=True))
    assert sorted(found.values()) == [0, 1, 2, 3, 4]
    assert [found[launch] for launch in launches] == numbers
    assert len(list(folder.iterdir())) == 5


def test_claims_of_long_ago_are_forgotten(folder: Path) -> None:
    claim("a", "old")
    for path in folder.iterdir():
        os.utime(path, (time.time() - 40 * 86_400,) * 2)
    assert claim("a", "new") == 0


def test_the_number_of_claims_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "MAX_CLAIMS", 3)
    assert [claim("a", str(number)) for number in range(3)] == [0, 1, 2]
    with pytest.raises(OSError, match="expected at most 3 trainings of a kind"):
        claim("a", "one more")


def test_a_folder_of_somebody_else_is_not_used(folder: Path) -> None:
    folder.symlink_to("/tmp")
    with pytest.raises(PermissionError, match="to be a folder of this user"):
        claim("a", "launch")
