"""Common behaviour of all row optimizers: torch's interface, schedulers, and state that is saved by id."""

import copy
import io
import pickle
from typing import Any

import pytest
import torch
from torch import nn

from recis.nn import FilterHook, HashTable, filter_out_sparse_param
from recis.nn.initializers import NormalInitializer
from recis.optim import SparseAdagrad, SparseAdam, SparseAdamW, SparseAdamWTF
from recis.optim.sparse_optimizer import SparseOptimizer

Kind = type[SparseAdamW] | type[SparseAdagrad] | type[SparseAdam] | type[SparseAdamWTF]
KINDS = [SparseAdamW, SparseAdagrad, SparseAdam, SparseAdamWTF]


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        after_five = FilterHook("GlobalStepFilter", {"filter_step": 5})
        self.user = HashTable([2], name="user", initializer=NormalInitializer(std=0.1), filter_hook=after_five)
        self.item = HashTable([3], name="item", dtype=torch.float64, initializer=NormalInitializer(std=0.1))

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


@pytest.mark.parametrize("kind", KINDS)
def test_a_restored_training_goes_on_as_the_uninterrupted_one(kind: Kind) -> None:
    torch.manual_seed(0)
    model = Model()
    optimizer = kind(filter_out_sparse_param(model), lr=0.1)
    train(model, optimizer, range(1, 40))

    again = Model()
    resumed = kind(filter_out_sparse_param(again), lr=0.5)
    train(again, resumed, range(1, 5))  # state to be replaced
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


@pytest.mark.parametrize("kind", [SparseAdamW, SparseAdagrad, SparseAdam])  # SparseAdamWTF decays whatever the rate
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


# -- copies ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda each: pickle.loads(pickle.dumps(each))])
@pytest.mark.parametrize("kind", KINDS)
def test_a_copied_optimizer_trains_copies_of_its_tables(kind: Kind, copied: Any) -> None:
    torch.manual_seed(0)
    model = Model()
    optimizer = kind(filter_out_sparse_param(model), lr=0.1)
    train(model, optimizer, range(1, 10))
    optimizer.zero_grad()
    twin = copied(optimizer)
    assert type(twin) is kind
    before = {name: table.embeddings() for name, table in optimizer.tables.items()}
    for name, table in twin.tables.items():
        assert table is not optimizer.tables[name]
        assert torch.equal(table.embeddings(), before[name])
        table(table.ids()).sum().backward()
    twin.step()
    for name, table in twin.tables.items():
        assert not torch.equal(table.embeddings(), before[name])
        assert torch.equal(optimizer.tables[name].embeddings(), before[name])
    assert twin.state_dict()["param_groups"] == optimizer.state_dict()["param_groups"]


