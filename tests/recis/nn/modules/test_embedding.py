"""DynamicEmbedding compared with torch's EmbeddingBag for every form of ids, and the errors for invalid options."""

import logging
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from recis.nn import AdmitHook, DynamicEmbedding, EmbeddingOption, FilterHook
from recis.nn.initializers import ConstantInitializer, NormalInitializer
from recis.optim import SparseAdam
from recis.ragged.tensor import RaggedTensor
from tests.effort import examples

DIM, NUM_IDS = 3, 12


def twins(
    combiner: str, device: torch.device, dtype: torch.dtype = torch.float64, **options: Any
) -> tuple[nn.EmbeddingBag, DynamicEmbedding]:
    """Return a bag and an embedding that start with the same rows."""
    bag = nn.EmbeddingBag(NUM_IDS, DIM, mode=combiner, include_last_offset=True, dtype=dtype, device=device)
    option = EmbeddingOption(
        embedding_dim=DIM, shared_name="t", combiner=combiner, dtype=dtype, device=device, **options
    )
    embedding = DynamicEmbedding(option)
    embedding.table.insert(torch.arange(NUM_IDS, device=device), bag.weight.detach())
    return bag, embedding


@settings(max_examples=examples(40), deadline=None)
@given(
    st.lists(st.lists(st.integers(0, NUM_IDS - 1), max_size=5), max_size=6),
    st.sampled_from(["sum", "mean"]),
    st.booleans(),
)
def test_a_ragged_batch_gives_what_a_bag_gives(rows: list[list[int]], combiner: str, weighted: bool) -> None:
    torch.manual_seed(0)
    bag, embedding = twins(combiner, torch.device("cpu"))
    values = torch.tensor([each for row in rows for each in row]).long()
    offsets = torch.tensor([0, *map(len, rows)]).cumsum(0)
    weight = torch.randn(len(values), dtype=torch.float64) if weighted else None
    target = torch.randn(len(rows), DIM, dtype=torch.float64)
    ours = embedding(RaggedTensor(values, offsets, weight))
    if combiner == "mean" and weight is not None:
        # A bag accepts weights only for sums; RecIS divides by the number of ids, not by the sum of their weights.
        divisor = offsets.diff().clamp(min=1)[:, None]
        theirs = nn.functional.embedding_bag(
            values, bag.weight, offsets, mode="sum", per_sample_weights=weight, include_last_offset=True
        )
        theirs = theirs / divisor
    else:
        theirs = bag(values, offsets, per_sample_weights=weight)
    torch.testing.assert_close(ours, theirs)
    for each in (ours, theirs):
        (each * target).sum().backward()
    grad = embedding.table.grad()
    ids = values.unique()
    if len(ids):
        assert grad is not None
        assert bag.weight.grad is not None
        assert torch.equal(embedding.table.slots(ids), grad[0])
        torch.testing.assert_close(grad[1], bag.weight.grad[ids])


@pytest.mark.parametrize("combiner", ["sum", "mean"])
def test_training_equals_a_bag_trained_by_torch(combiner: str, device: torch.device) -> None:
    torch.manual_seed(0)
    option: dict[str, Any] = {"mode": combiner, "sparse": True, "dtype": torch.float64, "device": device}
    bag = nn.EmbeddingBag(NUM_IDS, DIM, **option)
    _, embedding = twins(combiner, device)
    embedding.table.insert(torch.arange(NUM_IDS, device=device), bag.weight.detach())
    theirs, ours = torch.optim.SparseAdam(bag.parameters(), lr=0.05), SparseAdam({"t": embedding.table}, lr=0.05)
    for _ in range(50):
        ids = torch.randint(0, NUM_IDS, (7, 4), device=device)
        for optimizer, lookup in ((theirs, bag), (ours, embedding)):
            optimizer.zero_grad()
            lookup(ids).square().sum().backward()
            optimizer.step()
    torch.testing.assert_close(embedding.table.embeddings(), bag.weight.detach(), rtol=1e-9, atol=1e-11)


def test_every_form_of_ids_gives_the_same(device: torch.device) -> None:
    bag, embedding = twins("sum", device)
    ids = torch.tensor([[1, 2], [3, 4], [1, 1]], device=device)
    expected = bag.weight[ids].sum(dim=1)
    parts = list(ids.unbind())
    for given_ids in (
        ids,
        RaggedTensor(ids.flatten(), torch.tensor([0, 2, 4, 6], device=device)),
        RaggedTensor(ids.flatten(), torch.tensor([0, 2, 4, 6], device=device, dtype=torch.int32)),
        torch.nested.nested_tensor(parts, layout=torch.jagged),
    ):
        torch.testing.assert_close(embedding(given_ids), expected)
    torch.testing.assert_close(embedding(ids.flatten()), bag.weight[ids.flatten()])
    torch.testing.assert_close(embedding(ids[None]), expected[None])
    assert embedding(ids[:0]).shape == (0, DIM)
    assert embedding(ids[:, :0]).tolist() == [[0.0] * DIM] * 3


def test_ragged_rows_of_ragged_rows_need_a_rectangle_outside() -> None:
    _, embedding = twins("sum", torch.device("cpu"))
    inner = torch.tensor([0, 1, 3, 3, 4])
    even = RaggedTensor(torch.tensor([1, 2, 3, 4]), [torch.tensor([0, 2, 4]), inner])
    assert embedding(even).shape == (2, 2, DIM)
    uneven = RaggedTensor(torch.tensor([1, 2, 3, 4]), [torch.tensor([0, 1, 4]), inner])
    with pytest.raises(ValueError, match=r"table 't': expected 6 rows, or inner levels that are padded .*got '4 rows'"):
        embedding(uneven)


