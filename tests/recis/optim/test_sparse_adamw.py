"""SparseAdamW, step by step against torch's own SparseAdam on a sparse embedding."""

import pytest
import torch
from torch import Tensor, nn

from recis.nn import FilterHook, HashTable
from recis.optim import SparseAdamW

NUM_IDS = 400
DIM = 4


def twins(device: torch.device, dtype: torch.dtype) -> tuple[nn.Embedding, HashTable, Tensor]:
    """Return a sparse embedding, a table with the same initial rows, and the id of each row of the embedding."""
    torch.manual_seed(0)
    embedding = nn.Embedding(NUM_IDS, DIM, sparse=True, dtype=dtype, device=device)
    start = embedding.weight.detach().clone()
    ids = torch.randperm(10 * NUM_IDS, device=device)[:NUM_IDS] * 7919 - 2**40

    def same_rows(rows: Tensor) -> None:
        """Set each new row to that of the embedding; new ids are admitted in ascending order."""
        new = pending.pop()
        rows.copy_(start[new])

    table = HashTable([DIM], block_size=16, dtype=dtype, device=device, initializer=same_rows)
    pending: list[Tensor] = []
    known = torch.zeros(NUM_IDS, dtype=torch.bool, device=device)

    def announce(_module: nn.Module, arguments: tuple[Tensor]) -> None:
        asked = torch.isin(ids, arguments[0]) & ~known
        new = asked.nonzero().squeeze(1)
        if len(new):
            pending.append(new[ids[new].argsort()])
        known.logical_or_(asked)

    table.register_forward_pre_hook(announce)
    return embedding, table, ids


