"""The registry of rules, and the two built-in ones."""

import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

from recis.nn.hashtable_hook import AdmitHook, FilterHook
from recis.nn.modules.hashtable_hook_impl import (
    BaseAdmitHookImpl,
    BaseFilterHookImpl,
    GlobalStepFilterHookImpl,
    HashtableHookFactory,
    ReadOnlyHookImpl,
)


class KeepEven(BaseFilterHookImpl):
    def filter(self, ids: Tensor, last_seen: Tensor, step: int) -> Tensor:
        return ids % 2 == 1


class AdmitEven(BaseAdmitHookImpl):
    def admit(self, ids: Tensor, counts: Tensor) -> Tensor:
        return ids % 2 == 0


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove registered rules."""
    monkeypatch.setattr(HashtableHookFactory, "_filters", dict(HashtableHookFactory._filters))
    monkeypatch.setattr(HashtableHookFactory, "_admits", dict(HashtableHookFactory._admits))


def test_registered_rules_are_known_to_every_factory() -> None:
    HashtableHookFactory().regist_filter("KeepEven", KeepEven)
    HashtableHookFactory().regist_admit("AdmitEven", AdmitEven)
    assert isinstance(HashtableHookFactory().create_filter_hook(FilterHook("KeepEven")), KeepEven)
    assert isinstance(HashtableHookFactory().create_admit_hook(AdmitHook("AdmitEven")), AdmitEven)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"one of \['GlobalStepFilter'\], got 'GlobalStep'"):
        HashtableHookFactory().create_filter_hook(FilterHook("GlobalStep"))
    with pytest.raises(ValueError, match=r"one of \['ReadOnly'\], got 'readonly'"):
        HashtableHookFactory().create_admit_hook(AdmitHook("readonly"))


def test_a_name_belongs_to_one_class() -> None:
    factory = HashtableHookFactory()
    factory.regist_filter("KeepEven", KeepEven)
    factory.regist_filter("KeepEven", KeepEven)
    with pytest.raises(ValueError, match="GlobalStepFilter"):
        factory.regist_filter("GlobalStepFilter", KeepEven)


@pytest.mark.parametrize("rule", [AdmitEven, KeepEven(), "KeepEven"])
def test_only_subclasses_can_be_registered(rule: object) -> None:
    with pytest.raises(TypeError, match="subclass of BaseFilterHookImpl"):
        HashtableHookFactory().regist_filter("Mine", rule)  # type: ignore[arg-type]


def test_a_filter_is_not_an_admission_rule() -> None:
    with pytest.raises(TypeError, match="FilterHook"):
        HashtableHookFactory().create_filter_hook(AdmitHook("ReadOnly"))  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "10", None])
def test_filter_step_must_be_a_positive_int(value: object) -> None:
    with pytest.raises(ValueError, match="filter_step"):
        HashtableHookFactory().create_filter_hook(FilterHook("GlobalStepFilter", {"filter_step": value}))


def test_global_step_filter_evicts_what_the_last_filter_steps_have_not_seen() -> None:
    rule = GlobalStepFilterHookImpl(filter_step=10)
    mask = rule.filter(torch.arange(4), torch.tensor([89, 90, 91, 100]), 100)
    assert mask.tolist() == [True, True, False, False]


def test_read_only_admits_nothing() -> None:
    assert not ReadOnlyHookImpl().admit(torch.arange(3), torch.ones(3)).any()


def test_a_rule_without_its_method_says_so() -> None:
    with pytest.raises(NotImplementedError, match=r"must define filter"):
        BaseFilterHookImpl().filter(torch.arange(1), torch.arange(1), 0)
    with pytest.raises(NotImplementedError, match=r"must define admit"):
        BaseAdmitHookImpl().admit(torch.arange(1), torch.arange(1))


def test_the_examples_of_the_documentation_run() -> None:
    text = (Path(__file__).parents[4] / "docs" / "tables.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert any("BaseFilterHookImpl" in block for block in blocks)
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "docs/tables.md", "exec"), names)