def test_an_optimizer_copied_with_its_model_trains_the_copied_model() -> None:
    model = Model()
    optimizer = SparseAdamW(filter_out_sparse_param(model), lr=0.1)
    train(model, optimizer, range(1, 10))
    twin, its = copy.deepcopy((model, optimizer))
    assert its.tables == {"user": twin.user, "item": twin.item}
    for each, trained in ((model, optimizer), (twin, its)):
        torch.manual_seed(7)
        train(each, trained, range(10, 30))
    for ours, theirs in zip(model.state_dict().values(), twin.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_scheduler_of_a_copy_changes_the_copy() -> None:
    optimizer = SparseAdamW({"t": HashTable([1])}, lr=1.0)
    twin = copy.deepcopy(optimizer)
    scheduler = torch.optim.lr_scheduler.StepLR(twin, step_size=1, gamma=0.5)
    twin.step()
    scheduler.step()
    assert (optimizer.param_groups[0]["lr"], twin.param_groups[0]["lr"]) == (1.0, 0.5)


# -- accumulation ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_averaged_over_the_steps_of_an_accumulation(kind: Kind) -> None:
    tables = [HashTable([2], initializer=1.0, dtype=torch.float64) for _ in range(2)]
    often, once = (kind({"t": table}, lr=0.1) for table in tables)
    often.set_grad_accum_steps(4)
    for step in range(20):
        often.zero_grad()
        loss = [(table(torch.tensor([1, step % 3])) * (step + 1)).sum() for table in tables]
        loss[0].backward()
        (loss[1] / 4).backward()
        before = tables[0].embeddings()
        often.step()
        if step % 4 == 3:
            once.step()
            once.zero_grad()
        else:
            assert torch.equal(tables[0].embeddings(), before)
    torch.testing.assert_close(tables[0].embeddings(), tables[1].embeddings(), rtol=1e-12, atol=0)


@pytest.mark.parametrize("steps", [0, -1, 1.5, True, None])
def test_an_accumulation_is_a_positive_number_of_steps(steps: Any) -> None:
    with pytest.raises(ValueError, match="set_grad_accum_steps's steps: expected a positive int"):
        SparseAdamW({"t": HashTable([1])}).set_grad_accum_steps(steps)


# -- narrow rows -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [pytest.param(torch.float16, marks=pytest.mark.slow), torch.bfloat16])
@pytest.mark.parametrize("kind", KINDS)
def test_narrow_rows_are_trained_in_float32(kind: Kind, dtype: torch.dtype, device: torch.device) -> None:
    """Updates far below the resolution of the dtype accumulate, also in rows that are added later and evicted again."""
    rule = FilterHook("GlobalStepFilter", {"filter_step": 30})
    wide, narrow = (
        HashTable([3], dtype=each, device=device, initializer=1.0, filter_hook=rule) for each in (torch.float32, dtype)
    )
    optimizers = [kind({"t": table}, lr=2e-4) for table in (wide, narrow)]
    for step in range(150):
        ids = torch.randint(step, step + 30, (20,), generator=torch.Generator().manual_seed(step)).to(device)
        for table, optimizer in zip((wide, narrow), optimizers, strict=True):
            optimizer.zero_grad()
            rows = table(ids)
            assert rows.dtype == table.weight().dtype
            (rows * 0.5).sum().backward()
            optimizer.step()
            table.tick(step)
            table.run_filter(step)
    ids = wide.ids()
    assert (
        narrow.state(next(iter(optimizers[1].state_dict()["state"]["t"].keys() - {"step", "ids"}))).dtype
        is torch.float32
    )
    exact = narrow.read_rows(narrow.slots(ids))
    torch.testing.assert_close(exact, wide.read_rows(wide.slots(ids)), rtol=1e-6, atol=1e-6)
    assert torch.equal(narrow.eval()(ids), exact.to(dtype))
    assert (wide.eval()(ids) < 1).all()


def test_rows_that_are_set_forget_what_they_had_lost_to_rounding() -> None:
    table = HashTable([1], dtype=torch.float16, initializer=1.0)
    optimizer = SparseAdamW({"t": table}, lr=1e-5, weight_decay=0)
    table(torch.tensor([1])).sum().backward()
    optimizer.step()
    slots = table.slots(torch.tensor([1]))
    assert table.read_rows(slots).item() == pytest.approx(1 - 1e-5, abs=1e-7)
    table.insert(torch.tensor([1]), torch.zeros(1, 1, dtype=torch.float16))
    assert table.read_rows(slots).item() == 0.0


def test_a_table_may_become_narrow_or_wide_in_the_middle_of_a_training() -> None:
    table = HashTable([2], initializer=1.0)
    optimizer = SparseAdamW({"t": table}, lr=1e-2)
    for dtype in (torch.float32, torch.bfloat16, torch.float16, torch.float64, torch.float32):
        rows = table(torch.arange(3))
        rows.sum().backward()
        table.to(dtype)
        assert table.state("exp_avg").dtype == torch.promote_types(dtype, torch.float32)
        optimizer.step()
        optimizer.zero_grad()
        assert table.weight().dtype == dtype
    assert (table.embeddings() < 0.97).all()


def test_what_narrow_rows_have_lost_is_theirs_again_when_they_become_wide() -> None:
    table = HashTable([1], dtype=torch.bfloat16, initializer=1.0)
    optimizer = SparseAdamW({"t": table}, lr=1e-4, weight_decay=0)
    for _ in range(3):
        table(torch.tensor([1])).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    assert table.embeddings().item() == 1.0
    table.float()
    assert table.embeddings().item() == pytest.approx(1 - 3e-4, abs=1e-6)
    assert "residual" not in table.state_dict()


# -- state -------------------------------------------------------------------------------------------------------------


def damaged(change: Any) -> dict[str, Any]:
    table = HashTable([2])
    table(torch.arange(3))
    state = copy.deepcopy(SparseAdamW({"t": table}).state_dict())
    change(state["state"]["t"])
    return state


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("exp_avg"), r"the state of SparseAdamW, with \['exp_avg'\]"),
        (
            lambda t: t.update(exp_avg=torch.ones(3, 4)),
            r"exp_avg: expected a floating tensor of shape \(3, 2\), got 'tor",
        ),
        (lambda t: t.update(exp_avg=torch.ones(3, 2).int()), "exp_avg: expected a floating tensor"),
        (lambda t: t.update(ids=torch.tensor([0, 1, 1])), "distinct int64 ids"),
        (lambda t: t.update(ids=torch.ones(3)), "distinct int64 ids"),
        (lambda t: t.update(ids=[0, 1, 2]), "distinct int64 ids.*got 'list'"),
    ],
)
def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(change: Any, message: str) -> None:
    table = HashTable([2])
    table(torch.arange(3)).sum().backward()
    optimizer = SparseAdamW({"t": table})
    optimizer.step()
    before = copy.deepcopy(optimizer.state_dict())
    with pytest.raises(ValueError, match=message):
        optimizer.load_state_dict(damaged(change))
    after = optimizer.state_dict()
    assert after["state"]["t"]["step"] == before["state"]["t"]["step"]
    assert torch.equal(after["state"]["t"]["exp_avg"], before["state"]["t"]["exp_avg"])


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


def test_a_table_that_is_given_twice_is_refused() -> None:
    table = HashTable([1])
    with pytest.raises(ValueError, match=r"expected each table once, got \['a', 'b'\]"):
        SparseAdamW({"a": table, "b": table})


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
