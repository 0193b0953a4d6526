"""Ragged tensors: their layout, conversions compared with plain lists, and errors for parts that do not match."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recis.ragged import RaggedTensor

ROWS = st.lists(st.lists(st.integers(1, 9), max_size=5), max_size=6)


def ragged(rows: list[list[int]], **options: Any) -> RaggedTensor:
    lengths = torch.tensor([0, *map(len, rows)])
    return RaggedTensor(torch.tensor([value for row in rows for value in row]).long(), lengths.cumsum(0), **options)


def nested() -> RaggedTensor:
    """[[[1, 2], []], [], [[3]], [[4, 5, 6], [7], [8]]]."""
    outer, inner = torch.tensor([0, 2, 2, 3, 6]), torch.tensor([0, 2, 2, 3, 6, 7, 8], dtype=torch.int32)
    return RaggedTensor(torch.arange(1, 9), [outer, inner])


@given(ROWS)
def test_it_becomes_the_same_as_lists_do(rows: list[list[int]]) -> None:
    width = max(map(len, rows), default=0)
    padded = [[*row, *[-1] * (width - len(row))] for row in rows]
    tensor = ragged(rows)
    assert tensor.shape == tensor.size() == (len(rows), width)
    assert tensor.to_dense(-1).tolist() == padded
    sparse = tensor.to_sparse().coalesce()
    assert sparse.shape == (len(rows), width)
    assert sparse.to_dense().tolist() == tensor.to_dense().tolist()
    assert sparse.values().tolist() == tensor.values().tolist()
    assert len(tensor) == len(rows)


@given(st.lists(st.lists(st.integers(0, 3), min_size=4, max_size=4), max_size=5))
def test_zeros_at_the_ends_of_dense_rows_are_left_out(rows: list[list[int]]) -> None:
    dense = torch.tensor(rows).reshape(len(rows), 4)
    tensor = RaggedTensor.from_dense(dense)
    expected = [row[: max((place + 1 for place, value in enumerate(row) if value), default=0)] for row in rows]
    assert tensor.values().tolist() == [value for row in expected for value in row]
    assert tensor.offsets()[0].diff().tolist() == [len(row) for row in expected]
    assert tensor.shape == (len(rows), 4)


def test_rows_may_be_ragged_themselves(device: torch.device) -> None:
    tensor = nested().to(device)
    assert tensor.device == device
    assert (tensor.dim, tensor.shape, tensor.max_length) == (3, (4, 3, 3), 3)
    assert tensor.real_shape(0, -1) == (4, 3)
    assert tensor.to_dense().tolist() == [
        [[1, 2, 0], [0, 0, 0], [0, 0, 0]],
        [[0, 0, 0], [0, 0, 0], [0, 0, 0]],
        [[3, 0, 0], [0, 0, 0], [0, 0, 0]],
        [[4, 5, 6], [7, 0, 0], [8, 0, 0]],
    ]
    assert torch.equal(tensor.to_sparse().to_dense(), tensor.to_dense())


def test_values_may_be_rows_and_pass_gradients_on() -> None:
    values = torch.randn(3, 2, requires_grad=True)
    dense = RaggedTensor(values, torch.tensor([0, 1, 3])).to_dense()
    assert dense.shape == (2, 2, 2)
    dense.sum().backward()
    assert values.grad is not None
    assert (values.grad == 1).all()


def test_nested_tensors_are_taken_over_without_their_gaps(device: torch.device) -> None:
    parts = [torch.tensor([1, 2], device=device), torch.tensor([], dtype=torch.int64, device=device)]
    tensor = RaggedTensor.from_jagged(torch.nested.nested_tensor(parts, layout=torch.jagged))
    assert (tensor.values().tolist(), tensor.shape) == ([1, 2], (2, 2))
    starts, lengths = torch.tensor([0, 1, 2], device=device), torch.tensor([2, 2, 1], device=device)
    whole = torch.arange(12, device=device).view(3, 4)
    cut = RaggedTensor.from_jagged(torch.nested.narrow(whole, 1, starts, lengths, layout=torch.jagged))
    assert cut.to_dense(-1).tolist() == [[0, 1], [5, 6], [10, -1]]
    with pytest.raises(ValueError, match=r"from_jagged: expected a nested tensor of layout torch.jagged, got"):
        RaggedTensor.from_jagged(whole)


def test_a_dtype_is_for_the_values_only() -> None:
    tensor = ragged([[1, 2], [3]], weight=torch.tensor([0.5, 1.0, 2.0])).to(torch.float64)
    assert tensor.dtype == torch.float64
    assert tensor.offsets()[0].dtype == torch.int64
    weight = tensor.weight()
    assert weight is not None
    assert weight.dtype == torch.float32


def test_a_clone_shares_and_numpy_arrays_are_shared() -> None:
    tensor = ragged([[1], [2, 3]])
    twin = tensor.clone()
    twin.offsets().append(torch.tensor([0]))
    assert len(tensor.offsets()) == 1
    assert twin.values() is tensor.values()
    array = np.array([1, 2, 3])
    tensor = RaggedTensor.from_numpy(array, np.array([0, 1, 3]))
    array[0] = 9
    assert tensor.values().tolist() == [9, 2, 3]
    assert RaggedTensor.from_numpy(array, [np.array([0, 1, 3])]).shape == (2, 2)


def test_values_weight_and_sizes_can_be_set() -> None:
    tensor = ragged([[1], [2, 3]])
    tensor.set_values(torch.tensor([0.1, 0.2, 0.3]))
    tensor.set_weight(torch.ones(3))
    tensor.set_dim_by_rank(7, 1)
    assert (tensor.dtype, tensor.shape) == (torch.float32, (2, 7))
    tensor.set_dim_by_rank(-1, 1)
    assert tensor.shape == (2, 2)
    with pytest.raises(ValueError, match="expected 3 values, got 2"):
        tensor.set_values(torch.ones(2))
    with pytest.raises(ValueError, match="weight: expected a tensor of 3 numbers"):
        tensor.set_weight(torch.ones(2))
    assert "dense_shape=(2, -1)" in repr(tensor)


@pytest.mark.parametrize(
    ("values", "offsets", "error", "message"),
    [
        ([1, 2], torch.tensor([0, 2]), TypeError, "values: expected a tensor"),
        (torch.tensor(1), torch.tensor([0, 1]), TypeError, "values"),
        (torch.arange(3), [0, 3], TypeError, "offsets: expected int32 or int64 tensors"),
        (torch.arange(3), torch.tensor([0.0, 3.0]), TypeError, "offsets"),
        (torch.arange(3), [], ValueError, "at least one"),
        (
            torch.arange(3),
            torch.tensor([0, 2]),
            ValueError,
            r"offsets\[0\]: expected ascending numbers from 0 to 3 .*got",
        ),
        (torch.arange(3), torch.tensor([1, 3]), ValueError, r"offsets\[0\]"),
        (torch.arange(3), torch.tensor([0, 2, 1, 3]), ValueError, r"got \[0, 2, 1, 3\]"),
        (torch.arange(3), torch.tensor([]).long(), ValueError, r"got \[\]"),
        (torch.arange(3), [torch.tensor([0, 1]), torch.tensor([0, 1, 3])], ValueError, r"offsets\[0\].* to 2 "),
    ],
)
def test_parts_that_do_not_fit_are_named(values: Any, offsets: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        RaggedTensor(values, offsets)


@pytest.mark.parametrize("dense", [torch.arange(3), torch.ones(1, 2, 3), [[1]]])
def test_only_a_matrix_can_be_made_ragged(dense: Any) -> None:
    with pytest.raises(ValueError, match=r"from_dense: expected a tensor \[rows, width\]"):
        RaggedTensor.from_dense(dense)
