"""SparseAdam: the update of torch's SparseAdam, without decay."""

import logging

import pytest
import torch
from torch import nn

from recis.nn import HashTable
from recis.optim import SparseAdam


def test_it_equals_torchs_sparse_adam(device: torch.device) -> None:
    torch.manual_seed(0)
    embedding = nn.Embedding(50, 3, sparse=True, dtype=torch.float64, device=device)
    table = HashTable([3], dtype=torch.float64, device=device)
    table.insert(torch.arange(50, device=device), embedding.weight.detach())
    theirs = torch.optim.SparseAdam(embedding.parameters(), lr=0.05)
    ours = SparseAdam({"table": table}, lr=0.05)
    for _ in range(100):
        ids = torch.randint(0, 50, (20,), device=device)
        for optimizer, lookup in ((theirs, embedding), (ours, table)):
            optimizer.zero_grad()
            lookup(ids).square().sum().backward()
            optimizer.step()
    torch.testing.assert_close(table.embeddings(), embedding.weight.detach(), rtol=1e-9, atol=1e-11)


def test_a_decay_is_not_used_as_in_recis_and_said(caplog: pytest.LogCaptureFixture) -> None:
    table = HashTable([1], initializer=2.0)
    with caplog.at_level(logging.WARNING):
        optimizer = SparseAdam({"table": table}, 0.1, 0.9, 0.999, 1e-8, 0.5)
    assert "weight_decay=0.5 is not used" in caplog.text
    (table(torch.tensor([1])) * 0.0).sum().backward()
    optimizer.step()
    assert table.embeddings().item() == 2.0
    caplog.clear()
    SparseAdam({"table": table})
    assert caplog.records == []


def test_amsgrad_is_refused() -> None:
    with pytest.raises(ValueError, match="SparseAdam's amsgrad"):
        SparseAdam({"table": HashTable([1])}, amsgrad=True)
