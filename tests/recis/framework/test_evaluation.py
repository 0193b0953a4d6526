from typing import Any

import pytest

from recis.framework.evaluation import WeightedMeans, merge_means


def test_batches_count_by_their_samples() -> None:
    means = WeightedMeans()
    means.add({"loss": 1.0, "auc": 0.5}, 3)
    means.add({"loss": 2.0}, 1)
    assert means.totals() == {"loss": (5.0, 4.0), "auc": (1.5, 3.0)}


def test_device_values_are_read_once_at_the_end(fake_cuda: Any) -> None:
    means = WeightedMeans()
    for value in (1.0, 2.0, 4.0):
        means.add({"loss": fake_cuda.scalar(value), "norm": fake_cuda.scalar(1.0)}, 2)
    assert fake_cuda.num_copies == 0
    assert means.totals() == {"loss": (14.0, 6.0), "norm": (6.0, 6.0)}
    assert fake_cuda.num_copies == 1


def test_ranks_are_merged_by_weight_and_names_need_not_be_everywhere() -> None:
    merged = merge_means([{"loss": (2.0, 2.0)}, {"loss": (10.0, 2.0), "auc": (0.5, 1.0)}])
    assert merged == {"loss": pytest.approx(3.0), "auc": pytest.approx(0.5)}
    assert merge_means([{}]) == {}
