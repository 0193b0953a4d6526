"""Lists cut for statements: nothing is lost or twice, and there are few lengths."""

import sqlite3

import pytest
from recis_server.store.lists import cut, padded, question_marks, table_of


@pytest.mark.parametrize("number", range(40))
def test_pieces_are_all_rows_in_order_and_of_few_lengths(number: int) -> None:
    pieces = list(cut(range(number), 16))
    assert [row for piece in pieces for row in piece] == list(range(number))
    assert {len(piece) for piece in pieces} <= {1, 2, 4, 8, 16}
    assert len(pieces) <= number // 16 + 4


@pytest.mark.parametrize("number", range(1, 40))
def test_padding_repeats_the_last_value_only(number: int) -> None:
    found = padded(range(number))
    assert len(found) in (1, 2, 4, 8, 16, 32, 64)
    assert found[:number] == list(range(number))
    assert set(found[number:]) <= {number - 1}


def test_padding_leaves_nothing_as_it_is() -> None:
    assert padded([]) == []


def test_rows_are_a_table() -> None:
    table, values = table_of([(1, "a"), (2, "b")])
    found = sqlite3.connect(":memory:").execute(f"SELECT column2, column1 FROM {table} ORDER BY 2", values)
    assert found.fetchall() == [("a", 1), ("b", 2)]
    assert question_marks(3) == "?, ?, ?"
