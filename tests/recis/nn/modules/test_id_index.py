"""The index against a dict, under adversarial ids, and the work of a lookup."""

from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from recis.nn.modules.id_index import NO_SLOT, IdIndex
from tests.effort import examples

MASK = (1 << 64) - 1
INT64 = st.integers(-(2**63), 2**63 - 1)
ANY_ID = st.one_of(st.integers(-3, 40), INT64, st.sampled_from([-(2**63), 2**63 - 1, 0, -1]))


def _unshift(value: int, bits: int) -> int:
    result = value
    for _ in range(64 // bits + 1):
        result = value ^ (result >> bits)
    return result


def _unmix(value: int) -> int:
    """Invert the index's hash under its first seed: find the id with a given hash."""
    value = _unshift(value & MASK, 31)
    value = value * pow(0x94D049BB133111EB, -1, 1 << 64) & MASK
    value = _unshift(value, 27)
    value = value * pow(0xBF58476D1CE4E5B9, -1, 1 << 64) & MASK
    value = _unshift(value, 30)
    return value - (1 << 64) if value >> 63 else value


def _colliding_ids(num: int) -> Tensor:
    """Return ids that all share both buckets in an index of up to 2^20 buckets."""
    return torch.tensor([_unmix((k % 4096) << 52 | (k // 4096) << 20) for k in range(num)])


def test_an_empty_index_finds_nothing(device: torch.device) -> None:
    index = IdIndex(device)
    assert index.find(torch.tensor([0, -1, 2**63 - 1], device=device)).tolist() == [NO_SLOT] * 3
    assert index.find(torch.empty(0, dtype=torch.int64, device=device)).tolist() == []
    assert len(index) == 0


@settings(max_examples=examples(60), deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.lists(ANY_ID, max_size=60, unique=True)), max_size=12))
def test_it_agrees_with_a_dict_through_insertions_and_removals(steps: list[tuple[bool, list[int]]]) -> None:
    index, model, next_slot = IdIndex(torch.device("cpu")), dict[int, int](), 1
    for insert, ids in steps:
        if insert:
            new = [i for i in ids if i not in model]
            slots = list(range(next_slot, next_slot + len(new)))
            next_slot += len(new)
            index.insert(torch.tensor(new, dtype=torch.int64), torch.tensor(slots, dtype=torch.int64))
            model.update(zip(new, slots, strict=True))
        else:
            old = [i for i in ids if i in model]
            index.remove(torch.tensor(old, dtype=torch.int64))
            for i in old:
                del model[i]
        asked = [*model, *ids, -(2**63), 2**63 - 1, 0]
        assert index.find(torch.tensor(asked)).tolist() == [model.get(i, NO_SLOT) for i in asked]
        assert len(index) == len(model)


def test_many_ids_of_every_shape_are_found_again(device: torch.device) -> None:
    dense = torch.arange(-50_000, 50_000, device=device)
    strided = (torch.arange(1, 50_001, device=device) << 40) + 3
    ids = torch.cat((dense, strided))
    slots = torch.arange(1, len(ids) + 1, device=device)
    index = IdIndex(device)
    index.insert(ids, slots)
    assert torch.equal(index.find(ids), slots)
    assert not index.find(ids + (1 << 20)).any()
    assert index.nbytes <= 64 * len(ids), "a cell takes 16 bytes and at least a quarter of them is used"


def test_ids_made_to_collide_are_stored_without_blowing_up_the_index() -> None:
    ids = _colliding_ids(5_000)
    index = IdIndex(torch.device("cpu"))
    index.insert(ids, torch.arange(1, 5_001))
    assert torch.equal(index.find(ids), torch.arange(1, 5_001))
    assert index.nbytes <= 64 * 5_000


def test_colliding_ids_one_by_one_do_no_harm_to_those_present() -> None:
    index = IdIndex(torch.device("cpu"))
    ids = _colliding_ids(100)
    for k in range(100):
        index.insert(ids[k : k + 1], torch.tensor([k + 1]))
        assert index.find(ids[: k + 1]).tolist() == list(range(1, k + 2))
    assert index.nbytes <= 64 * 100


def test_cells_of_removed_ids_are_used_again() -> None:
    index = IdIndex(torch.device("cpu"))
    slots = torch.arange(1, 1_001)
    index.insert(torch.arange(1_000), slots)
    before = index.nbytes
    for start in range(0, 50_000, 1_000):
        index.remove(torch.arange(start, start + 1_000))
        index.insert(torch.arange(start + 1_000, start + 2_000), slots)
    assert index.nbytes == before


def _work_of_a_lookup(num_rows: int, work_meter: Any) -> list[tuple[str, int]]:
    index = IdIndex(torch.device("cpu"))
    index.insert(torch.arange(num_rows), torch.arange(1, num_rows + 1))
    with work_meter() as meter:
        index.find(torch.arange(0, 2_000, 2))
    return list(meter.operations)


def test_a_lookup_does_the_same_work_in_a_small_and_in_a_large_index(work_meter: Any) -> None:
    small, large = _work_of_a_lookup(10_000, work_meter), _work_of_a_lookup(1_000_000, work_meter)
    assert small == large
    assert max(numel for _, numel in large) == 1_000 * 2 * 2 * 8, "two buckets of eight keys and slots an id"


def test_the_number_of_operations_does_not_depend_on_the_number_of_ids(work_meter: Any) -> None:
    index = IdIndex(torch.device("cpu"))
    index.insert(torch.arange(100_000), torch.arange(1, 100_001))
    lengths = set()
    for num_ids in (1, 10, 10_000):
        with work_meter() as meter:
            index.find(torch.arange(num_ids))
        lengths.add(len(meter.operations))
    assert len(lengths) == 1, "no loop over ids"


def test_an_insertion_takes_few_operations_whatever_the_number_of_ids(work_meter: Any) -> None:
    counts = []
    for num_ids in (100, 10_000):
        index = IdIndex(torch.device("cpu"))
        index.insert(torch.arange(1_000_000, 1_000_000 + 4 * num_ids), torch.arange(1, 4 * num_ids + 1))
        with work_meter() as meter:
            index.insert(torch.arange(num_ids), torch.arange(5 * num_ids, 6 * num_ids))
        counts.append(len(meter.operations))
    assert max(counts) < 400


def test_the_same_sequence_gives_the_same_cells() -> None:
    def build() -> Tensor:
        index = IdIndex(torch.device("cpu"))
        index.insert(_colliding_ids(500), torch.arange(1, 501))
        index.remove(_colliding_ids(500)[::3])
        return index._cells

    assert torch.equal(build(), build())