def test_without_a_combiner_each_id_has_its_row() -> None:
    option = EmbeddingOption(embedding_dim=2, combiner=None, initializer=NormalInitializer())
    embedding = DynamicEmbedding(option)
    ids = torch.tensor([[5, 6], [5, 7]])
    rows = embedding(ids)
    assert rows.shape == (2, 2, 2)
    assert torch.equal(rows[0, 0], rows[1, 0])
    ragged = embedding(RaggedTensor(torch.tensor([5, 6, 7]), torch.tensor([0, 1, 3])))
    assert isinstance(ragged, RaggedTensor)
    assert torch.equal(ragged.values(), embedding(torch.tensor([5, 6, 7])))
    assert ragged.to_dense().shape == (2, 2, 2)
    assert DynamicEmbedding(EmbeddingOption(combiner="none"))(ids).shape == (2, 2, 16)


def test_tile_cuts_and_fills_up() -> None:
    option = EmbeddingOption(
        embedding_dim=2, combiner="tile", combiner_kwargs={"tile_len": 2}, initializer=ConstantInitializer(1.0)
    )
    embedding = DynamicEmbedding(option)
    rows = embedding(RaggedTensor(torch.arange(4), torch.tensor([0, 1, 1, 4])))
    assert rows.tolist() == [[1, 1, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1]]
    rows.sum().backward()
    grad = embedding.table.grad()
    assert grad is not None
    assert grad[1].tolist() == [[1, 1], [1, 1], [1, 1], [0, 0]], "id 3 was cut off"


def test_weights_count_unless_they_are_not_to() -> None:
    for use_weight, expected in ((True, [2.5, 4.0]), (False, [2.0, 1.0])):
        option = EmbeddingOption(embedding_dim=1, use_weight=use_weight, initializer=1.0)
        embedding = DynamicEmbedding(option)
        ragged = RaggedTensor(torch.arange(3), torch.tensor([0, 2, 3]), weight=torch.tensor([0.5, 2.0, 4.0]))
        assert embedding(ragged).flatten().tolist() == expected
        assert embedding(torch.arange(2)[:, None], torch.tensor([[3.0], [4.0]])).flatten().tolist() == (
            [3.0, 4.0] if use_weight else [1.0, 1.0]
        )
    with pytest.raises(ValueError, match="weights of the ids for the table 'embedding': expected 3 numbers, got 2"):
        DynamicEmbedding(EmbeddingOption())(torch.arange(3), torch.ones(2))


def test_rules_and_training_flags_reach_the_table() -> None:
    rule = FilterHook("GlobalStepFilter", {"filter_step": 3})
    option = EmbeddingOption(embedding_dim=1, initializer=1.0, filter_hook=rule, trainable=False)
    embedding = DynamicEmbedding(option)
    assert not embedding(torch.arange(3)).requires_grad
    embedding.table.tick(1)
    assert embedding.table.run_filter(4).evicted == 3
    read_only = DynamicEmbedding(EmbeddingOption(initializer=1.0, admit_hook=AdmitHook("ReadOnly")))
    assert not read_only(torch.arange(3)).any()
    assert len(read_only.table) == 0
    assert DynamicEmbedding(EmbeddingOption(grad_reduce_by="id"))(torch.arange(3)).shape == (3, 16)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_narrow_rows_are_combined(dtype: torch.dtype) -> None:
    embedding = DynamicEmbedding(EmbeddingOption(embedding_dim=2, dtype=dtype, combiner="mean", initializer=1.0))
    rows = embedding(RaggedTensor(torch.arange(3), torch.tensor([0, 1, 3])))
    assert rows.dtype == dtype
    assert (rows == 1).all()
    rows.sum().backward()


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (torch.arange(3).to_sparse(), "expected a dense, jagged or RaggedTensor, got torch.sparse_coo tensor"),
        ([1, 2], "got list"),
        (torch.ones(3), "expected a torch.int64 tensor, got torch.float32"),
    ],
)
def test_other_ids_are_refused(ids: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        DynamicEmbedding(EmbeddingOption(shared_name="user"))(ids)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"combiner": "max"}, r"EmbeddingOption's combiner: expected 'sum', 'mean', 'tile' or None, got 'max'"),
        ({"combiner": ["sum"]}, "combiner"),
        ({"combiner": "tile"}, r"combiner_kwargs\['tile_len'\].*got None"),
        ({"combiner": "tile", "combiner_kwargs": {"tile_len": 0}}, "tile_len"),
        ({"combiner": "tile", "combiner_kwargs": 3}, "tile_len"),
        ({"embedding_dim": 0}, "embedding_dim"),
        ({"embedding_dim": 1.5}, "embedding_dim"),
        ({"fp16_enabled": True}, "fp16_enabled"),
        ({"initializer": "zeros"}, r"HashTable's initializer.*got 'zeros'"),
        ({"dtype": torch.int8}, "dtype"),
        ({"shared_name": ""}, "name"),
        ({"filter_hook": FilterHook("Unknown")}, "FilterHook name"),
    ],
)
def test_a_bad_option_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DynamicEmbedding(EmbeddingOption(**options))


def test_an_option_must_be_one() -> None:
    with pytest.raises(TypeError, match="expected an EmbeddingOption, got dict"):
        DynamicEmbedding({"embedding_dim": 8})  # type: ignore[arg-type]


def test_a_process_group_is_said_not_to_be_used(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        EmbeddingOption(pg=object())
    assert "every process has its own tables" in caplog.text
