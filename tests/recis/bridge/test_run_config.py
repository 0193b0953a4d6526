import argparse
from typing import Any

import pytest

from recis.bridge.run_config import RunConfig


@pytest.fixture
def reported() -> list[dict[str, Any]]:
    return []


@pytest.fixture
def config(reported: list[dict[str, Any]]) -> RunConfig:
    config = RunConfig(reported.append)
    config.start({"lr": 0.1})
    return config


def test_names_are_items_and_attributes(config: RunConfig, reported: list[dict[str, Any]]) -> None:
    assert (config.lr, config["lr"], config.get("none"), "lr" in config, len(config)) == (0.1, 0.1, None, True, 1)
    config.batch_size = 64
    config["layers"] = [1, 2]
    assert dict(config) == config.as_dict() == {"lr": 0.1, "batch_size": 64, "layers": [1, 2]}
    assert reported == [{"batch_size": 64}, {"layers": [1, 2]}]
    assert repr(config) == repr(dict(config))
    del config["layers"]
    with pytest.raises(AttributeError, match="RunConfig has no 'layers'; set so far: lr, batch_size"):
        config.layers  # noqa: B018
    with pytest.raises(KeyError):
        config["layers"]


def test_several_are_one_report(config: RunConfig, reported: list[dict[str, Any]]) -> None:
    config.update({"lr": 0.2}, allow_val_change=True, seed=1)
    config.update(argparse.Namespace(depth=3))
    config.update(None)
    config.setdefaults({"lr": 9, "width": 4})
    assert reported == [{"lr": 0.2, "seed": 1}, {"depth": 3}, {"width": 4}]
    assert config == {"lr": 0.2, "seed": 1, "depth": 3, "width": 4}
