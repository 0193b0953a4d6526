"""Pending gradients: sums by id, and memory that stays bounded if they are never read."""

import pytest
import torch

from recis.nn.modules.row_gradients import RowGradients, RowLookup


def test_there_is_nothing_before_a_backward() -> None:
    assert RowGradients().summed() is None


def test_gradients_of_equal_ids_are_summed_over_all_parts() -> None:
    gradients = RowGradients()
    gradients.add(torch.tensor([5, -1, 5]), torch.tensor([[1.0], [2.0], [4.0]]))
    gradients.add(torch.tensor([-1]), torch.tensor([[8.0]]))
    for _ in range(2):
        summed = gradients.summed()
        assert summed is not None
        assert summed[0].tolist() == [-1, 5]
        assert summed[1].tolist() == [[10.0], [5.0]]
    gradients.clear()
    assert gradients.summed() is None


def test_memory_is_bounded_by_the_number_of_different_ids() -> None:
    gradients = RowGradients()
    for _ in range(500):
        gradients.add(torch.arange(1_000), torch.ones(1_000, 1))
    assert sum(len(ids) for ids, _ in gradients._parts) <= 1 << 16
    summed = gradients.summed()
    assert summed is not None
    assert (summed[1] == 500).all()


def test_an_id_buffer_overwritten_before_backward_is_reported() -> None:
    gradients, ids = RowGradients(), torch.tensor([1, 2])
    anchor = torch.empty(0, requires_grad=True)
    rows = RowLookup.apply(anchor, gradients, torch.ones(3, 1), torch.tensor([1, 2]), ids, True)  # type: ignore[no-untyped-call]
    ids.zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        rows.sum().backward()