def assert_same(embedding: nn.Embedding, table: HashTable, ids: Tensor) -> None:
    present = table.slots(ids) > 0
    actual = table.weight()[table.slots(ids[present])]
    torch.testing.assert_close(actual, embedding.weight.detach()[present], rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("lookups", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_three_hundred_steps_equal_torchs_sparse_adam(device: torch.device, lookups: int) -> None:
    """With duplicates in a lookup, several lookups and backward passes per step, and growth; in float64, exact to
    rounding.
    """
    embedding, table, ids = twins(device, torch.float64)
    theirs = torch.optim.SparseAdam(embedding.parameters(), lr=0.05, betas=(0.8, 0.95), eps=1e-6)
    ours = SparseAdamW({"table": table}, lr=0.05, betas=(0.8, 0.95), eps=1e-6, weight_decay=0)
    for step in range(300):
        theirs.zero_grad()
        ours.zero_grad()
        for _ in range(lookups):
            # An increasing number of different ids, some of them often.
            rows = (torch.rand(30, device=device) ** 2 * min(NUM_IDS, 20 + 2 * step)).long()
            target = torch.randn(30, DIM, dtype=torch.float64, device=device)
            for lookup, keys in ((embedding, rows), (table, ids[rows])):
                out: Tensor = lookup(keys)
                ((out * target).sum() + (out**3).sum()).backward()  # type: ignore[no-untyped-call]
        theirs.step()
        ours.step()
        assert_same(embedding, table, ids)
    assert 300 < len(table) <= NUM_IDS


def test_float32_stays_close_to_torchs_sparse_adam(device: torch.device) -> None:
    embedding, table, ids = twins(device, torch.float32)
    theirs = torch.optim.SparseAdam(embedding.parameters(), lr=0.01)
    ours = SparseAdamW({"table": table}, lr=0.01, weight_decay=0)
    for _ in range(200):
        rows = torch.randint(0, NUM_IDS, (64,), device=device)
        for optimizer, lookup, keys in ((theirs, embedding, rows), (ours, table, ids[rows])):
            optimizer.zero_grad()
            (lookup(keys) - 1).square().sum().backward()
            optimizer.step()
    actual = table.weight()[table.slots(ids)]
    torch.testing.assert_close(actual, embedding.weight.detach(), rtol=1e-5, atol=1e-6)


def test_a_step_without_zero_grad_adds_up_as_torch_does() -> None:
    embedding, table, ids = twins(torch.device("cpu"), torch.float64)
    theirs = torch.optim.SparseAdam(embedding.parameters(), lr=0.05)
    ours = SparseAdamW({"table": table}, lr=0.05, weight_decay=0)
    for _ in range(5):
        rows = torch.randint(0, NUM_IDS, (10,))
        for optimizer, lookup, keys in ((theirs, embedding, rows), (ours, table, ids[rows])):
            lookup(keys).square().sum().backward()
            optimizer.step()
    assert_same(embedding, table, ids)


def test_only_rows_of_the_step_change() -> None:
    table = HashTable([2], initializer=1.0)
    optimizer = SparseAdamW({"table": table}, lr=0.1, weight_decay=0.5)
    table(torch.arange(10)).sum().backward()
    optimizer.step()
    before = table.embeddings()
    optimizer.zero_grad()
    table(torch.tensor([3, 4])).sum().backward()
    optimizer.step()
    changed = (table.embeddings() != before).any(dim=1)
    assert changed.nonzero().flatten().tolist() == [3, 4]


def test_without_a_backward_nothing_happens() -> None:
    table = HashTable([2])
    optimizer = SparseAdamW({"table": table})
    before = table(torch.arange(10)).detach().clone()
    optimizer.step()
    assert torch.equal(table.embeddings(), before)


def test_decay_is_decoupled() -> None:
    table = HashTable([1], initializer=2.0)
    optimizer = SparseAdamW({"table": table}, lr=0.1, weight_decay=0.5)
    (table(torch.tensor([1])) * 0.0).sum().backward()
    optimizer.step()
    assert table.embeddings().item() == pytest.approx(2.0 * (1 - 0.1 * 0.5))


def test_state_of_a_reused_slot_starts_afresh() -> None:
    table = HashTable([1], initializer=0.0, filter_hook=FilterHook("GlobalStepFilter", {"filter_step": 1}))
    optimizer = SparseAdamW({"table": table}, lr=0.1)
    for _ in range(5):
        optimizer.zero_grad()
        (table(torch.tensor([1])) * 100).sum().backward()
        optimizer.step()
    old_slot = table.slots(torch.tensor([1]))
    assert table.state("exp_avg")[old_slot].item() > 1
    table.tick(10)
    table.tick(20)
    assert table.run_filter(20).evicted == 1
    optimizer.zero_grad()
    table(torch.tensor([2]))
    assert torch.equal(table.slots(torch.tensor([2])), old_slot)
    assert table.embeddings().item() == 0.0
    assert table.state("exp_avg")[old_slot].item() == 0.0
    assert table.state("exp_avg_sq")[old_slot].item() == 0.0


def test_the_null_row_is_never_trained() -> None:
    table = HashTable([2])
    optimizer = SparseAdamW({"table": table}, lr=1.0)
    for _ in range(3):
        table(torch.randint(0, 50, (100,))).sum().backward()
        optimizer.step()
    assert table.eval()(torch.tensor([99])).tolist() == [[0.0, 0.0]]


def test_the_defaults_are_those_of_recis_and_of_torchs_adamw() -> None:
    group = SparseAdamW({"table": HashTable([1])}).param_groups[0]
    theirs = torch.optim.AdamW([torch.zeros(1, requires_grad=True)]).param_groups[0]
    for option in ("lr", "betas", "eps", "weight_decay"):
        assert group[option] == theirs[option]
    assert group["weight_decay"] == 1e-2


def test_both_spellings_of_the_betas_mean_the_same() -> None:
    table = HashTable([1])
    one_by_one = SparseAdamW({"table": table}, 1e-2, 0.8, 0.95, 1e-6, 0.1).param_groups[0]
    as_pair = SparseAdamW({"table": table}, lr=1e-2, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.1).param_groups[0]
    assert one_by_one == as_pair
    assert one_by_one["betas"] == (0.8, 0.95)


def test_amsgrad_is_refused() -> None:
    with pytest.raises(ValueError, match="amsgrad"):
        SparseAdamW({"table": HashTable([2])}, amsgrad=True)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("beta1", 1.0),
        ("beta2", -0.1),
        ("beta1", (0.9, 0.999)),
        ("betas", 0.9),
        ("lr", -1.0),
        ("lr", float("nan")),
        ("lr", "0.1"),
        ("betas", (0.9, 1.0)),
        ("eps", -1),
        ("weight_decay", True),
    ],
)
def test_a_bad_argument_is_named(argument: str, value: object) -> None:
    with pytest.raises(ValueError, match=argument):
        SparseAdamW({"table": HashTable([2])}, **{argument: value})  # type: ignore[arg-type]
