"""`recis.wire.names`: any name becomes a valid one, and different names stay different."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recis.wire.messages import MAX_KEY_CHARS
from recis.wire.names import as_key, distinct_name, is_name, spell

ANY_TEXT = st.text(st.characters(), max_size=1200)  # lone surrogates too


class Unspeakable:
    def __repr__(self) -> str:
        raise RuntimeError("no words")


@given(ANY_TEXT)
def test_any_text_becomes_the_name_of_a_series(text: str) -> None:
    key = as_key(text)
    assert 0 < len(key) <= MAX_KEY_CHARS
    assert key.isprintable()
    assert as_key(key) == key
    assert (key == text) == is_name(text, MAX_KEY_CHARS)


@given(ANY_TEXT, ANY_TEXT, st.integers(10, 600))
def test_two_texts_never_become_one_name(one: str, other: str, most: int) -> None:
    names = {distinct_name(one, most), distinct_name(other, most)}
    assert len(names) == len({one, other})
    assert all(is_name(name, most) for name in names)


@pytest.mark.parametrize(
    ("key", "spelled"),
    [
        ("a", ("a", True)),
        (7, ("7", True)),
        (True, ("True", False)),
        (1.5, ("1.5", False)),
        (("a", 1), ("('a', 1)", False)),
        (10**5000, ("<int>", False)),
        (Unspeakable(), ("<Unspeakable>", False)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_keys_are_spelled(key: Any, spelled: tuple[str, bool]) -> None:
    assert spell(key) == spelled
