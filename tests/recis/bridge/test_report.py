"""`recis.bridge.report`: every value of a call is either kept under a distinct name or refused, and counted once."""

import struct
from collections import OrderedDict, UserDict
from collections.abc import Iterator, Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recis.bridge import report as module
from recis.bridge.report import KnownNames, are_numbers, as_step, count_values, read_known, read_report
from recis.metrics.scalars import to_value

KEYS = st.one_of(st.text(st.characters(), max_size=4), st.integers(-2, 2), st.tuples(st.integers(0, 1)))
VALUES = st.one_of(st.floats(), st.integers(), st.sampled_from([None, "x", 1j, np.float32(1), np.zeros(2)]))
REPORTS = st.recursive(
    st.dictionaries(KEYS, VALUES, max_size=4),
    lambda inner: st.dictionaries(KEYS, st.one_of(VALUES, inner), max_size=4),
    max_leaves=10,
)


def count_leaves(metrics: Mapping[Any, Any]) -> int:
    return sum(count_leaves(value) if isinstance(value, dict) else 1 for value in metrics.values())


@given(REPORTS)
def test_every_value_is_kept_or_told_of(metrics: dict[Any, Any]) -> None:
    report = read_report(metrics)
    assert len(report.plain) + len(report.device) + len(report.refused) == count_leaves(metrics)
    assert count_values(metrics) == max(1, count_leaves(metrics))
    if report.names is not None:
        known = read_known(report.names, metrics)
        assert known is not None
        assert list(map(repr, known.plain.items())) == list(map(repr, report.plain.items()))


def nested(depth: int, leaf: Any) -> dict[str, Any]:
    made: dict[str, Any] = {"x": leaf, "y": leaf, "z": leaf}
    for _ in range(depth - 1):
        made = {"d": made}
    return made


@pytest.mark.parametrize("depth", [1, 16, 17, 500, 50_000])
def test_what_is_nested_too_deep_is_counted_value_by_value(depth: int) -> None:
    report = read_report(
        {"good": 1.0, "deep": nested(depth - 1, 2.0)} if depth > 1 else {"good": 1.0, **nested(1, 2.0)}
    )
    assert report.plain["good"] == 1.0
    assert (len(report.plain), len(report.refused)) == ((4, 0) if depth <= 16 else (1, 3))
    assert all("nested at most 16 deep" in why for _, why in report.refused)


def test_a_dict_that_contains_itself_costs_one_value() -> None:
    metrics: dict[str, Any] = {"a": 1.0, "inner": {"b": 2.0}}
    metrics["inner"]["outer"] = metrics
    metrics["twice"] = [metrics["inner"]]
    report = read_report(metrics)
    assert report.plain == {"a": 1.0, "inner/b": 2.0}
    assert [name for name, _ in report.refused] == ["inner/outer", "twice"]
    assert "contains itself" in report.refused[0][1]
    assert count_values(metrics) == 4


def test_one_dict_under_two_names_is_two() -> None:
    same = {"x": 1.0}
    assert read_report({"a": same, "b": same}).plain == {"a/x": 1.0, "b/x": 1.0}


def test_a_call_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_VALUES", 100)
    doubled: dict[str, Any] = {"x": 1.0}
    for _ in range(15):  # 32,768 values in 16 objects
        doubled = {"a": doubled, "b": doubled}
    report = read_report(doubled)
    assert len(report.plain) <= 100
    assert report.refused == [("(further values)", "expected at most 100 in a call")]


class Unreadable(UserDict[str, float]):
    """Reading one of its values raises, as for a setting that refers to a missing one."""

    def __getitem__(self, key: str) -> float:
        if key == "b":
            raise LookupError("b refers to c")
        return super().__getitem__(key)


class Ends(UserDict[str, float]):
    """Iterating over its names ends with an error."""

    def __iter__(self) -> Iterator[str]:
        yield from ("a", "b")
        raise RuntimeError("changed")


