from typing import Any

import numpy as np
import pytest
import torch

from recis.hooks.log_line import MAX_CHARS, LineValues, format_metrics


class Unspeakable:
    shape = (2,)

    def __repr__(self) -> str:
        raise RuntimeError("no words")

    def tolist(self) -> None:
        raise RuntimeError("no words")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.123456789, "0.123457"),
        (7, "7"),
        (float("nan"), "nan"),
        (np.float32(0.5), "0.5"),
        (np.array(0.5), "0.5"),
        (torch.tensor(0.5, requires_grad=True), "0.5"),
        (torch.tensor([[0.5]]), "0.5"),
        (torch.tensor([True, False]), "[True, False]"),
        (torch.zeros(9), "Tensor of shape (9,)"),
        (torch.zeros((), device="meta"), "?"),
        (torch.zeros(2, device="meta"), "Tensor of shape (2,)"),
        ("a\x1b[31m\nb", "a [31m b"),
        ({"k": "v"}, "{'k': 'v'}"),
        (None, "None"),
        (Unspeakable(), "Unspeakable"),
    ],
)
def test_a_value_is_short_and_in_one_line(value: Any, text: str) -> None:
    assert format_metrics({"name": value}) == f" <name={text}>"


def test_long_texts_are_cut() -> None:
    assert len(format_metrics({"n": "x" * 1000})) == len(" <n=>") + MAX_CHARS


def test_values_of_a_device_are_read_later(fake_cuda: Any) -> None:
    values = LineValues({"note": "high", "loss": fake_cuda.scalar(0.5), "one": fake_cuda.scalar(1.0)})
    assert not values.ready()
    fake_cuda.done = True
    assert values.ready()
    assert values.read() == {"note": "high", "loss": 0.5, "one": 1.0}
    assert (fake_cuda.num_copies, fake_cuda.waits) == (1, 0)
