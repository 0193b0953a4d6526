"""What all row optimizers share: torch's interface, schedulers, and state that is saved by id."""

import io
from typing import Any

import pytest
import torch
from torch import nn

from recis.nn import FilterHook, HashTable, filter_out_sparse_param
from recis.optim import SparseAdagrad, SparseAdamW
from recis.optim.sparse_optimizer import SparseOptimizer

Kind = type[SparseAdamW] | type[SparseAdagrad]


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.user = HashTable([2], name="user", filter_hook=FilterHook("GlobalStepFilter", {"filter_step": 5}))
        self.item = HashTable([3], name="item", dtype=torch.float64)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return (self.user(ids).square().sum() + self.item(ids).square().sum()).float()


def train(model: Model, optimizer: SparseOptimizer, steps: range) -> None:
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        optimizer.zero_grad()
        model(torch.randint(step, step + 20, (30,), generator=generator)).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        for table in (model.user, model.item):
            table.tick(step)
            table.run_filter(step)


def round_trip(state: dict[str, Any]) -> dict[str, Any]:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    loaded: dict[str, Any] = torch.load(file, weights_only=True)
    return loaded


@pytest.mark.parametrize("kind", [SparseAdamW, SparseAdagrad])
def test_a_restored_training_goes_on_as_the_uninterrupted_one(kind: Kind) -> None:
    torch.manual_seed(0)
    model = Model()
    optimizer = kind(filter_out_sparse_param(model), lr=0.1)
    train(model, optimizer, range(1, 40))

    again = Model()
    resumed = kind(filter_out_sparse_param(again), lr=0.5)
    train(again, resumed, range(1, 5))  # something to forget
    again.load_state_dict(round_trip(model.state_dict()))
    resumed.load_state_dict(round_trip(optimizer.state_dict()))
    assert resumed.param_groups[0]["lr"] == 0.1

    for each, its in ((model, optimizer), (again, resumed)):
        torch.manual_seed(7)
        train(each, its, range(40, 60))
    for ours, theirs in ((model.user, again.user), (model.item, again.item)):
        ids = ours.ids().sort().values
        assert torch.equal(ids, theirs.ids().sort().values)
        torch.testing.assert_close(ours.eval()(ids), theirs.eval()(ids))


@pytest.mark.parametrize("kind", [SparseAdamW, SparseAdagrad])
def test_learning_rate_schedulers_work(kind: Kind) -> None:
    table = HashTable([1], initializer=1.0)
    optimizer = kind({"table": table}, lr=1.0)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.0)
    table(torch.tensor([1])).sum().backward()
    optimizer.step()
    scheduler.step()
    after_first = table.embeddings()
    assert after_first.item() != 1.0
    optimizer.step()
    assert torch.equal(table.embeddings(), after_first)


def test_a_closure_is_evaluated_with_gradients() -> None:
    table = HashTable([1], initializer=1.0)
    optimizer = SparseAdamW({"table": table}, lr=0.1, weight_decay=0)

    def closure() -> float:
        loss = table(torch.tensor([1])).sum()
        loss.backward()
        return float(loss.detach())

    assert optimizer.step(closure) == 1.0
    assert table.embeddings().item() == pytest.approx(0.9)


def test_zero_grad_forgets() -> None:
    table = HashTable([1], initializer=1.0)
    optimizer = SparseAdamW({"table": table}, lr=0.1)
    table(torch.tensor([1])).sum().backward()
    optimizer.zero_grad(set_to_none=False)
    optimizer.step()
    assert table.embeddings().item() == 1.0


def test_a_second_optimizer_starts_the_state_afresh() -> None:
    table = HashTable([1], initializer=1.0)
    first = SparseAdamW({"table": table}, lr=0.1)
    table(torch.tensor([1])).sum().backward()
    first.step()
    SparseAdamW({"table": table}, lr=0.1)
    assert not table.state("exp_avg").any()


def test_state_counts_as_bytes_of_the_table() -> None:
    table = HashTable([4], block_size=100)
    before = table.nbytes
    SparseAdamW({"table": table})
    assert table.nbytes - before == 2 * 100 * 4 * 4


@pytest.mark.parametrize("params", [[torch.ones(1)], {"dense": torch.ones(1)}, nn.Linear(1, 1).parameters()])
def test_only_tables_by_name_are_taken(params: Any) -> None:
    with pytest.raises(TypeError, match="filter_out_sparse_param"):
        SparseAdamW(params)


def test_a_model_without_tables_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one table"):
        SparseAdamW(filter_out_sparse_param(nn.Linear(1, 1)))


def test_state_of_other_tables_is_refused() -> None:
    state = SparseAdamW({"a": HashTable([1])}).state_dict()
    with pytest.raises(ValueError, match=r"expected tables \['b'\], got \['a'\]"):
        SparseAdamW({"b": HashTable([1])}).load_state_dict(state)


def test_state_for_ids_that_are_not_in_the_table_is_refused() -> None:
    table = HashTable([1])
    table(torch.arange(3))
    state = SparseAdamW({"a": table}).state_dict()
    with pytest.raises(ValueError, match=r"load the model's state first.*3 unknown ids"):
        SparseAdamW({"a": HashTable([1])}).load_state_dict(state)
