"""AUROC against the definition: how often a positive is above a negative."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from recis.metrics import AUROC
from recis.metrics import auroc as module


def exact(predictions: Tensor, labels: Tensor) -> float:
    above, below = predictions[labels != 0], predictions[labels == 0]
    wins = (above[:, None] > below).double() + (above[:, None] == below).double() / 2
    return float(wins.mean())


def test_both_import_paths_are_one_class() -> None:
    assert AUROC is module.AUROC


def test_an_example() -> None:
    labels = torch.tensor([0, 0, 1, 0, 0, 0, 1, 0, 1, 1])
    predictions = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
    assert float(AUROC(num_thresholds=200)(predictions, labels)) == pytest.approx(19 / 24, abs=1e-6)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 100), st.booleans()), min_size=2, max_size=60))
def test_predictions_that_the_thresholds_tell_apart_give_the_exact_area(samples: list[tuple[int, bool]]) -> None:
    places, kinds = zip(*samples, strict=True)
    # Each lies between two thresholds, so that exactly equal predictions count as equal.
    predictions, labels = torch.tensor(places) / 101 + 0.5 / 101, torch.tensor(kinds)
    area = AUROC(num_thresholds=102)(predictions, labels)
    if all(kinds) or not any(kinds):
        assert area.isnan()
    else:
        assert float(area) == pytest.approx(exact(predictions, labels), abs=1e-6)


def test_batches_add_up_and_reset_forgets(device: torch.device) -> None:
    torch.manual_seed(0)
    metric = AUROC(1000).to(device)
    predictions, labels = torch.rand(5_000, device=device), torch.rand(5_000, device=device) < 0.3
    predictions = (predictions + labels * 0.2).clamp(max=1)
    for each in range(0, 5_000, 500):
        metric.update(predictions[each : each + 500, None], labels[each : each + 500].float()[:, None])
    assert float(metric.compute()) == pytest.approx(exact(predictions, labels), abs=1e-3)
    assert int(metric.tp[0] + metric.fn[0]) == int(labels.sum())
    assert int(metric.fp[0] + metric.tn[0]) == int((~labels).sum())
    metric.reset()
    assert metric.compute().isnan()


def test_both_ends_are_probabilities() -> None:
    assert float(AUROC()(torch.tensor([0.0, 1.0]), torch.tensor([0, 1]))) == 1.0
    assert float(AUROC()(torch.tensor([1.0, 0.0]), torch.tensor([0, 1]))) == 0.0
    assert float(AUROC()(torch.tensor([1.0, 1.0]), torch.tensor([0, 1]))) == 0.5


def test_the_counts_are_saved_and_are_no_parameters() -> None:
    metric = AUROC(10)
    metric.update(torch.tensor([0.2, 0.9]), torch.tensor([0, 1]))
    again = AUROC(10)
    again.load_state_dict(metric.state_dict())
    assert set(metric.state_dict()) == {"tp", "fp", "tn", "fn"}
    assert float(again.compute()) == 1.0
    assert list(metric.parameters()) == []


def test_no_graph_is_kept() -> None:
    metric = AUROC()
    predictions = torch.rand(4, requires_grad=True)
    metric.update(predictions, torch.tensor([0, 1, 0, 1]))
    assert not metric.compute().requires_grad


def test_without_a_process_group_a_step_needs_no_agreement() -> None:
    metric = AUROC(num_thresholds=200, dist_sync_on_step=True)
    metric.update(torch.tensor([0.2, 0.9]), torch.tensor([0.0, 1.0]))
    assert float(metric.compute()) == 1.0


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), float("inf")])
def test_what_is_no_probability_is_named(value: float) -> None:
    metric = AUROC()
    with pytest.raises(ValueError, match="AUROC's predictions: expected probabilities from 0 to 1, got"):
        metric.update(torch.tensor([0.5, value]), torch.tensor([0, 1]))
    assert metric.compute().isnan()


def test_another_number_of_labels_is_named() -> None:
    with pytest.raises(ValueError, match="AUROC's labels: expected 2, one a prediction, got 3"):
        AUROC().update(torch.rand(2), torch.ones(3))


@pytest.mark.parametrize("number", [2, 0, 1.5, True, None])
def test_thresholds_are_at_least_three(number: Any) -> None:
    with pytest.raises(ValueError, match="num_thresholds"):
        AUROC(number)
