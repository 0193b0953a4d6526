"""`recis.bridge.identity`: all ranks of a job determine the same run and attempt."""

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recis.bridge.identity import check_place, identify
from recis.wire.codec import is_id
from tests.recis.raising import Hidden, Raises
from tests.recis.test_launch import LAUNCHERS


@pytest.fixture(autouse=True)
def no_launcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith((*LAUNCHERS, "TORCHELASTIC_")):
            monkeypatch.delenv(name)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def as_rank(monkeypatch: pytest.MonkeyPatch, rank: int, **variables: str) -> None:
    for name, value in {"RANK": str(rank), "WORLD_SIZE": "4", "MASTER_PORT": "29500", **variables}.items():
        monkeypatch.setenv(name, value)


def test_a_process_of_its_own_has_a_new_run_each_time() -> None:
    first, second = identify(None), identify(None)
    assert first.run != second.run
    assert (first.rank, first.world_size) == (0, 1)
    assert all(is_id(text) for text in (first.run, first.attempt, first.writer))


def test_a_given_run_is_kept_and_each_start_is_an_attempt() -> None:
    first, second = identify("mine"), identify("mine")
    assert first.run == second.run == "mine"
    assert first.attempt != second.attempt


@pytest.mark.parametrize(
    "variables",
    [{}, {"TORCHELASTIC_RUN_ID": "none"}, {"TORCHELASTIC_RUN_ID": "job/1 🚂"}, {"SLURM_JOB_ID": "123"}],
)
def test_ranks_of_a_launcher_meet_without_configuration(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    found = []
    for rank in range(4):
        as_rank(monkeypatch, rank, **variables)
        found.append(identify(None))
    assert len({identity.run for identity in found}) == 1
    assert len({identity.attempt for identity in found}) == 1
    assert len({identity.writer for identity in found}) == 4
    assert [identity.rank for identity in found] == [0, 1, 2, 3]
    assert all(is_id(identity.run) for identity in found)


def test_an_elastic_job_names_the_run_and_a_restart_is_a_new_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    as_rank(monkeypatch, 0, TORCHELASTIC_RUN_ID="nightly", TORCHELASTIC_RESTART_COUNT="0")
    first = identify(None)
    as_rank(monkeypatch, 0, TORCHELASTIC_RUN_ID="nightly", TORCHELASTIC_RESTART_COUNT="1")
    second = identify(None)
    assert first.run == second.run == "nightly"
    assert first.attempt != second.attempt


def test_two_jobs_on_one_machine_stay_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    as_rank(monkeypatch, 0, MASTER_PORT="29500")
    first = identify(None)
    as_rank(monkeypatch, 0, MASTER_PORT="29501")
    assert identify(None).run != first.run


def test_rank_and_size_may_be_given(monkeypatch: pytest.MonkeyPatch) -> None:
    as_rank(monkeypatch, 1)
    first, second = identify(None, 5, 8), identify(None, np.int64(6), np.int64(8))  # type: ignore[arg-type]
    assert [(one.rank, one.world_size) for one in (first, second)] == [(5, 8), (6, 8)]
    assert (first.run, first.attempt) == (second.run, second.attempt)
    assert identify("mine", 5, 8).run == "mine"


@pytest.mark.parametrize(
    ("rank", "world_size"),
    [
        (0, None),
        (None, 2),
        (2, 2),
        (-1, 2),
        (0, 0),
        (0, 1 << 31),
        ("0", 2),
        (0.0, 2),
        (True, 2),
        (0, "x" * 1000),
        (np.float64(0), 2),
    ],
)
def test_a_rank_that_is_none_teaches(rank: Any, world_size: Any) -> None:
    with pytest.raises(ValueError, match="rank, world_size: expected two ints, the first at least 0") as caught:
        check_place(rank, world_size)
    assert len(str(caught.value)) < 300


def test_a_rank_that_raises_teaches() -> None:
    for rank in (Raises(), Hidden(), np.zeros(2), np.float64(0)):
        with pytest.raises(ValueError, match="rank, world_size: expected two ints"):
            check_place(rank, 2)  # type: ignore[arg-type]
