"""`recis.bridge.identity`: all ranks of a job come to one run and one attempt."""

import pytest

from recis.bridge.identity import identify
from recis.wire.codec import is_id

LAUNCH = ["RANK", "WORLD_SIZE", "LOCAL_RANK", "TORCHELASTIC_RUN_ID", "SLURM_JOB_ID", "MASTER_ADDR", "MASTER_PORT"]


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in LAUNCH:
        monkeypatch.delenv(name, raising=False)


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