@pytest.mark.parametrize(("made", "lost"), [(Unreadable, "b"), (Ends, "(further values)")])
def test_a_mapping_that_raises_costs_what_it_does_not_give(made: Any, lost: str) -> None:
    report = read_report({"in": made({"a": 1.0, "b": 2.0, "c": 3.0})})
    assert "in/a" in report.plain
    assert [name for name, _ in report.refused] == [f"in/{lost}"]
    assert "raised" in report.refused[0][1]


def test_other_mappings_are_read() -> None:
    metrics = MappingProxyType({"a": 1.0, "b": UserDict({"c": torch.tensor(2.0)})})
    report = read_report(metrics)
    assert report.plain == {"a": 1.0, "b/c": 2.0}
    assert report.names is None


@pytest.mark.parametrize(
    ("metrics", "names"),
    [
        ({"a": 1.0, "b": torch.tensor(1.0, device="meta")}, ("a", "b")),
        ({"a": {}, "b": 1.0}, None),
        ({"a": {"b": 1.0}}, None),
        ({"a\n": 1.0}, None),
        ({"a": "x", "b": 1.0}, None),
        ({"a": {"b": 1.0}, "a/b": 2.0}, None),
        ({}, ()),
    ],
)
def test_names_are_known_where_the_next_call_may_be_read_by_them(metrics: Any, names: Any) -> None:
    assert read_report(metrics).names == names


@pytest.mark.parametrize("value", ["x", {"c": 1.0}])
def test_known_names_do_not_help_where_a_value_is_no_number(value: Any) -> None:
    assert read_known(("a", "b"), {"a": 1.0, "b": value}) is None
    assert read_known(("a", "b"), {"a": 1.0}) is None


@pytest.mark.parametrize(
    ("step", "number"),
    [
        (5, 5),
        (5.0, 5),
        (np.int64(5), 5),
        (torch.tensor(5), 5),
        (-(1 << 63), -(1 << 63)),
        (1 << 63, None),
        (np.uint64(1 << 63), None),
        (1e300, None),
        (float("inf"), None),
        (5.5, None),
        (True, None),
        (None, None),
        ("5", None),
        (Decimal(5), 5),
        (Decimal("1e999999"), None),  # converting it to int takes minutes
        (np.zeros(3), None),
        (object(), None),
    ],
)
def test_what_counts_as_a_step(step: Any, number: int | None) -> None:
    assert as_step(step) == number


def test_known_names_are_bounded_in_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_KNOWN_NAMES", 100)
    monkeypatch.setattr(module, "MAX_KNOWN_REPORTS", 5)
    known = KnownNames()
    reports = [tuple(f"{report}/{number}" for number in range(30)) for report in range(6)]
    for names in [*reports, *reports, *((f"few/{number}",) for number in range(9))]:
        known.add(names)
    found = [known.of(dict.fromkeys(names, 1.0)) for names in reports]
    assert found == [*reports[:3], None, None, None]
    assert len(known) == 92


def test_a_dict_of_known_names_has_them_in_its_order() -> None:
    known = KnownNames()
    known.add(("a", "b"))
    assert known.of({"a": 1, "b": 2}) == ("a", "b")
    assert known.of({"b": 1, "a": 2}) is None
    assert known.of(OrderedDict(a=1, b=2)) is None


@pytest.mark.parametrize("code", "?bhilqBHILQefd")
def test_numbers_of_numpy_are_packed_as_they_are_kept_one_by_one(code: str) -> None:
    kind = np.dtype(code).type
    for number in (0, 1, 3, 100, kind(np.iinfo(kind).max) if np.issubdtype(kind, np.integer) else 0.1):
        value = kind(number)
        assert are_numbers([value])
        assert struct.unpack("d", struct.pack("d", value)) == (float(to_value(value)),)


def test_other_numbers_are_looked_at_one_by_one() -> None:
    class Mine(float):
        pass

    for value in (Mine(1.0), np.array(1.0), np.longdouble(1.0), None, "1"):
        assert not are_numbers([1.0, value])
