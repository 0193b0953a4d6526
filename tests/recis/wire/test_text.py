"""`recis.wire.text`: any text becomes one that UTF-8, PostgreSQL and a line of the page can hold."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recis.wire.text import MAX_NAME_CHARS, as_file_name, as_name, as_text, close_reason

ANY = st.text(st.characters(), max_size=400)  # lone surrogates included


@given(ANY)
def test_text_is_valid_and_bounded(text: str) -> None:
    found = as_text(text, 100)
    assert len(found) <= 100
    assert found.encode().decode() == found
    assert "\0" not in found
    assert as_text(found, 100) == found


@given(ANY)
def test_a_name_is_one_bounded_line(text: str) -> None:
    name = as_name(text)
    assert len(name) <= MAX_NAME_CHARS
    assert name.splitlines() in ([], [name])
    assert name.encode().decode() == name
    assert as_name(name) == name


@given(ANY)
def test_a_file_name_is_a_name_in_a_folder(text: str) -> None:
    name = as_file_name(text)
    assert 0 < len(name) <= MAX_NAME_CHARS
    assert name not in (".", "..")
    assert not {"/", "\\", "\0"} & set(name)
    assert as_file_name(name) == name


@given(ANY)
def test_the_reason_of_a_closing_fits_its_frame(text: str) -> None:
    assert len(close_reason(text * 3).encode()) <= 123


@pytest.mark.parametrize("text", ["loss", "実験　1", "naïve café", "👩‍🔬 run", "a\N{NO-BREAK SPACE}b"])
def test_what_people_write_stays(text: str) -> None:
    assert as_text(text) == as_name(text) == as_file_name(text) == text


def test_lines_and_colours_stay_in_a_text_only() -> None:
    line = "\x1b[31mred\x1b[0m\tand\nmore"
    assert as_text(line) == line
    assert as_name(line) == "\ufffd[31mred\ufffd[0m\ufffdand\ufffdmore"


def test_what_is_cut_ends_with_an_ellipsis() -> None:
    assert as_text("abcdef", 4) == as_name("abcdef", 4) == "abc…"
    assert as_name("x" * 10_000_000) == "x" * 255 + "…"


@pytest.mark.parametrize(
    ("text", "name"),
    [("", "_"), ("..", "_"), ("a/b\\c.json", "a_b_c.json"), ("caf\udce9.json", "caf\ufffd.json"), ("a\nb", "a\ufffdb")],
)
def test_a_file_name_that_is_none_becomes_one(text: str, name: str) -> None:
    assert as_file_name(text) == name
