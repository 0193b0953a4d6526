"""Names are made distinct, with one warning about equal ones."""

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from recis.nn import HashTable, filter_out_sparse_param
from recis.nn.modules.table_names import distinct_names, warn_of_shared_names


def test_the_first_of_equal_names_keeps_it_and_numbers_pass_over_what_is_there() -> None:
    assert distinct_names(["a", "a", "a", "a-2"]) == ["a", "a-3", "a-4", "a-2"]
    assert distinct_names(["a-2", "a", "a"]) == ["a-2", "a", "a-3"]
    assert distinct_names(["a", "b"], {"a", "a-2"}) == ["a-3", "b"]


@given(st.lists(st.sampled_from(["a", "a-2", "a-3", "a-2-2", "b"])), st.sets(st.sampled_from(["a", "a-2", "b-2"])))
def test_names_are_distinct_whatever_they_are(names: list[str], taken: set[str]) -> None:
    found = distinct_names(names, taken)
    assert len({*found}) == len(names)
    assert not taken & {*found}
    for name, result in zip(names, found, strict=True):
        assert result == name or result.startswith(f"{name}-")
    assert {name for name in names if name not in taken} <= {*found}


def test_thousands_of_one_name_are_told_apart_in_one_go() -> None:
    assert distinct_names(["t"] * 5_000)[-1] == "t-5000"


def test_shared_names_are_one_warning_a_name(caplog: pytest.LogCaptureFixture) -> None:
    tables = [HashTable([1], name=name) for name in ("a", "a", "a", "a-2", "b")]
    with caplog.at_level(logging.WARNING):
        warn_of_shared_names(tables)
        warn_of_shared_names(tables)
    (record,) = caplog.records
    assert "3 hash tables are called 'a'" in record.getMessage()
    warn_of_shared_names([*tables, another := HashTable([1], name="b")])
    assert "2 hash tables are called 'b'" in caplog.messages[-1]
    assert another.name == "b"


def test_an_optimizer_knows_tables_of_one_name_by_their_paths(caplog: pytest.LogCaptureFixture) -> None:
    model = nn.ModuleDict({"x": HashTable([1], name="a"), "y": HashTable([1], name="a"), "z": HashTable([1], name="b")})
    with caplog.at_level(logging.WARNING):
        assert filter_out_sparse_param(model) == {"x": model["x"], "y": model["y"], "b": model["z"]}
        filter_out_sparse_param(model)
    assert len(caplog.records) == 1


def test_a_path_that_is_another_tables_name_is_no_clash() -> None:
    model = nn.ModuleDict({"b": HashTable([1], name="a"), "y": HashTable([1], name="a"), "z": HashTable([1], name="b")})
    found = filter_out_sparse_param(model)
    assert len(found) == 3
    assert {*found.values()} == {*model.values()}
