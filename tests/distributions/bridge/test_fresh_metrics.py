"""`recis_monitor.fresh_metrics`: the values set since the last call in a dict that is never cleared."""

import gc
import weakref
from typing import Any

import numpy as np
import pytest
import torch
from recis_monitor.fresh_metrics import FreshMetrics


def test_what_was_not_set_again_is_not_given_again() -> None:
    fresh, metrics = FreshMetrics(), {"loss": float("0.5"), "auc": float("0.7")}
    assert fresh.take(metrics) == {"loss": 0.5, "auc": 0.7}
    assert fresh.take(metrics) == {}
    metrics["loss"] = float("0.5")
    assert fresh.take(metrics) == {"loss": 0.5}
    assert fresh.take({}) == {}
    assert fresh.take(metrics) == {"loss": 0.5, "auc": 0.7}


@pytest.mark.parametrize("make", [lambda: torch.tensor(1.0), lambda: np.array(1.0), lambda: torch.tensor(1)])
def test_a_value_that_changes_in_place_counts_as_set(make: Any) -> None:
    fresh, value = FreshMetrics(), make()
    assert fresh.take({"x": value}) == {"x": 1}
    assert fresh.take({"x": value}) == {}
    value += 1
    assert fresh.take({"x": value}) == {"x": 2}
    assert fresh.take({"x": make() + 1}) == {"x": 2}


def test_nan_in_place_is_given_once() -> None:
    fresh, value = FreshMetrics(), torch.tensor(float("nan"))
    assert list(fresh.take({"x": value})) == ["x"]
    assert fresh.take({"x": value}) == {}


def test_numpy_scalars_and_values_that_are_no_numbers_are_passed_on_when_they_are_new() -> None:
    fresh, array = FreshMetrics(), np.zeros(3)
    taken = fresh.take({"text": "x", "none": None, "array": array, "number": np.float64(2)})
    assert taken["array"] is array
    assert (taken["text"], taken["none"], taken["number"]) == ("x", None, 2.0)
    assert fresh.take({"text": "x", "none": None, "array": array}) == {}


def test_a_tensor_and_its_graph_are_not_kept_alive() -> None:
    fresh = FreshMetrics()
    loss = torch.ones(1, requires_grad=True).sum() * 2
    taken = fresh.take({"loss": loss})
    assert taken == {"loss": 2.0}
    gone = weakref.ref(loss)
    del loss
    gc.collect()
    assert gone() is None


def test_a_tensor_on_a_device_is_given_each_time_as_a_copy_and_not_compared() -> None:
    fresh, value = FreshMetrics(), torch.zeros((), device="meta")
    first, second = fresh.take({"x": value})["x"], fresh.take({"x": value})["x"]
    assert first is not second
    assert value is not first
    assert value is not second
