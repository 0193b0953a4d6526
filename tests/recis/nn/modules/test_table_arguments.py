"""Errors of a table for invalid arguments, ids, rows, rules and results of rules, none of which changes the table."""

from typing import Any

import pytest
import torch
from torch import Tensor

from recis.nn import AdmitHook, FilterHook, HashTable
from recis.nn.initializers import NormalInitializer
from recis.nn.modules.hashtable_hook_impl import BaseFilterHookImpl, HashtableHookFactory
from recis.nn.modules.table_arguments import gen_slice
from recis.ragged.tensor import RaggedTensor


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
        ("initializer", NormalInitializer),
        ("dtype", torch.float8_e5m2),
        ("block_size", 2.0),
        ("coalesced", "user"),
        ("children", "user"),
        ("children", []),
        ("children", ["a", "b"]),
        ("grad_reduce_by", "mean"),
    ],
)
def test_a_bad_argument_is_named(argument: str, value: object) -> None:
    arguments: dict[str, object] = {"embedding_shape": [2], argument: value}
    with pytest.raises(ValueError, match=argument):
        HashTable(**arguments)  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore:.*(nested tensors|Sparse CSR).*:UserWarning")
def test_ids_in_other_layouts_are_refused_with_what_to_do() -> None:
    table = HashTable([2], name="user")
    nested = torch.nested.nested_tensor([torch.arange(2), torch.arange(1)])
    dense = torch.arange(4).view(2, 2)
    for ids, hint in (
        (dense.to_sparse(), "got layout torch.sparse_coo .*RaggedTensor"),
        (dense.to_sparse_csr(), "got layout torch.sparse_csr"),
        (nested, "got a nested one without layout=torch.jagged"),
        (RaggedTensor(torch.arange(3), torch.tensor([0, 3])), r"got a RaggedTensor \(give values\(\)"),
    ):
        with pytest.raises(TypeError, match=f"ids of table 'user': expected a .*tensor, {hint}"):
            table(ids)
    assert len(table) == 0


@pytest.mark.parametrize(("index", "num"), [(-1, 2), (2, 2), (0, 0), (True, 2), (0, 1.5)])
def test_a_share_must_be_one_of_them(index: Any, num: Any) -> None:
    with pytest.raises(ValueError, match="gen_slice's shard"):
        gen_slice(index, num)


def test_an_unknown_rule_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="GlobalStepFilter"):
        HashTable([2], filter_hook=FilterHook("GlobalStep"))
    with pytest.raises(ValueError, match="ReadOnly"):
        HashTable([2])(torch.arange(2), admit_hook=AdmitHook("Nobody"))
