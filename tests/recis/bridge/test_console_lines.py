from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from recis.bridge.console_lines import MAX_LINE_CHARS, PROGRESS_NS, ConsoleLines


def lines(*pieces: str, end: bool = True) -> list[str]:
    forming = ConsoleLines()
    found = [line for number, piece in enumerate(pieces) for _, line in forming.feed(piece, number)]
    return [*found, *(line for _, line in forming.end(99))] if end else found


def test_pieces_become_lines() -> None:
    assert lines("a", "b", "\n", "c\nd\n", "e") == ["ab", "c", "d", "e"]
    assert lines("a\r\nb\r\n") == ["a", "b"]
    assert lines("  indented  \n") == ["  indented"]
    assert lines("open", end=False) == []


def test_of_adjacent_blank_lines_one_is_kept() -> None:
    assert lines("\n\na\n\n \n\nb\n") == ["a", "", "b"]


def test_a_line_that_is_rewritten_is_kept_now_and_then_and_at_its_end() -> None:
    forming = ConsoleLines()
    found = []
    for percent in range(101):
        time_ns = percent * PROGRESS_NS // 10 + PROGRESS_NS
        found += [line for _, line in forming.feed(f"\r{percent}%|###", time_ns)]
    assert found == [f"{percent}%|###" for percent in range(0, 101, 10)]
    assert [line for _, line in forming.feed("\n", 0)] == ["100%|###"]
    assert lines("\rabc", "\r   \r", "next\n")[-1:] == ["next"]


def test_escape_sequences_are_removed() -> None:
    assert lines("\x1b[1;31mred\x1b[0m \x1b]0;title\x07plain\x1b[2K\x1b[1A\n") == ["red plain"]
    assert lines("\x1b[3", "1mred\n") == ["red"]


def test_a_long_line_is_cut() -> None:
    (line,) = lines(*["x" * 1000] * 100, "\n")
    assert line == "x" * MAX_LINE_CHARS + "…"
    (line,) = lines("x" * MAX_LINE_CHARS + "\n")
    assert line == "x" * MAX_LINE_CHARS
    forming = ConsoleLines()
    for _ in range(1000):
        assert list(forming.feed("y" * 10_000, 0)) == []
    assert forming._num_chars <= 4 * MAX_LINE_CHARS


@given(st.text(alphabet="ab \n", max_size=60), st.lists(st.integers(0, 60), max_size=8))
def test_it_does_not_matter_how_a_text_is_divided(text: str, places: list[int]) -> None:
    cuts = [0, *sorted(min(place, len(text)) for place in places), len(text)]
    pieces = [text[start:stop] for start, stop in pairwise(cuts)]
    assert lines(*pieces) == lines(text)
