import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recis.wire.text import as_text

ANY = st.text(st.characters(categories=None, codec=None), max_size=60)


@given(ANY, st.none() | st.integers(1, 70))
def test_whatever_the_text_every_part_can_hold_it(text: str, limit: int | None) -> None:
    held = as_text(text, limit)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(held)) == held
    assert json.loads(json.dumps(held)) == held
    assert "\0" not in held
    assert len(held) <= (len(text) if limit is None else limit)
    assert as_text(held, limit) == held


@pytest.mark.parametrize(
    ("text", "held"),
    [
        ("loss \U0001f600 é\n", "loss \U0001f600 é\n"),
        ("a\0b", "a\ufffdb"),
        ("\ud800x", "\ufffdx"),
        ("x" * 300, "x" * 19 + "…"),
    ],
)
def test_what_cannot_be_held_is_marked(text: str, held: str) -> None:
    assert as_text(text, 20) == held
