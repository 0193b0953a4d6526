"""Lists cut for statements: nothing is lost or twice, and there are few lengths."""

import sqlite3

import pytest
from recis_server.store.tables.sql_parameters import cut, names, question_marks, table_of


@pytest.mark.parametrize("number", range(40))
def test_pieces_are_all_rows_in_order_and_of_few_lengths(number: int) -> None:
    pieces = list(cut(range(number), 16))
    assert [row for piece in pieces for row in piece] == list(range(number))
    assert {len(piece) for piece in pieces} <= {1, 2, 4, 8, 16}
    assert len(pieces) <= number // 16 + 4


@pytest.mark.parametrize("number", range(40))
def test_names_are_all_values_and_some_of_them_again(number: int) -> None:
    pieces = list(names(range(number), 16))
    assert sorted({value for piece in pieces for value in piece}) == list(range(number))
    assert {len(piece) for piece in pieces} <= {1, 2, 4, 8, 16}
    assert len(pieces) == -(-number // 16)


def test_rows_are_a_table() -> None:
    table, values = table_of([(1, "a"), (2, "b")])
    found = sqlite3.connect(":memory:").execute(f"SELECT column2, column1 FROM {table} ORDER BY 2", values)
    assert found.fetchall() == [("a", 1), ("b", 2)]
    assert question_marks(3) == "?, ?, ?"
