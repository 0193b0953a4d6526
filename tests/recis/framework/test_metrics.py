import copy
import json
import pickle

import pytest
import torch

from recis.framework.metrics import GLOBAL_METRICS, add_metric, get_global_metrics
from recis.metrics.registry import MetricsRegistry, bind_registry, set_current_registry


def test_the_metrics_are_a_live_dict() -> None:
    live = get_global_metrics()
    add_metric("accuracy", 0.95)
    live["loss"] = 0.05
    live.update({"auc": 0.7}, gauc=0.6)
    live |= {"lr": 0.1}
    assert live.setdefault("accuracy", 0.0) == 0.95
    assert live.setdefault("first", 1.0) == 1.0
    assert isinstance(live, dict)
    assert get_global_metrics() is live
    assert live == {"accuracy": 0.95, "loss": 0.05, "auc": 0.7, "gauc": 0.6, "lr": 0.1, "first": 1.0}
    assert json.loads(json.dumps(live)) == live
    for copied in (copy.deepcopy(live), pickle.loads(pickle.dumps(live)), live.copy()):
        assert (type(copied), copied) == (dict, live)
    live.clear()
    assert get_global_metrics() == {}


def test_the_name_of_recis_follows_the_training_that_runs() -> None:
    add_metric("accuracy", 0.95)
    assert dict(GLOBAL_METRICS) == get_global_metrics() == GLOBAL_METRICS == {"accuracy": 0.95}
    with bind_registry(MetricsRegistry()):
        assert not GLOBAL_METRICS
        GLOBAL_METRICS["loss"] = 0.5
        assert get_global_metrics() == {"loss": 0.5}
        assert repr(GLOBAL_METRICS) == "{'loss': 0.5}"
        GLOBAL_METRICS.clear()
        assert get_global_metrics() == {}
    set_current_registry(MetricsRegistry())
    assert len(GLOBAL_METRICS) == 0


def test_tensors_stay_tensors_without_their_graph() -> None:
    weight = torch.tensor(0.5, requires_grad=True)
    add_metric("loss", weight * 2)
    add_metric("rows", torch.ones(3) * weight)
    loss, rows = get_global_metrics()["loss"], get_global_metrics()["rows"]
    assert (loss.item(), loss.dim(), loss.requires_grad, rows.requires_grad) == (1.0, 0, False, False)


@pytest.mark.parametrize("metric", ["high", [1.0], None, torch.ones(1)])
def test_other_values_are_kept_and_named_once_as_not_streamed(metric: object, caplog: pytest.LogCaptureFixture) -> None:
    registry = MetricsRegistry()
    with bind_registry(registry):
        add_metric("accuracy", metric)
        add_metric("accuracy", metric)
        assert list(get_global_metrics()) == ["accuracy"]
    assert registry.take() == {}
    (record,) = caplog.records
    assert (
        "Metric 'accuracy' (logged once per name): shown in the log line, but not streamed: expected" in record.message
    )
