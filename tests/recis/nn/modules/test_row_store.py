"""Slots: growth in blocks, reuse after release, and the initial values of a new row."""

import torch

from recis.nn.modules.id_index import NO_SLOT
from recis.nn.modules.row_store import RowStore


def _store(device: torch.device) -> RowStore:
    store = RowStore(8, device)
    store.add_column("value", (2,), torch.float32, 0.5)
    return store


def test_slots_are_given_out_once_and_never_the_null_slot(device: torch.device) -> None:
    store = _store(device)
    slots = torch.cat([store.allocate(n) for n in (3, 0, 5, 40)]).tolist()
    assert sorted(slots) == list(range(1, 49))
    assert NO_SLOT not in slots
    assert len(store) == 48
    assert store.live().tolist() == list(range(1, 49))


def test_growth_keeps_values_and_fills_new_rows(device: torch.device) -> None:
    store = _store(device)
    slots = store.allocate(4)
    store.column("value")[slots] = 7.0
    store.allocate(1_000)
    assert (store.column("value")[slots] == 7.0).all()
    assert (store.column("value")[5:] == 0.5).all()
    assert len(store.column("value")) % 8 == 0


def test_growth_is_amortised(device: torch.device) -> None:
    store = _store(device)
    sizes = set()
    for _ in range(2_000):
        store.allocate(1)
        sizes.add(len(store.column("value")))
    assert len(sizes) < 12


def test_released_slots_are_reused_with_every_column_reset(device: torch.device) -> None:
    store = _store(device)
    slots = store.allocate(6)
    store.column("value")[slots] = 9.0
    store.release(slots[1:3])
    assert len(store) == 4
    assert store.live().tolist() == [1, 4, 5, 6]
    again = store.allocate(3)
    assert set(again.tolist()) == {2, 3, 7}
    assert (store.column("value")[again] == 0.5).all()
    assert (store.column("value")[slots[3:]] == 9.0).all()


def test_bytes_count_all_columns(device: torch.device) -> None:
    store = _store(device)
    before = store.nbytes
    store.add_column("more", (2,), torch.float32, 0.0)
    assert store.nbytes - before == 8 * 2 * 4
