import pytest

from recis.framework.metrics import add_metric, get_global_metrics
from recis.metrics.registry import MetricsRegistry, bind_registry


def test_what_is_added_is_had_back_as_a_plain_dict() -> None:
    with bind_registry(MetricsRegistry()):
        add_metric("accuracy", 0.95)
        add_metric("loss", 0.05)
        assert get_global_metrics() == {"accuracy": 0.95, "loss": 0.05}
        assert type(get_global_metrics()) is dict


@pytest.mark.parametrize("metric", ["high", [1.0], None])
def test_bad_input_never_raises(metric: object) -> None:
    with bind_registry(MetricsRegistry()) as _:
        add_metric("accuracy", metric)
        assert get_global_metrics() == {}
