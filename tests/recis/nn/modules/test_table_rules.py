"""Rules in both forms, that of this library and that of RecIS, in their table."""

import copy
import gc
import io
import pickle
from typing import Any
from weakref import ref

import pytest
import torch
from torch import Tensor, nn

from recis.hooks import HashTableFilterHook
from recis.nn import AdmitHook, FilterHook, HashTable
from recis.nn.modules.hashtable_hook_impl import (
    BaseAdmitHookImpl,
    BaseFilterHookImpl,
    GlobalStepFilterHookImpl,
    HashtableHookFactory,
    ReadOnlyHookImpl,
)
from recis.nn.modules.table_rules import MAX_LOOKUP_RULES
from recis.nn.modules.table_view import TableView


class Frequency(BaseFilterHookImpl):
    """RecIS's form: counts lookups by slot, and evicts ids with fewer than `least` lookups."""

    counts: Tensor

    def __init__(self, ht: Any, name: str = "frequency", least: int = 2) -> None:
        super().__init__(ht, name)
        self.least = least
        self.steps = 0
        self.gone: list[int] = []
        self.register_buffer("counts", torch.zeros(1_000, dtype=torch.int64, device=ht.device))

    def update(self, index: Tensor) -> None:
        self.counts[index] += 1

    def update_step(self, step_size: int = 1) -> None:
        self.steps += step_size

    def filter(self, ids: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        mask = self.counts[index] < self.least
        self.counts[index[mask]] = 0
        return torch.masked_select(ids, mask), torch.masked_select(index, mask)

    def after_filter(self, ids: Tensor, delete_ids: Tensor) -> None:
        self.gone += delete_ids.tolist()


class Duck:
    """RecIS's form without the base class."""

    def __init__(self, ht: Any, keep: int) -> None:
        self.table, self.keep = ht, keep

    def filter(self, ids: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        assert len(self.table) == len(ids)
        return ids[ids != self.keep], index[ids != self.keep]


class WholePass(BaseFilterHookImpl):
    """RecIS's form in which a rule does the whole pass."""

    def do_filter(self) -> None:
        assert self._ht is not None
        ids, index = self._ht.ids_map()
        self._ht.delete(ids[:1], index[:1], "whole")


class Guests(BaseFilterHookImpl):
    """This library's form; its constructor does not call that of its base class."""

    def __init__(self, patience: int = 1) -> None:
        self.patience = patience

    def filter(self, ids: Tensor, last_seen: Tensor, step: int) -> Tensor:
        return (ids < 0) & (step - last_seen >= self.patience)


class Stale(GlobalStepFilterHookImpl):
    """A subclass of the built-in rule, as in scripts for RecIS."""

    def __init__(self, ht: Any, name: str = "stale", days: int = 2) -> None:
        super().__init__(ht, name, filter_step=days)


class Answer(BaseFilterHookImpl):
    """RecIS's form; returns a prepared result."""

    def __init__(self, ht: Any, answer: Any) -> None:
        super().__init__(ht)
        self.answer = answer

    def filter(self, ids: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        return self.answer(ids, index)  # type: ignore[no-any-return]


class Frozen(ReadOnlyHookImpl):
    """RecIS's form of an admission rule: no method of its own."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)


class Pairs:
    """An admission rule without the base class."""

    def admit(self, ids: Tensor, counts: Tensor) -> Tensor:
        return counts > 1


RULES = (Frequency, Duck, WholePass, Guests, Stale, Answer)


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register the rules of this file for the duration of a test."""
    monkeypatch.setattr(HashtableHookFactory, "_filters", dict(HashtableHookFactory._filters))
    monkeypatch.setattr(HashtableHookFactory, "_admits", dict(HashtableHookFactory._admits))
    for rule in RULES:
        HashtableHookFactory().regist_filter(rule.__name__, rule)
    admits: tuple[Any, ...] = (Frozen, Pairs)
    for rule in admits:
        HashtableHookFactory().regist_admit(rule.__name__, rule)


def filters_of(table: HashTable) -> Any:
    return {name: rules[table] for name, rules in HashtableHookFactory().get_filters().items() if table in rules}


def test_a_rule_of_recis_is_told_of_lookups_and_steps_and_says_what_goes(device: torch.device) -> None:
    table = HashTable([2], device=device, name="user", filter_hook=FilterHook("Frequency", {"least": 2}))
    hook = HashTableFilterHook(3)
    hook.before_train(type("Trainer", (), {"model": table, "state": type("State", (), {"global_step": 0})})())
    for step, ids in enumerate([[1, 2, 2], [1, 3], [4, 4, 4]], 1):
        table(torch.tensor(ids, device=device))
        hook.after_step(None, step)
    assert sorted(table.ids().tolist()) == [1], "duplicates in a lookup are one lookup"
    (rule,) = filters_of(table).values()
    assert rule.steps == 3
    assert sorted(rule.gone) == [2, 3, 4]
    table.eval()(torch.tensor([1], device=device))
    assert rule.counts.max() == 2, "evaluation is no lookup"
    table.train()(torch.tensor([1, 9], device=device), admit_hook=AdmitHook("ReadOnly"))
    assert rule.counts[0] == 0, "unknown ids have no slot"


def test_the_statistics_of_a_pass_are_the_same_in_both_forms() -> None:
    for name in ("Frequency", "Guests"):
        table = HashTable([1], filter_hook=FilterHook(name))
        table(torch.tensor([-1, -2, -3]))
        table.tick(1)
        counts = table.run_filter(5)
        assert (counts.rows_before, counts.evicted, counts.rows_after, counts.admitted) == (3, 3, 0, 3)


def test_a_rule_needs_no_base_class() -> None:
    table = HashTable([1], filter_hook=FilterHook("Duck", {"keep": 4}))
    table(torch.arange(6))
    assert table.run_filter(1).evicted == 5
    assert table.ids().tolist() == [4]


def test_a_rule_may_do_the_whole_pass() -> None:
    table = HashTable([1], filter_hook=FilterHook("WholePass"))
    table(torch.arange(6))
    assert table.run_filter(1).evicted == 1


def test_a_rule_that_does_not_call_its_bases_constructor_works_and_is_saved() -> None:
    table = HashTable([1], filter_hook=FilterHook("Guests", {"patience": 3}))
    table(torch.tensor([-1, 1]))
    table.tick(1)
    assert table.run_filter(2).evicted == 0
    (rule,) = filters_of(table).values()
    table.tick(4)
    table.tick(5)
    rule.do_filter()
    assert table.ids().tolist() == [1]
    assert copy.deepcopy(table).state_dict().keys() == table.state_dict().keys()


def test_a_subclass_of_the_built_in_rule_may_be_built_as_in_recis() -> None:
    table = HashTable([1], filter_hook=FilterHook("Stale", {"days": 2}))
    for step in (1, 2, 3):
        table(torch.tensor([step]))
        table.tick(step)
    assert table.run_filter(3).evicted == 1
    assert filters_of(table)["Stale"].filter_step == 2


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (lambda ids, index: (ids[:1], index[1:2]), ValueError, "ids of the table with their slots, got '1 others'"),
        (lambda ids, index: (ids + 100, index), ValueError, "ids of the table with their slots"),
        (lambda ids, index: (ids[[0, 0]], index[[0, 0]]), ValueError, "distinct ids, got '1 of 2 again'"),
        (lambda ids, index: (ids[:2], index[:1]), ValueError, r"an index of shape \(2,\), got \(1,\)"),
        (lambda ids, index: (ids.int(), index), TypeError, "expected a torch.int64 tensor, got torch.int32"),
        (lambda ids, index: (ids, index > 1), TypeError, "expected a torch.int64 tensor, got torch.bool"),
        (lambda ids, index: (ids.tolist(), index), TypeError, "got list"),
    ],
)
def test_a_wrong_answer_in_recis_form_is_refused_and_changes_nothing(
    answer: Any, error: type[Exception], message: str
) -> None:
    table = HashTable([1], name="user", filter_hook=FilterHook("Answer", {"answer": answer}))
    table(torch.arange(4))
    with pytest.raises(error, match=message) as raised:
        table.run_filter(1)
    assert "of table 'user'" in str(raised.value)
    assert len(table) == 4


def test_buffers_of_a_rule_are_saved_and_moved_with_the_table() -> None:
    model = nn.ModuleDict({"user": HashTable([1], name="user", filter_hook=FilterHook("Frequency"))})
    model["user"](torch.tensor([1, 2]))
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    again = nn.ModuleDict({"user": HashTable([1], name="user", filter_hook=FilterHook("Frequency"))})
    again.load_state_dict(torch.load(file, weights_only=True))
    table = again["user"]
    assert isinstance(table, HashTable)
    (rule,) = filters_of(table).values()
    assert rule.counts.sum() == 2


def test_a_rule_does_not_keep_its_table_alive() -> None:
    table = HashTable([1], filter_hook=FilterHook("Frequency"))
    (rule,) = filters_of(table).values()
    gc.collect()  # objects of other tests
    number = sum(len(rules) for rules in HashtableHookFactory().get_filters().values())
    gone = ref(table)
    del table
    gc.collect()
    assert gone() is None
    assert sum(len(rules) for rules in HashtableHookFactory().get_filters().values()) == number - 1
    with pytest.raises(ReferenceError, match="is gone"):
        rule._ht.ids()


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda each: pickle.loads(pickle.dumps(each))])
def test_a_copied_table_has_a_rule_of_its_own(copied: Any) -> None:
    table = HashTable([1], filter_hook=FilterHook("Frequency", {"least": 1}), admit_hook=AdmitHook("Pairs"))
    table(torch.tensor([1, 1]))
    twin = copied(table)
    (ours,), (theirs,) = filters_of(table).values(), filters_of(twin).values()
    assert ours is not theirs
    assert HashtableHookFactory().get_admits()["Pairs"][twin] is not HashtableHookFactory().get_admits()["Pairs"][table]
    theirs.counts.zero_()
    assert (table.run_filter(1).evicted, twin.run_filter(1).evicted) == (0, 1)
    assert (len(table), len(twin)) == (1, 0)


