"""Incidents: batches are untouched before them, and changed in one way from then on, over all passes."""

from pathlib import Path

import pytest
import torch

from recis.demo.data import Batch, load
from recis.demo.incidents import GROWING_TABLE, INCIDENTS, Eventful


@pytest.fixture
def batches(five_ratings: Path) -> list[Batch]:
    return list(load(five_ratings).batches(2))


@pytest.mark.parametrize("name", INCIDENTS)
def test_before_an_incident_nothing_is_changed(batches: list[Batch], name: str) -> None:
    waited: list[float] = []
    stream = Eventful(batches, name, begin=3, wait=waited.append)
    assert all(batch is healthy for batch, healthy in zip(stream, batches, strict=True))
    assert waited == []


def test_damaged_labels_are_not_numbers_in_every_later_pass(batches: list[Batch]) -> None:
    stream = Eventful(batches, "nan", begin=2, wait=float)
    damaged = [bool(batch.label.isnan().all()) for _ in range(2) for batch in stream]
    assert damaged == [False, False, True, True, True, True]


def test_a_growing_table_never_sees_an_id_again_and_other_tables_do(batches: list[Batch]) -> None:
    stream = Eventful(batches, "growing-table", begin=0, wait=float)
    seen: set[int] = set()
    for _ in range(2):
        for batch, healthy in zip(stream, batches, strict=True):
            ids = batch.bags[GROWING_TABLE].ids.tolist()
            assert len(set(ids)) == len(ids)
            assert not seen & set(ids)
            seen |= set(ids)
            assert torch.equal(batch.bags[GROWING_TABLE].owner, healthy.bags[GROWING_TABLE].owner)
            assert all(batch.bags[name] is bag for name, bag in healthy.bags.items() if name != GROWING_TABLE)


@pytest.mark.parametrize(("rank", "waits"), [("0", 0), ("1", 0), ("2", 2)])
def test_the_last_rank_waits_for_longer_than_a_step_took(
    batches: list[Batch], monkeypatch: pytest.MonkeyPatch, rank: str, waits: int
) -> None:
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", "3")
    waited: list[float] = []
    stream = Eventful(batches, "slow-rank", begin=1, wait=waited.append)
    assert [batch is healthy for batch, healthy in zip(stream, batches, strict=True)] == [True] * 3
    assert len(waited) == waits
    assert all(0 < seconds <= 5 for seconds in waited)
    assert waited == [pytest.approx(3 * stream.healthy_s)] * waits
