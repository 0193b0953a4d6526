"""Errors of a table for a state dict that does not match, which does not change the table."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from recis.nn import FilterHook, HashTable
from recis.nn.initializers import NormalInitializer
from recis.optim import SparseAdamW


def trained() -> HashTable:
    table = HashTable([2], name="user", initializer=1.0)
    table(torch.tensor([5, 7, 9]))
    table.tick(3)
    table(torch.tensor([7]))
    return table


def content(table: HashTable) -> dict[str, Any]:
    return {"clock": table.last_step, "rows": len(table), **table.state_dict()}


BAD: list[tuple[str, Any, str]] = [
    ("ids", torch.tensor([5, 7, 5]), r"table\.ids: expected distinct ids, got 1 of 3 again"),
    ("ids", torch.tensor([5, 7, 9], dtype=torch.int32), r"ids: expected a torch.int64 tensor, got torch.int32"),
    ("ids", torch.tensor([5.0, 7.0, 9.0]), r"ids: expected a torch.int64 tensor, got torch.float32"),
    ("ids", [5, 7, 9], r"ids: expected a torch.int64 tensor, got list"),
    ("ids", torch.tensor([[5, 7, 9]]), r"ids: expected shape \[rows\], got \(1, 3\)"),
    ("ids", torch.tensor(5), r"ids: expected shape \[rows\], got \(\)"),
    ("ids", torch.arange(3).to_sparse(), r"got torch.int64 in layout torch.sparse_coo"),
    ("ids", torch.tensor([5, 7]), r"embeddings: expected \(2, 2\), got \(3, 2\)"),
    ("embeddings", torch.ones(3, 4), r"embeddings: expected \(3, 2\), got \(3, 4\)"),
    ("embeddings", torch.ones(2, 2), r"embeddings: expected \(3, 2\), got \(2, 2\)"),
    ("embeddings", torch.ones(3, 2, dtype=torch.int64), r"embeddings: expected a floating tensor, got torch.int64"),
    ("embeddings", None, r"embeddings: expected a floating tensor, got NoneType"),
    ("last_seen", torch.ones(3), r"last_seen: expected a torch.int64 tensor, got torch.float32"),
    ("last_seen", torch.ones(2, dtype=torch.int64), r"last_seen: expected shape \(3,\), got \(2,\)"),
    ("clock", torch.tensor(1.5), r"clock: expected an integer, got torch.float32"),
    ("clock", torch.tensor([1, 2]), r"clock: expected an integer, got torch.int64 of shape \(2,\)"),
    ("clock", "4", r"clock: expected an integer, got '4'"),
    ("admitted", 0.5, r"admitted: expected an integer, got 0.5"),
    ("residual", torch.ones(3, 1), r"residual: expected \(3, 2\), got \(3, 1\)"),
    ("generator", torch.ones(3), r"generator: expected a torch.uint8 tensor, got torch.float32"),
]


@pytest.mark.parametrize(("key", "value", "message"), BAD)
def test_a_wrong_entry_is_named_and_changes_nothing(key: str, value: Any, message: str) -> None:
    model = nn.ModuleDict({"table": trained()})
    table = model["table"]
    assert isinstance(table, HashTable)
    state = dict(model.state_dict()) | {f"table.{key}": value}
    table(torch.arange(100, 200))
    table.tick(50)
    before = copy.deepcopy(content(table))
    with pytest.raises(RuntimeError, match=message):
        model.load_state_dict(state)
    after = content(table)
    assert after.keys() == before.keys()
    assert all(torch.equal(torch.as_tensor(after[name]), torch.as_tensor(before[name])) for name in before)
    assert table(torch.tensor([100])).shape == (1, 2)


def test_several_wrong_entries_are_all_named() -> None:
    state = {**trained().state_dict(), "ids": torch.ones(3), "last_seen": torch.ones(3), "clock": None}
    with pytest.raises(RuntimeError) as error:
        trained().load_state_dict(state)
    assert all(f"\t{name}: expected" in str(error.value) for name in ("ids", "last_seen", "clock"))


def test_rows_of_another_floating_dtype_are_converted_as_torch_does() -> None:
    table = HashTable([2], dtype=torch.float64)
    table.load_state_dict(trained().state_dict())
    assert table.embeddings().dtype == torch.float64
    assert (table.embeddings() == 1).all()


def test_a_state_of_an_earlier_version_is_loaded() -> None:
    state = trained().state_dict()
    del state["admitted"]
    table = HashTable([2])
    table.load_state_dict(state)
    assert len(table) == 3
    assert table.run_filter(4).admitted == 0


def test_equal_tables_have_equal_states_wherever_their_rows_lie() -> None:
    rule = FilterHook("GlobalStepFilter", {"filter_step": 1})
    moved, straight = (HashTable([1], filter_hook=rule, initializer=0.5) for _ in range(2))
    moved(torch.tensor([1, 2, 3]))
    moved.tick(1)
    moved(torch.tensor([8]))
    moved.tick(2)
    moved.run_filter(2)  # 8 is behind the gaps that 1 to 3 have left
    moved(torch.tensor([9, 7]))
    straight.load_state_dict(moved.state_dict())
    ours, theirs = straight.state_dict(), moved.state_dict()
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert ours["ids"].tolist() == [7, 8, 9]


def test_rows_go_on_from_the_initializers_own_generator() -> None:
    def table() -> HashTable:
        return HashTable([4], initializer=NormalInitializer(generator=torch.Generator().manual_seed(1)))

    first, resumed = table(), table()
    first(torch.arange(10))
    resumed.load_state_dict(first.state_dict())
    assert torch.equal(first(torch.arange(10, 20)), resumed(torch.arange(10, 20)))


def test_what_narrow_rows_have_lost_to_rounding_is_saved() -> None:
    def train(table: HashTable, optimizer: SparseAdamW, steps: int) -> Tensor:
        for _ in range(steps):
            optimizer.zero_grad()
            (table(torch.arange(4)).float() * torch.arange(4)[:, None]).sum().backward()
            optimizer.step()
        return table.embeddings()

    def fresh() -> tuple[HashTable, SparseAdamW]:
        table = HashTable([2], name="t", dtype=torch.bfloat16, initializer=1.0)
        return table, SparseAdamW({"t": table}, lr=1e-3)

    whole = train(*fresh(), steps=60)
    first = fresh()
    train(*first, steps=25)
    resumed = fresh()
    resumed[0].load_state_dict(first[0].state_dict())
    resumed[1].load_state_dict(first[1].state_dict())
    assert torch.equal(train(*resumed, steps=35), whole)