def test_a_shallow_copy_leaves_the_rule_to_the_original() -> None:
    table = HashTable([1], filter_hook=FilterHook("Frequency"))
    (rule,) = filters_of(table).values()
    copy.copy(table)
    assert rule._ht.table is table


def test_rules_of_single_lookups_are_bounded() -> None:
    table = HashTable([1])
    for number in range(3 * MAX_LOOKUP_RULES):
        table(torch.arange(3), admit_hook=AdmitHook("Frozen", {"step": number}))
    assert len(table._rules._lookup_admits) == MAX_LOOKUP_RULES
    assert len(table) == 0


def test_both_forms_are_told_what_a_pass_has_evicted() -> None:
    table = HashTable([1], filter_hook=FilterHook("Guests"))
    table(torch.tensor([-3, 5]))
    (rule,) = filters_of(table).values()
    told: list[list[int]] = []
    rule.after_filter = lambda ids, gone: told.append([*ids.tolist(), *gone.tolist()])
    table.run_filter(5)
    assert told == [[-3, 5, -3]]


def test_admission_rules_of_both_forms() -> None:
    table = HashTable([1], initializer=1.0, admit_hook=AdmitHook("Pairs"))
    assert table(torch.tensor([1, 2, 1])).flatten().tolist() == [1, 0, 1]
    frozen = AdmitHook("Frozen", {"whatever": 1})
    assert table(torch.tensor([1, 2, 3, 3]), admit_hook=frozen).flatten().tolist() == [1, 0, 0, 0]
    assert {*HashtableHookFactory().get_admits()} >= {"Pairs", "Frozen"}
    assert isinstance(HashtableHookFactory().get_admits()["Frozen"][table], Frozen)


