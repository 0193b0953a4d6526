"""The click model's arithmetic, against the plain formulas."""

import itertools
import math
from pathlib import Path

import pytest
import torch

from recis.demo.data import FEATURES, Batch, load
from recis.demo.model import ClickModel, auc


@pytest.fixture
def batch(five_ratings: Path) -> Batch:
    return load(five_ratings).batch()


def test_the_auc_counts_pairs_and_ties_by_half() -> None:
    scores, labels = torch.tensor([0.1, 0.4, 0.4, 0.8]), torch.tensor([0.0, 0.0, 1.0, 1.0])
    pairs = [(liked, other) for liked in (0.4, 0.8) for other in (0.1, 0.4)]
    expected = sum((liked > other) + 0.5 * (liked == other) for liked, other in pairs) / len(pairs)
    assert auc(scores, labels) == pytest.approx(expected)


def test_the_auc_of_scores_that_are_no_numbers_is_none() -> None:
    assert math.isnan(auc(torch.tensor([math.nan, 0.2, math.nan]), torch.tensor([0.0, 1.0, 1.0])))


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_the_auc_of_one_kind_is_not_a_number(label: float) -> None:
    assert math.isnan(auc(torch.tensor([0.1, 0.2]), torch.full((2,), label)))


@torch.no_grad()
def test_logits_are_linear_terms_plus_products_of_pairs_plus_the_network(batch: Batch) -> None:
    model = ClickModel(width=4)
    logits = model.logits(batch)
    pooled = []
    for name in FEATURES:
        bag, table = batch.bags[name], model.tables[name]
        pooled.append([table(bag.ids[bag.owner == row]).mean(0) for row in range(len(batch.label))])
    for row in range(len(batch.label)):
        rows = [feature[row] for feature in pooled]
        pairs = sum(torch.dot(a[:-1], b[:-1]) for a, b in itertools.combinations(rows, 2))
        deep = model.deep(torch.cat([each[:-1] for each in rows]))
        assert float(logits[row]) == pytest.approx(float(sum(each[-1] for each in rows) + pairs + deep), abs=1e-5)


def test_predictions_of_the_last_batches_are_kept(batch: Batch) -> None:
    model = ClickModel(window=2)
    for _ in range(3):
        model(batch)
    scores, labels = model.scores()
    assert scores.shape == labels.shape == (10,)
    assert not scores.requires_grad


def test_an_evaluation_is_scored_beside_the_training(batch: Batch) -> None:
    model = ClickModel()
    model(batch)
    model.eval()
    for _ in range(2):
        model(batch)
    model.train()
    assert len(model.scores()[0]) == 5
    assert len(model.take_evaluated()[1]) == 10
    with pytest.raises(ValueError, match="not enough values"):
        model.take_evaluated()
