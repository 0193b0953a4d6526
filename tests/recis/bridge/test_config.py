"""`recis.bridge.config`: settings in any kind of object are shown, and an odd value does not affect the others."""

import argparse
import dataclasses
import enum
import math
import sys
from collections import UserDict, deque, namedtuple
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recis.bridge.config import MAX_BYTES, plain_config


@dataclasses.dataclass
class Inner:
    size: int = 3


@dataclasses.dataclass
class Outer:
    lr: float = 0.1
    inner: Inner = dataclasses.field(default_factory=Inner)


class Attributes:
    lr = 0.1
    _private = 1

    def __init__(self) -> None:
        self.inner = {"size": 3}

    def method(self) -> None: ...

    @property
    def derived(self) -> float:
        raise AssertionError("properties are not asked")


class ClassOnly:
    lr = 0.1
    inner = {"size": 3}  # noqa: RUF012


class Dumps:
    """An object like pydantic's models."""

    def model_dump(self) -> dict[str, Any]:
        return {"lr": 0.1, "inner": {"size": 3}}


class Keys:
    """A configuration that is not a mapping."""

    def keys(self) -> list[str]:
        return ["lr", "inner"]

    def __getitem__(self, key: str) -> Any:
        return {"lr": 0.1, "inner": SimpleNamespace(size=3)}[key]


class Attrs:
    __attrs_attrs__ = (SimpleNamespace(name="lr"), SimpleNamespace(name="inner"))
    __slots__ = ("inner", "lr")

    def __init__(self) -> None:
        self.lr, self.inner = 0.1, Inner()


class Struct(msgspec.Struct):
    lr: float
    inner: Inner


class Unspeakable:
    def __repr__(self) -> str:
        raise RuntimeError("no words")


class Color(enum.Enum):
    RED = 1
    BLUE = "blue"


MODULE = ModuleType("settings")
MODULE.__dict__.update(lr=0.1, inner={"size": 3}, math=math, function=len)


@pytest.mark.parametrize(
    "config",
    [
        {"lr": 0.1, "inner": {"size": 3}},
        UserDict({"lr": 0.1, "inner": UserDict({"size": 3})}),
        argparse.Namespace(lr=0.1, inner=argparse.Namespace(size=3)),
        SimpleNamespace(lr=0.1, inner=Inner()),
        Outer(),
        namedtuple("Pair", ("lr", "inner"))(0.1, Inner()),  # type: ignore[call-arg, arg-type]
        Attributes(),
        ClassOnly,
        Dumps(),
        Keys(),
        Attrs(),
        Struct(0.1, Inner()),
    ],
    ids=lambda config: type(config).__name__,
)
def test_settings_are_read_from_what_holds_them(config: Any) -> None:
    assert plain_config(config) == ({"lr": 0.1, "inner": {"size": 3}}, "")


def test_a_module_has_settings_too() -> None:
    plain, told = plain_config(MODULE)
    assert (plain["lr"], plain["inner"], told) == (0.1, {"size": 3}, "")
    assert "math" not in plain


@pytest.mark.parametrize("config", [None, {}, argparse.Namespace()])
def test_nothing_is_nothing(config: Any) -> None:
    assert plain_config(config) == ({}, "")


@pytest.mark.parametrize(("config", "shown"), [("config.yaml", "config.yaml"), ([1, 2], [1, 2]), (5, 5)])
def test_what_has_no_names_is_kept_under_one(config: Any, shown: Any) -> None:
    plain, told = plain_config(config)
    assert plain == {"config": shown}
    assert f"expected names and their values, got one {type(config).__name__}" in told


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (np.float64(0.5), 0.5),
        (np.int32(5), 5),
        (np.bool_(True), True),
        (np.arange(3), [0, 1, 2]),
        (np.zeros((100, 100)), "ndarray of shape (100, 100) and dtype float64"),
        (torch.tensor(0.5, requires_grad=True), 0.5),
        (torch.zeros(2), [0.0, 0.0]),
        (torch.float32, "torch.float32"),
        (Path("a/b"), "a/b"),
        (Color.RED, "RED"),
        (Color.BLUE, "blue"),
        (datetime(2024, 1, 2, tzinfo=UTC), "2024-01-02T00:00:00+00:00"),
        (b"a\xff", "a\\xff"),
        ((1, [2, (3,)]), [1, [2, [3]]]),
        ({3, 1, 2}, [1, 2, 3]),
        (deque([1]), [1]),
        (range(3), [0, 1, 2]),
        (math.nan, "NaN"),
        (math.inf, "Infinity"),
        (-math.inf, "-Infinity"),
        (Decimal("0.5"), "0.5"),
        (math.sin, "math.sin"),
        (Inner, f"{__name__}.Inner"),
        (1 << 62, 1 << 62),
        (None, None),
        ({1: "a"}, {"1": "a"}),
    ],
)
def test_usual_values_are_shown_without_a_word(value: Any, shown: Any) -> None:
    assert plain_config({"value": value, "lr": 0.1}) == ({"value": shown, "lr": 0.1}, "")


