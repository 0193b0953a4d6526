"""Which values count as numbers."""

from typing import Any

import numpy as np
import pytest

from recis.errors import ArgumentError
from recis.numerals import as_int, as_real, positive_int


@pytest.mark.parametrize("value", [3, np.int64(3), np.int32(3), np.uint8(3)])
def test_integers_of_python_and_numpy_become_plain_ints(value: Any) -> None:
    assert as_int(value) == 3
    assert type(as_int(value)) is int
    assert positive_int("it", value) == 3


@pytest.mark.parametrize("value", [True, np.bool_(True), 3.0, np.float64(3), "3", None, np.array([3]), [3]])
def test_nothing_else_is_an_integer(value: Any) -> None:
    assert as_int(value) is None
    with pytest.raises(ArgumentError, match=r"it: expected a positive int \(steps\), got"):
        positive_int("it", value, "steps")


@pytest.mark.parametrize("value", [0, -1, np.int64(0)])
def test_a_positive_int_is_at_least_one(value: Any) -> None:
    with pytest.raises(ArgumentError, match="expected a positive int, got"):
        positive_int("it", value)


def test_reals_become_plain_floats() -> None:
    for value in (0.5, np.float32(0.5), np.float64(0.5)):
        assert type(as_real(value)) is float
        assert as_real(value) == 0.5
    assert as_real(np.int64(2)) == 2.0
    assert all(as_real(value) is None for value in (True, "0.5", None, 1j))
