"""Gauc against the definition, group by group."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recis.metrics import GAUC, Gauc
from recis.metrics import gauc as module


def exact(samples: list[tuple[int, int, bool]]) -> tuple[float, int]:
    total, weight = 0.0, 0
    for group in {group for group, _, _ in samples}:
        above = [score for of, score, positive in samples if of == group and positive]
        below = [score for of, score, positive in samples if of == group and not positive]
        if above and below:
            wins = sum((a > b) + (a == b) / 2 for a in above for b in below)
            size = len(above) + len(below)
            total += wins / len(above) / len(below) * size
            weight += size
    return total, weight


def tensors(samples: list[tuple[int, int, bool]]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    groups, scores, labels = zip(*samples, strict=True) if samples else ((), (), ())
    return torch.tensor(labels).float(), torch.tensor(scores).float() / 10, torch.tensor(groups).long()


SAMPLES = st.lists(st.tuples(st.integers(-2, 3), st.integers(0, 4), st.booleans()), max_size=40)


def test_all_names_are_one_class() -> None:
    assert GAUC is Gauc is module.Gauc


def test_an_example() -> None:
    labels = torch.tensor([1.0, 0.0, 1, 0, 1])
    predictions = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5])
    assert Gauc()(labels, predictions, torch.tensor([0, 1, 1, 1, 2])) == (0.5, 0.5)


@settings(deadline=None)
@given(st.lists(SAMPLES, max_size=4))
def test_groups_in_any_order_and_over_batches(batches: list[list[tuple[int, int, bool]]]) -> None:
    metric = Gauc()
    total, weight = 0.0, 0
    for samples in batches:
        labels, predictions, groups = tensors(samples)
        batch, so_far = metric(labels, predictions, groups)
        area, size = exact(samples)
        total, weight = total + area, weight + size
        assert batch == pytest.approx(area / size) if size else math.isnan(batch)
        assert so_far == pytest.approx(total / weight) if weight else math.isnan(so_far)
        again = Gauc(num_thresholds=200)
        again.update(predictions, labels, groups)
        assert float(again.compute()) == pytest.approx(batch, nan_ok=True)


def test_large_groups_on_a_device(device: torch.device) -> None:
    torch.manual_seed(0)
    groups = torch.randint(0, 7, (3_000,), device=device)
    labels = torch.rand(3_000, device=device) < 0.4
    scores = (torch.rand(3_000, device=device) * 50).round() + labels
    metric = GAUC().to(device)
    metric.update(scores, labels, groups)
    samples = list(zip(groups.tolist(), scores.tolist(), labels.tolist(), strict=True))
    area, size = exact(samples)  # type: ignore[arg-type]
    assert float(metric.compute()) == pytest.approx(area / size)
    again = GAUC()
    again.load_state_dict(metric.state_dict())
    assert float(again.compute()) == pytest.approx(area / size)
    metric.reset()
    assert math.isnan(float(metric.compute()))


@pytest.mark.parametrize("wrong", ["labels", "indicators"])
def test_another_number_is_named(wrong: str) -> None:
    given: dict[str, Any] = {
        "predictions": torch.rand(3),
        "labels": torch.ones(3),
        "indicators": torch.arange(3),
    }
    given[wrong] = given[wrong][:2]
    with pytest.raises(ValueError, match=f"Gauc's {wrong}: expected 3, one a prediction, got 2"):
        GAUC().update(**given)
