"""SparseAdagrad, step by step against torch's own Adagrad on a sparse embedding."""

from typing import Any

import pytest
import torch
from torch import nn

from recis.nn import FilterHook, HashTable
from recis.optim import SparseAdagrad


def test_two_hundred_steps_equal_torchs_adagrad(device: torch.device) -> None:
    torch.manual_seed(0)
    embedding = nn.Embedding(100, 3, sparse=True, dtype=torch.float64, device=device)
    table = HashTable([3], block_size=8, dtype=torch.float64, device=device)
    table.insert(torch.arange(100, device=device), embedding.weight.detach())
    options: dict[str, Any] = {"lr": 0.1, "lr_decay": 0.01, "initial_accumulator_value": 0.1, "eps": 1e-8}
    theirs = torch.optim.Adagrad(embedding.parameters(), **options)
    ours = SparseAdagrad({"table": table}, **options)
    for _ in range(200):
        ids = (torch.rand(20, device=device) ** 2 * 100).long()
        target = torch.randn(20, 3, dtype=torch.float64, device=device)
        theirs.zero_grad()
        ours.zero_grad()
        for lookup in (embedding, table):
            (lookup(ids) - target).square().sum().backward()
        with torch.sparse.check_sparse_tensor_invariants():  # torch warns if the checks are not configured
            theirs.step()
        ours.step()
        torch.testing.assert_close(table.embeddings(), embedding.weight.detach(), rtol=1e-9, atol=1e-11)


def test_the_sum_of_a_reused_slot_starts_from_its_initial_value() -> None:
    table = HashTable([1], filter_hook=FilterHook("GlobalStepFilter", {"filter_step": 1}))
    optimizer = SparseAdagrad({"table": table}, initial_accumulator_value=0.5)
    (table(torch.tensor([1])) * 10).sum().backward()
    optimizer.step()
    slot = table.slots(torch.tensor([1]))
    assert table.state("sum")[slot].item() == 100.5
    table.tick(10)
    table.tick(20)
    table.run_filter(20)
    table(torch.tensor([2]))
    assert torch.equal(table.slots(torch.tensor([2])), slot)
    assert table.state("sum")[slot].item() == 0.5


@pytest.mark.parametrize("argument", ["lr", "lr_decay", "initial_accumulator_value", "eps"])
def test_a_bad_argument_is_named(argument: str) -> None:
    with pytest.raises(ValueError, match=argument):
        SparseAdagrad({"table": HashTable([2])}, **{argument: -1.0})
