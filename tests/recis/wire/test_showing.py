"""`recis.wire.showing`: any object becomes valid text of a bounded length, without an error."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recis.wire.showing import shown, text_of

ANY_TEXT = st.text(st.characters(), max_size=1200)  # lone surrogates too


class Unspeakable:
    def __repr__(self) -> str:
        raise RuntimeError("no words")


@given(ANY_TEXT, st.integers(1, 600))
def test_any_text_becomes_valid_and_bounded(text: str, most: int) -> None:
    kept = text_of(text, most)
    assert len(kept) <= most
    assert kept.encode().decode() == kept
    assert text_of(kept, most) == kept


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a\0b", "a\N{REPLACEMENT CHARACTER}b"),
        ("a\ud83d\nb", "a\N{REPLACEMENT CHARACTER}\nb"),
        ("x" * 9000, "x" * 8191 + "…"),
        (None, "None"),
        (Unspeakable(), "<Unspeakable that cannot be shown: RuntimeError>"),
    ],
)
def test_what_is_kept_of_a_text(value: Any, text: str) -> None:
    assert text_of(value) == text


def test_values_are_shown_in_part() -> None:
    endless: dict[str, Any] = {"a": 1}
    endless["me"] = endless
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    for value in ("x" * 10_000, b"x" * 10_000, 10**5000, list(range(10_000)), endless, nested, Unspeakable(), "\udcff"):
        assert 0 < len(shown(value)) <= 80
        shown(value).encode()
    assert shown("x") == "'x'"
    assert shown(1.5) == "1.5"