def test_what_a_rule_sees_of_its_table() -> None:
    table = HashTable([2], name="user")
    view = TableView(table)
    table(torch.tensor([3, 5]))
    ids, slots = view.ids_map()
    assert torch.equal(table.slots(ids), slots)
    assert (view.name, view.device, len(view)) == ("user", table.device, 2)
    assert view._hashtable_impl is view
    view.delete(ids[:1], slots[:1])
    assert torch.equal(view.ids(), ids[1:])


class NoFilter(BaseFilterHookImpl):
    pass


class TwoTooFew(BaseFilterHookImpl):
    def filter(self, ids: Tensor) -> Tensor:  # type: ignore[override]
        return ids


class TooMany(BaseFilterHookImpl):
    def filter(self, ids: Tensor, index: Tensor, step: int, more: int) -> Tensor:  # type: ignore[override]
        return ids


class Anything(BaseFilterHookImpl):
    def filter(self, *arguments: Any) -> Any:
        return arguments


class OnlyByName(BaseFilterHookImpl):
    def filter(self, ids: Tensor, *, index: Tensor) -> Any:  # type: ignore[override]
        return ids, index


class NoAdmit(BaseAdmitHookImpl):
    pass


@pytest.mark.parametrize("rule", [NoFilter, TwoTooFew, TooMany, Anything, OnlyByName, int, Pairs, [], None])
def test_a_filter_of_neither_form_is_refused_when_it_is_registered(rule: Any) -> None:
    with pytest.raises(TypeError, match=r"filter rule 'Mine': expected a class, usually a subclass of") as error:
        HashtableHookFactory().regist_filter("Mine", rule)
    assert repr(rule) in str(error.value)
    with pytest.raises(ValueError, match="one of"):
        HashTable([1], filter_hook=FilterHook("Mine"))


@pytest.mark.parametrize("rule", [NoAdmit, Frequency, Guests, int, None, "Pairs"])
def test_an_admission_rule_of_neither_form_is_refused_when_it_is_registered(rule: Any) -> None:
    with pytest.raises(TypeError, match=r"admission rule 'Mine': expected a class.*admit\(self, ids, counts\)"):
        HashtableHookFactory().regist_admit("Mine", rule)


def test_parameters_that_a_rule_does_not_take_are_named_with_those_it_does() -> None:
    with pytest.raises(TypeError, match=r"filter_steps.*expected name.*filter_step: int = 100"):
        HashTable([1], filter_hook=FilterHook("GlobalStepFilter", {"filter_steps": 3}))
    with pytest.raises(TypeError, match=r"missing a required argument: 'keep'"):
        HashTable([1], filter_hook=FilterHook("Duck"))


def test_a_rule_that_is_no_declaration_is_named_with_its_place() -> None:
    with pytest.raises(
        TypeError, match=r"filter_hook of a table: expected FilterHook\(name, params\) or None, got 'Rare'"
    ):
        HashTable([1], filter_hook="Rare")  # type: ignore[arg-type]
    with pytest.raises(
        TypeError, match=r"admit_hook of a table: expected AdmitHook\(name, params\) or None, got Filter"
    ):
        HashTable([1], admit_hook=FilterHook("Rare"))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["", None, 3])
def test_a_rule_needs_a_name(name: Any) -> None:
    with pytest.raises(ValueError, match="name of the filter rule: expected a non-empty string"):
        HashtableHookFactory().regist_filter(name, Frequency)
