from collections import namedtuple
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from recis.framework.batches import num_samples, read_batches, to_device

Pair = namedtuple("Pair", "x y")


@dataclass
class Batch:
    x: torch.Tensor
    name: str = "b"


class Ragged:
    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)

    def to(self, device: torch.device, non_blocking: bool) -> "Ragged":
        assert non_blocking
        return Ragged(device)


def test_plain_batches_pass_as_they_are() -> None:
    batches: list[Any] = [torch.ones(2), {"x": 1}, (torch.ones(2), torch.ones(2)), [1, 2], "text", None]
    assert list(read_batches(batches)) == batches


@pytest.mark.parametrize(
    "flag", [bool, int, torch.tensor, lambda stop: torch.tensor(int(stop)), np.bool_, np.int32, np.array]
)
@pytest.mark.parametrize("pair", [tuple, list])
def test_a_true_stop_flag_ends_the_pass_and_its_batch_is_no_data(flag: Any, pair: Any) -> None:
    dataset = [
        pair((flag(False), "a")),
        pair((flag(False), "b")),
        pair((flag(True), "filling")),
        pair((flag(False), "c")),
    ]
    assert list(read_batches(dataset)) == ["a", "b"]


def test_pairs_are_told_element_by_element() -> None:
    pairs = [(1, 2), (torch.tensor([True, False]), torch.ones(2)), (2, "b"), (0.0, "b"), (torch.tensor([1]), "b")]
    assert list(read_batches([(False, "a"), *pairs])) == ["a", *pairs]


def test_an_endless_dataset_is_not_read_past_its_stop_flag() -> None:
    def endless() -> Any:
        yield False, 1
        yield True, None
        pytest.fail("read on")

    assert list(read_batches(endless())) == [1]


@pytest.mark.parametrize(
    ("batch", "expected"),
    [
        (torch.ones(3, 2), 3),
        ({"n": 5, "x": torch.ones(4)}, 4),
        ((torch.tensor(1.0), [torch.ones(6)]), 6),
        (Batch(torch.ones(7)), 7),
        ("text", 0),
        (torch.tensor(1.0), 0),
        ({}, 0),
    ],
)
def test_the_samples_are_the_length_of_the_first_tensor(batch: object, expected: int) -> None:
    assert num_samples(batch) == expected


def test_every_tensor_is_moved_and_the_rest_stays() -> None:
    meta = torch.device("meta")
    x = torch.ones(2)
    moved = to_device({"a": x, "b": [x, (x, 3)], "c": Pair(x, "y"), "d": Batch(x), "e": Ragged()}, meta)
    assert moved["a"].device == moved["b"][0].device == moved["b"][1][0].device == meta
    assert moved["b"][1][1] == 3
    assert isinstance(moved["c"], Pair)
    assert moved["c"].x.device == moved["d"].x.device == moved["e"].device == meta
    assert (moved["c"].y, moved["d"].name) == ("y", "b")
