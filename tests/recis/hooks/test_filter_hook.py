"""The filter hook: when passes happen, over which tables, what they report, and what is refused."""

import gc
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from recis.framework import Trainer, TrainingArguments
from recis.hooks.filter_hook import FilterPass, HashTableFilterHook
from recis.nn import FilterHook, HashTable, filter_out_sparse_param
from recis.nn.modules import hashtable
from recis.nn.modules.hashtable import live_tables
from recis.nn.modules.hashtable_hook_impl import BaseFilterHookImpl, HashtableHookFactory
from recis.optim import SparseAdamW
from recis.state import RunState

AFTER_TEN = FilterHook("GlobalStepFilter", {"filter_step": 10})
BAD_INTERVALS = [0, -1, 1.5, True, False, "x", "10", [10], float("inf")]


class Faulty(BaseFilterHookImpl):
    def filter(self, ids: Tensor, last_seen: Tensor, step: int) -> Tensor:
        raise ZeroDivisionError("my own mistake")


@pytest.fixture(autouse=True)
def no_other_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start without tables of other tests."""
    monkeypatch.setattr(HashtableHookFactory, "_filters", HashtableHookFactory._filters | {"Faulty": Faulty})
    monkeypatch.setattr(hashtable, "_live_tables", WeakValueDictionary())


def listening(hook: HashTableFilterHook) -> list[FilterPass]:
    passes: list[FilterPass] = []
    hook.add_listener(passes.append)
    return passes


def drive(hook: HashTableFilterHook, steps: range, table: HashTable | None = None) -> None:
    for step in steps:
        if table is not None:
            table(torch.arange(step, step + 3))
        hook.after_step(None, step)


def trainer(model: nn.Module, step: int = 0) -> Any:
    return SimpleNamespace(model=model, state=RunState(global_step=step))


# -- the interval ------------------------------------------------------------------------------------------------------


def test_the_interval_may_be_an_integer_of_numpy() -> None:
    hook = HashTableFilterHook(np.int64(3))  # type: ignore[arg-type]
    assert type(hook.filter_interval) is int
    hook.reset_filter_interval(np.int32(4))  # type: ignore[arg-type]
    assert hook.filter_interval == 4
    hook.filter_interval = np.int64(6)  # type: ignore[assignment]
    assert (hook.filter_interval, type(hook.filter_interval)) == (6, int)


@pytest.mark.parametrize("value", BAD_INTERVALS)
def test_a_bad_interval_is_refused_and_named(value: Any) -> None:
    with pytest.raises(ValueError, match=r"filter_interval.*positive int") as error:
        HashTableFilterHook(filter_interval=value)
    assert repr(value) in str(error.value)
    hook = HashTableFilterHook(7)
    with pytest.raises(ValueError, match="filter_interval"):
        hook.reset_filter_interval(value)
    with pytest.raises(ValueError, match="filter_interval"):
        hook.filter_interval = value
    assert hook.filter_interval == 7


def test_the_default_interval_is_100() -> None:
    hook = HashTableFilterHook()
    assert hook.filter_interval == 100
    hook.reset_filter_interval(5)
    hook.reset_filter_interval()
    assert hook.filter_interval == 100


def test_none_disables_filtering_until_it_is_reset() -> None:
    table, hook = HashTable([1], filter_hook=AFTER_TEN), HashTableFilterHook(None)
    passes = listening(hook)
    drive(hook, range(500), table)
    assert passes == []
    hook.reset_filter_interval(50)
    drive(hook, range(500, 560), table)
    assert [p.step for p in passes] == [500, 550]
    assert sorted(table.ids().tolist()) == list(range(541, 562)), "seen in step 541 or later"


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (range(350), [100, 200, 300]),
        (range(1, 351), [100, 200, 300]),
        (range(10_000, 10_250), [10_100, 10_200]),
        (range(0, 400, 30), [120, 240, 360]),
    ],
    ids=["from 0", "from 1", "resumed", "with gaps"],
)
def test_passes_are_an_interval_apart_the_first_after_a_full_one(steps: range, expected: list[int]) -> None:
    table, hook = HashTable([1]), HashTableFilterHook(100)
    passes = listening(hook)
    drive(hook, steps)
    assert [p.step for p in passes] == expected
    assert [p.table for p in passes] == [table.name] * len(expected)


def test_a_new_interval_counts_from_the_last_pass_at_the_next_boundary() -> None:
    table, hook = HashTable([1]), HashTableFilterHook(100)
    passes = listening(hook)
    drive(hook, range(150), table)
    hook.reset_filter_interval(20)
    drive(hook, range(150, 200), table)
    assert [(p.step, p.interval) for p in passes] == [(100, 100), (150, 20), (170, 20), (190, 20)]


def test_the_interval_may_be_changed_from_other_threads() -> None:
    hook = HashTableFilterHook(1)
    table = HashTable([1])
    passes = listening(hook)
    with ThreadPoolExecutor(4) as pool:
        changes = [pool.submit(hook.reset_filter_interval, k % 5 + 1) for k in range(400)]
        drive(hook, range(400), table)
        for change in changes:
            change.result()
    assert {p.interval for p in passes} <= {1, 2, 3, 4, 5}
    assert hook.filter_interval in range(1, 6)


def test_a_rewind_starts_a_full_interval() -> None:
    table, hook = HashTable([1]), HashTableFilterHook(100)
    passes = listening(hook)
    drive(hook, range(250), table)
    drive(hook, range(50, 160), table)
    drive(hook, range(110), table)
    assert [p.step for p in passes] == [100, 200, 150, 100]


def test_the_same_step_again_neither_filters_nor_ages() -> None:
    table, hook = HashTable([1], filter_hook=AFTER_TEN), HashTableFilterHook(5)
    passes = listening(hook)
    drive(hook, range(6), table)
    for _ in range(50):
        hook.after_step(None, 5)
    assert [p.step for p in passes] == [5]


def test_the_step_may_be_a_tensor() -> None:
    table, hook = HashTable([1]), HashTableFilterHook(2)
    passes = listening(hook)
    for step in range(5):
        hook.after_step({}, torch.tensor(step))
    assert [p.step for p in passes] == [2, 4]
    assert [p.table for p in passes] == [table.name] * 2


# -- eviction and statistics -------------------------------------------------------------------------------------------


def test_rows_last_seen_filter_step_steps_ago_are_evicted() -> None:
    table, hook = HashTable([1], filter_hook=AFTER_TEN), HashTableFilterHook(20)
    passes = listening(hook)
    drive(hook, range(41), table)
    assert sorted(table.ids().tolist()) == list(range(31, 43)), "last seen in step 31 = 40 - 10 + 1 or later"
    assert [(p.rows_before, p.evicted, p.rows_after, p.admitted) for p in passes] == [
        (23, 11, 12, 23),
        (32, 20, 12, 20),
    ]


def test_a_pass_reports_interval_time_and_bytes() -> None:
    table, hook = HashTable([4], name="user", filter_hook=AFTER_TEN), HashTableFilterHook(10)
    without_state = table.nbytes
    SparseAdamW({"user": table})
    passes = listening(hook)
    drive(hook, range(11), table)
    (report,) = passes
    assert report.table == "user"
    assert report.interval == 10
    assert report.bytes == table.nbytes > without_state
    assert 0 < report.milliseconds < 10_000
    assert report.time_ns > 1_700_000_000 * 10**9


def test_evaluation_neither_advances_the_clock_nor_keeps_rows_alive() -> None:
    table, hook = HashTable([1], filter_hook=AFTER_TEN), HashTableFilterHook(12)
    passes = listening(hook)
    table(torch.arange(5))
    drive(hook, range(1))
    table.eval()
    for _ in range(100):
        assert table(torch.arange(10)).shape == (10, 1)
    assert len(table) == 5
    table.train()
    drive(hook, range(1, 13))
    assert [p.evicted for p in passes] == [5]


def test_one_readable_line_is_logged_for_each_table(caplog: pytest.LogCaptureFixture) -> None:
    tables = [HashTable([1], name="user", filter_hook=AFTER_TEN), HashTable([1], name="item")]
    tables[0](torch.arange(3))
    with caplog.at_level(logging.INFO, logger="recis.hooks.filter_hook"):
        drive(HashTableFilterHook(20), range(21))
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2
    assert lines[0].startswith(
        "table user: filter pass after step 20 evicted 3 of 3 rows, 0 left, 3 admitted since the last pass ("
    )
    assert lines[1].startswith("table item: filter pass after step 20 evicted 0 of 0 rows")


# -- which tables ------------------------------------------------------------------------------------------------------


def test_tables_made_after_the_hook_are_found() -> None:
    hook = HashTableFilterHook(10)
    passes = listening(hook)
    drive(hook, range(5))
    late = HashTable([1], name="late", filter_hook=FilterHook("GlobalStepFilter", {"filter_step": 20}))
    late(torch.arange(3))
    drive(hook, range(5, 31))
    assert [(p.table, p.step, p.evicted) for p in passes] == [("late", 10, 0), ("late", 20, 0), ("late", 30, 3)]


def test_dropped_tables_are_forgotten() -> None:
    hook = HashTableFilterHook(1)
    passes = listening(hook)
    table = HashTable([1])
    del table
    gc.collect()
    drive(hook, range(3))
    assert passes == []


def test_tables_of_one_name_are_told_apart() -> None:
    tables = [HashTable([1]), HashTable([1], name="user"), HashTable([1])]
    hook = HashTableFilterHook(1)
    passes = listening(hook)
    drive(hook, range(2))
    assert [p.table for p in passes] == ["hashtable", "user", "hashtable-2"]
    assert len(tables) == len(live_tables())


def test_names_are_told_apart_whatever_they_are_and_stay_as_they_are(caplog: pytest.LogCaptureFixture) -> None:
    tables = [HashTable([1], name=name) for name in ("a", "a", "a", "a-2")]
    hook = HashTableFilterHook(1)
    passes = listening(hook)
    with caplog.at_level(logging.WARNING):
        drive(hook, range(2))
    assert [p.table for p in passes] == ["a", "a-3", "a-4", "a-2"]
    assert len(caplog.records) == 1
    assert "3 hash tables are called 'a'" in caplog.text
    del tables[0]
    gc.collect()
    tables.append(HashTable([1], name="a"))
    passes.clear()
    drive(hook, range(2, 3))
    assert [p.table for p in passes] == ["a-3", "a-4", "a-2", "a"]


def test_a_step_between_passes_does_not_walk_the_model(work_meter: Any) -> None:
    model = nn.ModuleList(HashTable([1], name=f"t{k}", filter_hook=AFTER_TEN) for k in range(50))
    walks = 0

    class Counted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tables = model

        def modules(self, remove_duplicate: bool = True) -> Iterator[nn.Module]:
            nonlocal walks
            walks += 1
            return super().modules(remove_duplicate)

    counted = Counted()
    for table in model:
        table(torch.arange(3))
    hook = HashTableFilterHook(100)
    hook.before_train(trainer(counted))
    drive(hook, range(1, 3))
    with work_meter() as meter:
        drive(hook, range(3, 90))
    assert walks == 1
    assert meter.operations == [], "the clock of a table is no work for a device"


def test_in_a_trainer_only_tables_of_its_model_are_filtered() -> None:
    model = nn.ModuleDict({"user": HashTable([1], name="user")})
    stranger = HashTable([1], name="stranger", filter_hook=AFTER_TEN)
    stranger(torch.arange(3))
    hook = HashTableFilterHook(10)
    passes = listening(hook)
    hook.before_train(trainer(model))
    drive(hook, range(1, 16))
    model["late"] = HashTable([1], name="late")
    drive(hook, range(16, 31))
    assert [(p.table, p.step) for p in passes] == [
        ("user", 10),
        ("user", 20),
        ("late", 20),
        ("user", 30),
        ("late", 30),
    ]
    assert len(stranger) == 3
    hook.end()
    hook.after_step(None, 40)
    assert [p.table for p in passes[5:]] == ["user", "stranger", "late"], "by hand again: all tables"


def test_a_hook_goes_on_in_the_phase_of_its_state() -> None:
    table, whole, resumed = HashTable([1]), HashTableFilterHook(10), HashTableFilterHook(10)
    passes = listening(whole), listening(resumed)
    drive(whole, range(1, 14))
    resumed.load_state_dict(whole.state_dict())
    resumed.before_train(trainer(table, step=13))
    drive(resumed, range(14, 41))
    assert [[p.step for p in each] for each in passes] == [[10], [20, 30, 40]]


@pytest.mark.parametrize("state", [{}, {"last_step": 3}, {"last_step": 3, "last_pass": "0"}])
def test_a_state_that_is_none_is_refused(state: dict[str, Any]) -> None:
    hook = HashTableFilterHook(10)
    with pytest.raises(ValueError, match="state of HashTableFilterHook: expected ints last_step and last_pass"):
        hook.load_state_dict(state)
    assert hook.state_dict() == HashTableFilterHook(10).state_dict()


def test_a_resumed_trainer_has_a_full_interval_before_the_first_pass() -> None:
    model = HashTable([1])
    hook = HashTableFilterHook(100)
    passes = listening(hook)
    hook.before_train(trainer(model, step=10_000))
    drive(hook, range(10_001, 10_201))
    assert [p.step for p in passes] == [10_100, 10_200]


def test_training_that_goes_on_keeps_its_distance() -> None:
    model = HashTable([1])
    hook = HashTableFilterHook(100)
    passes = listening(hook)
    for start in (0, 70, 140):
        hook.before_train(trainer(model, step=start))
        drive(hook, range(start + 1, start + 71))
        hook.end()
    assert [p.step for p in passes] == [100, 200]


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.user = HashTable([2], name="user", filter_hook=AFTER_TEN)
        self.out = nn.Linear(2, 1)

    def forward(self, ids: Tensor) -> Tensor:
        loss: Tensor = self.out(self.user(ids)).square().mean()
        return loss


def test_a_real_training_is_filtered_and_its_evaluations_are_not() -> None:
    model, hook = Model(), HashTableFilterHook(20)
    passes = listening(hook)
    batches = [torch.arange(step, step + 3) for step in range(1, 31)]
    real = Trainer(
        model,
        TrainingArguments(),
        batches,
        [torch.arange(1_000, 1_010)] * 25,
        [hook],
        dense_optimizers=(torch.optim.SGD(model.parameters(), lr=0.1), None),
        sparse_optimizer=SparseAdamW(filter_out_sparse_param(model)),
    )
    real.train_and_evaluate(epochs=3)
    assert [p.step for p in passes] == [20, 40, 60, 80]
    # The remaining rows were seen in steps 11-20, then 31-40 (batches 1-10 of the next epoch), 51-60, 71-80.
    assert [p.rows_after for p in passes] == [12, 12, 12, 12]
    assert max(model.user.ids().tolist()) < 1_000


# -- failures ----------------------------------------------------------------------------------------------------------


def test_a_faulty_rule_is_reported_after_all_other_tables_were_filtered() -> None:
    tables = [
        HashTable([1], name="first", filter_hook=AFTER_TEN),
        HashTable([1], name="faulty", filter_hook=FilterHook("Faulty")),
        HashTable([1], name="last", filter_hook=AFTER_TEN),
    ]
    for table in tables:
        table(torch.arange(3))
    hook = HashTableFilterHook(20)
    passes = listening(hook)
    with pytest.raises(ZeroDivisionError, match="my own mistake") as error:
        drive(hook, range(21))
    assert error.value.__notes__ == ["in the filter pass over table 'faulty' after step 20"]
    assert [(p.table, p.evicted) for p in passes] == [("first", 3), ("last", 3)]
    assert len(tables[1]) == 3