ENDLESS: dict[str, Any] = {"a": 1}
ENDLESS["me"] = [ENDLESS]


def deep(depth: int, kind: type) -> Any:
    made: Any = 1
    for _ in range(depth):
        made = {"d": made} if kind is dict else [made]
    return made


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("value", 1 << 70),
        ("value", 10**5000),
        ("value", "\udcff"),
        ("value", "\0"),
        ("value", "x" * 100_000),
        ("value", ["x" * 8000] * 2000),
        ("value", list(range(100_000))),
        ("value", {str(number): number for number in range(100_000)}),
        ("value", ENDLESS),
        ("value", deep(500, dict)),
        ("value", deep(100_000, dict)),
        ("value", deep(500, list)),
        ("value", Unspeakable()),
        ("value", torch.zeros((), device="meta")),
        (("a", "b"), 1),
        (None, 1),
        (Unspeakable(), 1),
        ("a\nb", 1),
        ("x" * 1000, 1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_one_odd_setting_costs_no_other_and_is_named(key: Any, value: Any) -> None:
    plain, told = plain_config({"before": 1, key: value, "lr": 0.1})
    assert (plain["before"], plain["lr"], len(plain)) == (1, 0.1, 3)
    assert told.count("(") >= 1
    assert len(msgspec.json.encode(plain)) <= 2 * MAX_BYTES
    if key == "value":
        assert told.startswith("value")


def test_settings_that_raise_are_text() -> None:
    class Missing(UserDict[str, Any]):
        def __getitem__(self, key: str) -> Any:
            if key == "b":
                raise LookupError("no value for b")
            return super().__getitem__(key)

    plain, told = plain_config({"inner": Missing(a=1, b=2, c=3)})
    assert plain == {"inner": {"a": 1, "b": "<LookupError: no value for b>", "c": 3}}
    assert told == "inner.b (it raised LookupError: no value for b)"


def test_names_that_would_be_one_stay_two() -> None:
    plain, told = plain_config({1: "a", "1": "b", "x\n": 1, "x\t": 2})
    assert (plain["1"], plain["1 (2)"]) == ("a", "b")
    assert len(plain) == 4
    assert "1 (the same name twice)" in told


def test_the_whole_is_bounded_and_small_settings_go_first() -> None:
    plain, told = plain_config({**{f"text{number}": "x" * 8000 for number in range(100)}, "lr": 0.1})
    assert plain["lr"] == 0.1
    assert len(plain) == 101
    assert len(msgspec.msgpack.encode(plain)) <= MAX_BYTES
    assert "more than 262144 bytes" in told
    assert len(told) < 1000
    plain, told = plain_config({f"{number:04d}" + "x" * 250: "y" * 80 for number in range(10_000)})
    assert len(msgspec.msgpack.encode(plain)) <= MAX_BYTES
    assert len(plain) > 500
    assert told


JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(1 << 63), (1 << 63) - 1),
        st.floats(allow_nan=False, allow_infinity=False),
    )
    | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1, max_size=3), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.text("abcd", min_size=1, max_size=4), JSON, max_size=5))
def test_what_json_has_is_kept_as_it_is(config: dict[str, Any]) -> None:
    assert plain_config(config) == (config, "")


def test_no_library_of_configurations_is_loaded() -> None:
    assert not {"omegaconf", "pydantic", "attr", "ml_collections"} & set(sys.modules["recis.bridge.config"].__dict__)
