"""The table: lookup, admission, eviction, reuse, gradients, persistence, and errors for invalid input."""

import copy
import gc
import io
import pickle
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from recis.nn import AdmitHook, FilterHook, HashTable, filter_out_sparse_param
from recis.nn.initializers import ConstantInitializer, NormalInitializer
from recis.nn.modules.hashtable import gen_slice, live_tables, num_tables_made
from recis.nn.modules.hashtable_hook_impl import BaseAdmitHookImpl, HashtableHookFactory
from tests.effort import examples

READ_ONLY = AdmitHook("ReadOnly")
AFTER_TEN = FilterHook("GlobalStepFilter", {"filter_step": 10})
RANDOM = NormalInitializer(std=0.01)  # distinguishable rows
EXTREMES = [0, -1, 2**63 - 1, -(2**63)]


class AdmitPairs(BaseAdmitHookImpl):
    """Admits ids that occur at least twice in a lookup."""

    def admit(self, ids: Tensor, counts: Tensor) -> Tensor:
        return counts >= 2


@pytest.fixture(autouse=True)
def rules(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register the rules of this file for the duration of a test."""
    monkeypatch.setattr(HashtableHookFactory, "_admits", HashtableHookFactory._admits | {"AdmitPairs": AdmitPairs})


def as_dict(table: HashTable) -> dict[int, list[float]]:
    return dict(zip(table.ids().tolist(), table.embeddings().tolist(), strict=True))


def test_a_lookup_gives_each_id_its_row(device: torch.device) -> None:
    table = HashTable([4], device=device, initializer=RANDOM)
    ids = torch.tensor([7, 3, 7, *EXTREMES], device=device)
    rows = table(ids)
    assert rows.shape == (7, 4)
    assert torch.equal(rows[0], rows[2])
    assert len(table) == 6
    assert rows.device == table.device == device
    assert torch.equal(table(ids), rows)
    assert sorted(table.ids().tolist()) == sorted({7, 3, *EXTREMES})


@pytest.mark.parametrize("shape", [(), (0,), (5,), (2, 3), (2, 0), (2, 3, 4)])
def test_ids_may_have_any_shape(shape: tuple[int, ...]) -> None:
    table = HashTable([3])
    assert table(torch.zeros(shape, dtype=torch.int64)).shape == (*shape, 3)


def test_rows_may_have_any_shape() -> None:
    table = HashTable([2, 3])
    assert table(torch.arange(5)).shape == (5, 2, 3)
    assert table.embeddings().shape == (5, 2, 3)


def test_rows_do_not_change_as_the_table_grows() -> None:
    table = HashTable([2], block_size=4, initializer=RANDOM)
    first = table(torch.arange(10)).detach().clone()
    for start in range(10, 5_000, 70):
        table(torch.arange(start, start + 70))
    assert torch.equal(table(torch.arange(10)), first)
    assert len(table) == 5_050


def test_new_rows_are_zeros_unless_an_initializer_says_otherwise() -> None:
    assert not HashTable([8])(torch.arange(500)).any()
    assert not HashTable([8], initializer=None)(torch.arange(500)).any()


def test_random_rows_come_from_torchs_generator() -> None:
    def rows() -> Tensor:
        torch.manual_seed(3)
        return HashTable([8], initializer=NormalInitializer(std=0.01))(torch.arange(500)).detach()

    assert torch.equal(rows(), rows())
    assert 0.009 < rows().std() < 0.011


def test_rows_can_be_initialised_by_a_number_or_a_function() -> None:
    ids = torch.arange(100)
    assert (HashTable([2], initializer=0.25)(ids) == 0.25).all()
    assert (HashTable([2], initializer=nn.init.ones_)(ids) == 1).all()
    uniform = HashTable([2], initializer=partial(nn.init.uniform_, a=2.0, b=3.0))(ids)
    assert uniform.min() >= 2
    assert uniform.max() <= 3


def test_jagged_ids_give_jagged_rows(device: torch.device) -> None:
    parts = [torch.tensor([4, 5, 6], device=device), torch.tensor([], dtype=torch.int64, device=device)]
    ids = torch.nested.nested_tensor([*parts, torch.tensor([5], device=device)], layout=torch.jagged)
    table = HashTable([2], device=device, initializer=NormalInitializer())
    rows = table(ids)
    assert rows.is_nested
    assert [part.shape[0] for part in rows.unbind()] == [3, 0, 1]
    assert torch.equal(rows.values(), table(ids.values()))
    rows.values().sum().backward()
    grad = table.grad()
    assert grad is not None
    assert grad[1].tolist() == [[1, 1], [2, 2], [1, 1]]


def test_what_lies_in_the_gaps_of_jagged_ids_is_no_id() -> None:
    cut = torch.nested.narrow(
        torch.arange(12).view(3, 4), 1, torch.tensor([0, 1, 2]), torch.tensor([2, 2, 1]), layout=torch.jagged
    )
    table = HashTable([2])
    assert [len(part) for part in table(cut).unbind()] == [2, 2, 1]
    assert table.ids().tolist() == [0, 1, 5, 6, 10]


def test_gradients_of_an_id_are_added_or_averaged_within_a_lookup(device: torch.device) -> None:
    for how, expected in (("worker", [8.0, 4.0]), ("id", [5.0, 4.0])):
        table = HashTable([1], device=device, grad_reduce_by=how)
        ids = torch.tensor([1, 2, 1], device=device)
        (table(ids).flatten() * torch.tensor([1.0, 4.0, 5.0], device=device)).sum().backward()
        table(ids[:1]).mul(2).sum().backward()
        grad = table.grad()
        assert grad is not None
        assert grad[1].flatten().tolist() == expected, how


def test_the_arguments_of_recis_are_taken(caplog: pytest.LogCaptureFixture) -> None:
    table = HashTable(
        [8],
        5,
        torch.float64,
        torch.device("cpu"),
        False,
        None,
        gen_slice(),
        ConstantInitializer(2.0),
        "u",
        "id",
        AFTER_TEN,
    )
    assert (table(torch.arange(3)) == 2).all()
    assert (table.name, table.coalesce, table.children_hashtable) == ("u", False, ["u"])
    assert caplog.records == []
    both = HashTable([8], coalesced=True, children=["a", "b"], name="both", slice=gen_slice(1, 3))
    assert (both.coalesce, both.children_hashtable) == (True, ["a", "b"])
    assert (both.slice.slice_begin, both.slice.slice_end, both.slice.slice_size) == (21846, 43691, 65536)
    assert "slice 21846 to 43691 of 65536 is kept but not enforced" in caplog.text


def test_shares_of_all_ids_are_disjoint_and_complete() -> None:
    shares = [gen_slice(index, 7, 100) for index in range(7)]
    assert [share.slice_begin for share in shares] == [0, *(share.slice_end for share in shares[:-1])]
    assert shares[-1].slice_end == 100
    assert {share.slice_end - share.slice_begin for share in shares} == {14, 15}


def test_integers_of_numpy_are_integers() -> None:
    rule = FilterHook("GlobalStepFilter", {"filter_step": np.int64(2)})
    numbers: tuple[Any, Any] = (np.int64(3), np.int32(7))
    table = HashTable([numbers[0]], block_size=numbers[1], filter_hook=rule)
    assert table(torch.arange(20)).shape == (20, 3)
    table.tick(int(np.int64(1)))
    table.tick(2)
    assert table.run_filter(2).evicted == 0
    table.tick(3)
    assert table.run_filter(3).evicted == 20


def test_the_dtype_is_the_rows_dtype() -> None:
    assert HashTable([2], dtype=torch.float64)(torch.arange(3)).dtype == torch.float64
    assert HashTable([2], dtype=torch.bfloat16)(torch.arange(3)).dtype == torch.bfloat16


def test_rows_may_be_changed_in_place_downstream() -> None:
    table = HashTable([2])
    torch.relu_(table(torch.arange(3))).sum().backward()


def _work_of_a_training_lookup(num_rows: int, num_ids: int, work_meter: Any) -> list[tuple[str, int]]:
    table = HashTable([2], block_size=num_rows + 1)
    table(torch.arange(num_rows))
    ids = torch.arange(0, 2 * num_ids, 2)
    with work_meter() as meter:
        table(ids)
    return list(meter.operations)


def test_a_lookup_does_the_same_work_in_a_small_and_in_a_large_table(work_meter: Any) -> None:
    small = _work_of_a_training_lookup(10_000, 1_000, work_meter)
    large = _work_of_a_training_lookup(100_000, 1_000, work_meter)

    assert [name for name, _ in small] == [name for name, _ in large]
    # Only the operation that marks the seen rows returns a whole column, of which it has changed 1,000 elements.
    differing = {name for (name, numel), (_, other) in zip(small, large, strict=True) if numel != other}
    assert differing <= {"aten.index_fill_.int_Scalar"}


def test_a_lookup_takes_as_many_operations_for_one_id_as_for_many(work_meter: Any) -> None:
    counts = {len(_work_of_a_training_lookup(10_000, num_ids, work_meter)) for num_ids in (1, 10, 5_000)}
    assert len(counts) == 1
    assert counts.pop() < 60


def test_eval_mode_admits_nothing_and_reads_zeros(device: torch.device) -> None:
    table = HashTable([2], device=device, initializer=1.0, filter_hook=AFTER_TEN)
    table(torch.arange(3, device=device))
    table.tick(1)
    table.eval()
    rows = table(torch.tensor([0, 99], device=device))
    assert rows.tolist() == [[1, 1], [0, 0]]
    assert not rows.requires_grad
    assert len(table) == 3
    table.tick(12)
    assert table.run_filter(12).evicted == 3, "a lookup in eval mode does not count as seen"


def test_inference_mode_leaves_the_table_as_it_is() -> None:
    table = HashTable([2])
    table(torch.arange(3))
    with torch.inference_mode():
        assert table(torch.arange(10)).shape == (10, 2)
    assert len(table) == 3
    table(torch.arange(10)).sum().backward()


def test_no_grad_still_admits() -> None:
    table = HashTable([2])
    with torch.no_grad():
        assert not table(torch.arange(3)).requires_grad
    assert len(table) == 3


@pytest.mark.parametrize("whole_table", [True, False])
def test_read_only_reads_known_rows_and_zeros(whole_table: bool) -> None:
    table = HashTable([2], initializer=1.0, admit_hook=READ_ONLY if whole_table else None)
    table.insert(torch.tensor([5]), torch.tensor([[3.0, 4.0]]))
    rows = table(torch.tensor([5, 6])) if whole_table else table(torch.tensor([5, 6]), admit_hook=READ_ONLY)
    assert rows.tolist() == [[3, 4], [0, 0]]
    rows.sum().backward()
    grad = table.grad()
    assert grad is not None
    assert grad[1].tolist() == [[1, 1]], "known rows are trained, unknown ones are not"
    assert len(table) == 1


def test_zeros_of_unknown_ids_pass_no_gradient_to_a_later_row() -> None:
    table = HashTable([1])
    unknown = table(torch.tensor([6]), admit_hook=READ_ONLY)
    table(torch.tensor([6]))
    unknown.sum().backward()
    grad = table.grad()
    assert grad is not None
    assert len(grad[0]) == 0


def test_a_custom_rule_sees_counts_and_decides(device: torch.device) -> None:
    table = HashTable([2], device=device, initializer=1.0, admit_hook=AdmitHook("AdmitPairs"))
    rows = table(torch.tensor([8, 9, 8, 7], device=device))
    assert rows[:, 0].tolist() == [1, 0, 1, 0]
    assert table.ids().tolist() == [8]
    rows.sum().backward()
    grad = table.grad()
    assert grad is not None
    assert grad[1].tolist() == [[2, 2]]


def test_insert_sets_rows_and_the_last_of_equal_ids_wins(device: torch.device) -> None:
    table = HashTable([1], device=device)
    table(torch.tensor([1], device=device))
    ids = torch.tensor([2, 1, 2, -5], device=device)
    table.insert(ids, torch.tensor([[10.0], [20.0], [30.0], [40.0]], device=device))
    assert as_dict(table) == {1: [20.0], 2: [30.0], -5: [40.0]}


def test_insert_of_nothing_is_fine() -> None:
    table = HashTable([1])
    table.insert(torch.empty(0, dtype=torch.int64), torch.empty(0, 1))
    assert len(table) == 0


def test_ids_map_indexes_embeddings() -> None:
    table = HashTable([2], filter_hook=AFTER_TEN, initializer=RANDOM)
    table(torch.arange(100))
    table.tick(20)
    table(torch.arange(50, 120))
    table.tick(31)
    table.run_filter(31)
    ids, index = table.ids_map()
    assert torch.equal(table.embeddings()[index], table.eval()(ids))
    assert len(ids) == len(table) == 70


def test_clear_leaves_a_usable_table() -> None:
    table = HashTable([2], initializer=1.0)
    table(torch.arange(50)).sum().backward()
    table.clear()
    assert len(table) == 0
    assert table.grad() is None
    assert table.ids().tolist() == []
    assert (table(torch.arange(60)) == 1).all()
    assert len(table) == 60


def test_it_reads_well() -> None:
    table = HashTable([2], name="user")
    table(torch.arange(3))
    assert repr(table) == "HashTable('user', rows=3, embedding_shape=[2], dtype=torch.float32, device=cpu)"


def test_an_id_is_evicted_when_none_of_the_last_filter_steps_has_seen_it(device: torch.device) -> None:
    table = HashTable([1], device=device, filter_hook=AFTER_TEN)
    for step in range(1, 12):
        table(torch.tensor([0] if step == 1 else [1] if step == 2 else [2], device=device))
        table.tick(step)
    counts = table.run_filter(11)
    assert table.ids().tolist() == [1, 2], "step 1 is at or before 11 - 10, step 2 is not"
    assert (counts.rows_before, counts.evicted, counts.rows_after, counts.admitted) == (3, 1, 2, 3)
    assert counts.bytes == table.nbytes
    assert table.run_filter(11).admitted == 0


def test_one_unseen_step_is_enough_for_a_filter_step_of_one() -> None:
    table = HashTable([1], filter_hook=FilterHook("GlobalStepFilter", {"filter_step": 1}))
    for step in range(5):
        table(torch.tensor([step, 100]))
        table.tick(step)
        table.run_filter(step)
        assert table.ids().sort().values.tolist() == [step, 100]


def test_a_table_without_a_rule_evicts_nothing_and_reports() -> None:
    table = HashTable([1])
    table(torch.arange(5))
    table.tick(1_000)
    counts = table.run_filter(1_000)
    assert (counts.rows_before, counts.evicted, counts.rows_after, counts.admitted) == (5, 0, 5, 5)


def test_slots_of_evicted_ids_are_reused() -> None:
    table = HashTable([4], filter_hook=AFTER_TEN)
    largest = 0
    for step in range(20, 2_000, 20):
        table(torch.arange(step * 100, step * 100 + 1_000))
        table.tick(step)
        assert table.run_filter(step).evicted == (0 if step == 20 else 1_000)
        assert len(table) == 1_000
        largest = max(largest, len(table.weight()))
    assert largest == 2_048, "room for the thousand that leave and the thousand that come, and no more"


@pytest.mark.parametrize("first", [0, 1, 10_000])
def test_a_run_may_start_at_any_step(first: int) -> None:
    table = HashTable([1], filter_hook=AFTER_TEN)
    for step in range(first, first + 11):
        table(torch.tensor([0 if step == first else 1]))
        table.tick(step)
        assert table.run_filter(step).evicted == (1 if step == first + 10 else 0)


def test_ages_survive_a_rewind() -> None:
    table = HashTable([1], filter_hook=AFTER_TEN)
    table(torch.tensor([0]))
    for step in range(500, 506):
        table.tick(step)
    table(torch.tensor([1]))
    table.tick(100)  # step numbers went back: id 0 is 6 steps old, id 1 was seen just now
    for step in range(101, 105):
        assert table.run_filter(step - 1).evicted == 0
        table.tick(step)
    assert table.run_filter(104).evicted == 1
    assert table.ids().tolist() == [1]


def test_the_same_step_twice_ages_nothing() -> None:
    table = HashTable([1], filter_hook=AFTER_TEN)
    table(torch.tensor([0]))
    for _ in range(100):
        table.tick(5)
    assert table.run_filter(5).evicted == 0


def test_rows_seen_between_distant_steps_count_as_just_seen() -> None:
    table = HashTable([1], filter_hook=AFTER_TEN)
    for step in (100, 150, 200):
        table(torch.tensor([step]))
        table.tick(step)
    assert table.run_filter(200).evicted == 2
    assert table.ids().tolist() == [200]


@settings(max_examples=examples(40), deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["train", "eval", "read_only", "insert", "filter", "clear"]),
            st.lists(st.one_of(st.integers(-5, 30), st.sampled_from(EXTREMES)), max_size=30),
        ),
        max_size=25,
    )
)
def test_it_agrees_with_a_dict_through_lookups_inserts_and_evictions(steps: list[tuple[str, list[int]]]) -> None:
    table = HashTable(
        [1], block_size=4, initializer=0.5, filter_hook=FilterHook("GlobalStepFilter", {"filter_step": 2})
    )
    rows: dict[int, float] = {}
    seen: dict[int, int] = {}
    for step, (action, ids) in enumerate(steps, 1):
        tensor = torch.tensor(ids, dtype=torch.int64)
        table.train(action != "eval")
        if action == "train":
            rows |= {i: rows.get(i, 0.5) for i in ids}
        if action == "insert":
            values = [float(step + k) for k in range(len(ids))]
            table.insert(tensor, torch.tensor(values).reshape(-1, 1))
            rows |= dict(zip(ids, values, strict=True))
        elif action == "clear":
            table.clear()
            rows, seen = {}, {}
        elif action != "filter":
            found = table(tensor, admit_hook=READ_ONLY if action == "read_only" else None)
            assert found.flatten().tolist() == [rows.get(i, 0.0) for i in ids]
        if action in ("train", "read_only", "insert"):
            seen |= {i: step for i in ids if i in rows}
        table.tick(step)
        if action == "filter":
            gone = {i for i in rows if seen[i] <= step - 2}
            assert table.run_filter(step).evicted == len(gone)
            rows = {i: row for i, row in rows.items() if i not in gone}
            seen = {i: s for i, s in seen.items() if i not in gone}
        assert as_dict(table) == {i: [row] for i, row in rows.items()}
        assert len(table) == len(rows)


def test_slots_are_given_out_deterministically() -> None:
    def slots() -> Tensor:
        torch.manual_seed(0)
        table = HashTable([1], filter_hook=AFTER_TEN)
        for step in range(1, 60):
            table(torch.randint(0, 50 * step, (200,)))
            table.tick(step)
            table.run_filter(step)
        return torch.stack((table.ids(), table.slots()))

    assert torch.equal(slots(), slots())


def test_gradients_of_all_lookups_and_backwards_are_summed(device: torch.device) -> None:
    table = HashTable([1], block_size=4, device=device)
    first = table(torch.tensor([1, 2, 1], device=device))
    table(torch.arange(100, 1_000, device=device))  # the storage grows between two lookups of a step
    second = table(torch.tensor([2, 3], device=device))
    (first.sum() * 10 + second.sum()).backward()
    table(torch.tensor([3], device=device)).sum().backward()
    grad = table.grad()
    assert grad is not None
    assert torch.equal(grad[0], table.slots(torch.tensor([1, 2, 3], device=device)))
    assert grad[1].flatten().tolist() == [20, 11, 2]
    table.clear_grad()
    assert table.grad() is None


def test_an_evicted_row_loses_its_gradient_and_passes_it_to_nobody() -> None:
    table = HashTable([1], filter_hook=AFTER_TEN)
    early = table(torch.tensor([1, 2]))
    table.tick(1)
    late = table(torch.tensor([1]))
    early.sum().backward(retain_graph=True)
    table.tick(12)
    table.tick(13)
    table(torch.tensor([1]))
    assert table.run_filter(13).evicted == 1
    table(torch.tensor([77]))  # has the slot that id 2 had
    (early.sum() + late.sum()).backward()
    grad = table.grad()
    assert grad is not None
    assert torch.equal(grad[0], table.slots(torch.tensor([1])))
    assert grad[1].tolist() == [[3.0]]


def test_a_gradient_of_other_inputs_leaves_the_table_alone() -> None:
    table = HashTable([2])
    weight = torch.ones(2, requires_grad=True)
    loss = (table(torch.arange(3)) * weight).sum()
    torch.autograd.grad(loss, weight)
    assert table.grad() is None


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.user = HashTable([3], name="user", filter_hook=AFTER_TEN, initializer=RANDOM)
        self.parts = nn.ModuleDict({"item": HashTable([2], name="item", initializer=RANDOM)})
        self.same = self.user
        self.dense = nn.Linear(3, 1)


def test_dense_optimizers_and_ddp_see_no_rows() -> None:
    model = Model()
    model.user(torch.arange(5))
    assert {name for name, _ in model.named_parameters()} == {"dense.weight", "dense.bias"}
    assert list(model.buffers()) == [], "DistributedDataParallel would copy buffers from rank 0 to all others"


def test_tables_are_found_by_their_name_once() -> None:
    model = Model()
    assert filter_out_sparse_param(model) == {"user": model.user, "item": model.parts["item"]}
    assert filter_out_sparse_param(model.user) == {"user": model.user}
    assert filter_out_sparse_param(model.dense) == {}


def test_state_round_trips_through_a_file_into_a_fresh_model() -> None:
    model, fresh = Model(), Model()
    model.user(torch.arange(5_000))
    model.user.tick(500)
    model.user(torch.arange(100))
    model.user.tick(501)
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    fresh.user(torch.arange(-50, 0))
    fresh.load_state_dict(torch.load(file, weights_only=True))
    assert as_dict(fresh.user) == as_dict(model.user)
    assert fresh.user.run_filter(510).admitted == 5_000, "counted on from the saved table"
    assert len(fresh.user) == 100, "last-seen steps and the clock are part of the state"


def test_keys_that_do_not_fit_are_named() -> None:
    model = Model()
    state = model.state_dict()
    del state["user.ids"]
    state["user.more"] = torch.ones(1)
    with pytest.raises(RuntimeError) as error:
        Model().load_state_dict(state)
    assert 'Missing key(s) in state_dict: "user.ids"' in str(error.value)
    assert 'Unexpected key(s) in state_dict: "user.more"' in str(error.value)
    assert Model().load_state_dict(state, strict=False).missing_keys[:1] == ["user.ids"]


def test_rows_of_another_shape_are_refused() -> None:
    table = HashTable([2])
    table(torch.arange(3))
    with pytest.raises(RuntimeError, match=r"embeddings: expected \(3, 4\), got \(3, 2\)"):
        HashTable([4]).load_state_dict(table.state_dict())


def test_a_copy_is_independent_and_listed() -> None:
    model = Model()
    model.user(torch.arange(10))
    twin = copy.deepcopy(model)
    twin.user(torch.arange(20))
    assert (len(model.user), len(twin.user)) == (10, 20)
    assert any(table is twin.user for table in live_tables().values())
    assert as_dict(model.user).items() <= as_dict(twin.user).items()


def test_the_number_of_tables_made_tells_of_new_ones() -> None:
    before = num_tables_made()
    table = HashTable([1])
    assert num_tables_made() == before + 1
    copy.deepcopy(table)
    assert num_tables_made() == before + 2
    del table
    gc.collect()
    assert num_tables_made() == before + 2


def test_a_table_survives_a_pickle() -> None:
    table = HashTable([2], name="user", filter_hook=AFTER_TEN, initializer=NormalInitializer())
    table(torch.arange(5))
    table.tick(7)
    twin = pickle.loads(pickle.dumps(table))
    assert as_dict(twin) == as_dict(table)
    assert twin.last_step == 7
    assert any(each is twin for each in live_tables().values())


def test_dropped_tables_are_not_listed() -> None:
    table = HashTable([2])
    table(torch.arange(3)).sum().backward()
    number = next(n for n, t in live_tables().items() if t is table)
    del table
    gc.collect()
    assert number not in live_tables()


def test_to_converts_rows_and_moves_everything(device: torch.device) -> None:
    model = Model()
    model.user(torch.arange(10))
    before = model.user.embeddings()
    model.to(device).double()
    assert model.user.device == device
    assert torch.equal(model.user.embeddings().cpu(), before.double())
    rows = model.user(torch.arange(3_000, device=device))
    assert rows.dtype == torch.float64
    assert len(model.user) == 3_000
