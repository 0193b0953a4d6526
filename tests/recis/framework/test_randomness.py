"""Random generators across a restart."""

import logging
import random
from typing import Any

import numpy as np
import pytest
import torch

from recis.framework.randomness import RandomStreams


def draw() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def test_a_resumed_epoch_is_read_from_its_start_and_goes_on_from_the_checkpoint() -> None:
    streams = RandomStreams()
    streams.start_epoch(0)
    read = [draw() for _ in range(3)]
    state = streams.state_dict()
    next_ones = [draw() for _ in range(3)]

    random.seed(99)
    np.random.seed(99)
    torch.manual_seed(99)
    resumed = RandomStreams()
    resumed.load_state_dict(state)
    resumed.start_epoch(3)
    assert [draw() for _ in range(3)] == read
    resumed.caught_up()
    assert [draw() for _ in range(3)] == next_ones
    resumed.start_epoch(0)
    resumed.caught_up()
    draw()
    assert [draw() for _ in range(3)] != next_ones, "once only"


def test_an_epoch_that_has_not_begun_goes_on_from_the_checkpoint() -> None:
    streams = RandomStreams()
    streams.start_epoch(0)
    draw()
    state, expected = streams.state_dict(), draw()
    resumed = RandomStreams()
    resumed.load_state_dict(state)
    resumed.start_epoch(0)
    assert draw() == expected


def test_a_second_checkpoint_of_a_resumed_epoch_has_its_real_start() -> None:
    streams = RandomStreams()
    streams.start_epoch(0)
    first = draw()
    resumed = RandomStreams()
    resumed.load_state_dict(streams.state_dict())
    resumed.start_epoch(1)
    draw()
    resumed.caught_up()
    draw()
    again = RandomStreams()
    again.load_state_dict(resumed.state_dict())
    again.start_epoch(2)
    assert draw() == first


@pytest.mark.parametrize("part", ["python", "numpy", "torch"])
def test_a_state_of_another_version_is_a_warning(part: str, caplog: pytest.LogCaptureFixture) -> None:
    streams = RandomStreams()
    state: dict[str, Any] = streams.state_dict()
    state["now"] = {**state["now"], part: torch.zeros(3, dtype=torch.uint8)}
    streams.load_state_dict(state)
    with caplog.at_level(logging.WARNING):
        streams.start_epoch(0)
    assert "could not be set as in the checkpoint" in caplog.text
