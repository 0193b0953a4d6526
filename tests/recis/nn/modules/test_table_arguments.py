"""What a table says to bad arguments, ids, rows, rules and answers of rules; nothing of it changes the table."""

import pytest
import torch
from torch import Tensor

from recis.nn import AdmitHook, FilterHook, HashTable
from recis.nn.modules.hashtable_hook_impl import BaseFilterHookImpl, HashtableHookFactory


class WrongMask(BaseFilterHookImpl):
    def __init__(self, answer: Tensor) -> None:
        self.answer = answer

    def filter(self, ids: Tensor, last_seen: Tensor, step: int) -> Tensor:
        return self.answer


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (torch.ones(3), TypeError, "WrongMask.filter of table 'user': expected a torch.bool tensor, got torch.float32"),
        ([True], TypeError, "got list"),
        (torch.ones(2, dtype=torch.bool), ValueError, r"shape \(3,\), got \(2,\)"),
    ],
)
def test_a_rules_wrong_answer_is_refused_and_changes_nothing(
    answer: Tensor, error: type[Exception], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HashtableHookFactory, "_filters", {"WrongMask": WrongMask})
    table = HashTable([1], name="user", filter_hook=FilterHook("WrongMask", {"answer": answer}))
    table(torch.arange(3))
    with pytest.raises(error, match=message):
        table.run_filter(1)
    assert len(table) == 3


@pytest.mark.parametrize(
    ("ids", "got"), [(torch.ones(3), "torch.float32"), (torch.ones(3).int(), "torch.int32"), ([1, 2], "list")]
)
def test_ids_must_be_int64(ids: Tensor, got: str) -> None:
    table = HashTable([2], name="user")
    with pytest.raises(TypeError, match=f"ids of table 'user': expected a torch.int64 tensor, got {got}"):
        table(ids)
    assert len(table) == 0


@pytest.mark.parametrize(
    ("ids", "rows", "error", "message"),
    [
        (torch.arange(3), torch.ones(3, 4), ValueError, r"rows of table 'user': expected shape \(3, 2\), got \(3, 4\)"),
        (torch.arange(3), torch.ones(2, 2), ValueError, r"expected shape \(3, 2\), got \(2, 2\)"),
        (torch.arange(4).view(2, 2), torch.ones(4, 2), ValueError, r"expected shape \[N\], got \(2, 2\)"),
        (torch.arange(3), torch.ones(3, 2).double(), TypeError, "expected a torch.float32 tensor, got torch.float64"),
        (torch.arange(3), [[1.0, 2.0]], TypeError, "got list"),
        (torch.ones(3), torch.ones(3, 2), TypeError, "int64"),
    ],
)
def test_insert_says_what_does_not_fit(ids: Tensor, rows: Tensor, error: type[Exception], message: str) -> None:
    table = HashTable([2], name="user")
    with pytest.raises(error, match=message):
        table.insert(ids, rows)
    assert len(table) == 0


def test_ids_on_another_device_are_refused() -> None:
    with pytest.raises(ValueError, match="a tensor on cpu, got 'meta'"):
        HashTable([2])(torch.empty(3, dtype=torch.int64, device="meta"))


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("embedding_shape", 8),
        ("embedding_shape", []),
        ("embedding_shape", [0]),
        ("embedding_shape", [4.0]),
        ("embedding_shape", "8"),
        ("block_size", 0),
        ("block_size", True),
        ("dtype", torch.int64),
        ("dtype", "float32"),
        ("name", ""),
        ("name", 3),
        ("initializer", "normal"),
        ("initializer", True),
    ],
)
def test_a_bad_argument_is_named(argument: str, value: object) -> None:
    arguments: dict[str, object] = {"embedding_shape": [2], argument: value}
    with pytest.raises(ValueError, match=argument):
        HashTable(**arguments)  # type: ignore[arg-type]


def test_an_unknown_rule_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="GlobalStepFilter"):
        HashTable([2], filter_hook=FilterHook("GlobalStep"))
    with pytest.raises(ValueError, match="ReadOnly"):
        HashTable([2])(torch.arange(2), admit_hook=AdmitHook("Nobody"))
