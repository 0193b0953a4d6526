import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recis_server.store.points.chunks import (
    CELL_BYTES,
    decode_cells,
    decode_steps,
    decode_values,
    encode_cells,
    encode_steps,
    encode_values,
    expand_cells,
)
from recis_server.store.values import Buckets

ANY_FLOAT = st.floats(allow_nan=True, allow_infinity=True)


def bits(column: np.ndarray) -> list[int]:
    return column.view("<i8").tolist()


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=50))
def test_steps_come_back(steps: list[int]) -> None:
    column = np.array(steps, np.int64)
    assert decode_steps(encode_steps(column)).tolist() == steps


@given(st.lists(st.integers(-(2**63) // 1000, 2**63 // 1000 - 1), min_size=1, max_size=50))
def test_times_in_whole_microseconds_come_back(micros: list[int]) -> None:
    column = np.array(micros, np.int64) * 1000
    assert decode_steps(encode_steps(column)).tolist() == column.tolist()


def test_times_in_whole_microseconds_take_half_the_room() -> None:
    exact = 1_760_000_000 * 10**9 + np.cumsum(np.random.default_rng(1).integers(9_500_000, 10_500_000, 10_000))
    assert len(encode_steps(exact // 1000 * 1000)) < len(encode_steps(exact)) * 0.6


@given(st.lists(st.one_of(ANY_FLOAT, st.floats(width=32)), min_size=1, max_size=50))
def test_values_come_back_bit_by_bit(values: list[float]) -> None:
    column = np.array(values)
    assert bits(decode_values(encode_values(column))) == bits(column)


@given(st.lists(st.lists(ANY_FLOAT, min_size=8, max_size=8), min_size=1, max_size=80))
def test_cells_come_back_bit_by_bit_however_many(rows: list[list[float]]) -> None:
    cells = Buckets(*np.array(rows).T.copy())
    table = expand_cells(encode_cells(cells))
    assert len(table) == len(rows) * CELL_BYTES
    found = decode_cells(table + table)
    for column, twice in zip(cells.columns(), found.columns(), strict=True):
        assert bits(twice) == bits(column) * 2


def test_cells_of_an_earlier_version_are_read_as_they_are() -> None:
    loose = np.arange(800.0).reshape(100, 8)
    assert decode_cells(expand_cells(loose.tobytes())).last.tolist() == loose[:, 5].tolist()


def test_many_cells_take_less_room() -> None:
    grid = np.arange(256.0) * 64
    noise = np.random.default_rng(1).standard_normal(256).astype(np.float32).astype(np.float64)
    cells = Buckets(grid, 1.7e9 + grid, noise, noise, noise, noise, np.full(256, 64.0), np.zeros(256))
    assert len(encode_cells(cells)) < 256 * CELL_BYTES / 2


def test_a_codec_of_a_newer_version_is_named() -> None:
    for decode in (decode_steps, decode_values, expand_cells):
        with pytest.raises(ValueError, match="expected"):
            decode(b"\x63" + bytes(10))
