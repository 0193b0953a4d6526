"""Every format preserves numbers bit by bit."""

import csv
import io
import json
import math
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recis_server.query.exports import ColumnsEncoder, CsvEncoder, Encoder, JsonLinesEncoder
from recis_server.query.parquet import GROUP_ROWS, ParquetEncoder
from recis_server.store.values import ExportSize, PointsSlice

from recis.wire.exports import ExportPart, unpack

SIZE = ExportSize(0, 7)
INT64 = st.one_of(st.integers(-(2**63), 2**63 - 1), st.sampled_from([-(2**63), 2**63 - 1, 0]))
VALUES = st.one_of(
    st.floats(),
    st.sampled_from([math.nan, math.inf, -math.inf, -0.0, 5e-324, 2.2250738585072014e-308, 1.7976931348623157e308]),
    # NaN with a payload: binary formats preserve it.
    st.integers(0x7FF0000000000001, 0x7FFFFFFFFFFFFFFF).map(lambda bits: np.array([bits]).view(np.float64)[0]),
)
KEYS = st.one_of(st.sampled_from(["loss", 'a,"b"', "x],[y", " é", "'"]), st.text(min_size=1).filter(str.isprintable))
RANKS, ATTEMPTS = st.integers(0, 2**31 - 1), st.integers(1, 2**31 - 1)
SLICES = st.lists(
    st.builds(
        lambda key, rank, rows, superseded: PointsSlice(
            key,
            rank,
            np.array([row[0] for row in rows], np.int64),
            np.array([row[1] for row in rows], np.int64),
            np.array([row[2] for row in rows], np.float64),
            np.array([row[3] for row in rows], np.int32),
            rows[-1][3],
            superseded,
        ),
        KEYS,
        RANKS,
        st.lists(st.tuples(INT64, INT64, VALUES, ATTEMPTS), min_size=1, max_size=20),
        st.booleans(),
    ),
    max_size=4,
)
Row = tuple[str, int, int, int, int, int, bool]


def rows(slices: list[PointsSlice], bits: Callable[[npt.NDArray[np.float64]], list[int]]) -> list[Row]:
    """Return rows of key, rank, attempt, step, time, bits of the value, superseded."""
    return [
        (one.key, one.rank, *row, one.superseded)
        for one in slices
        for row in zip(one.attempts.tolist(), one.steps.tolist(), one.times.tolist(), bits(one.values), strict=True)
    ]


def exact(values: npt.NDArray[np.float64]) -> list[int]:
    return values.view(np.int64).tolist()  # type: ignore[no-any-return]


def as_text(values: npt.NDArray[np.float64]) -> list[int]:
    """Return the rows as text represents them, with a single NaN."""
    return exact(np.where(np.isnan(values), np.nan, values))


def encoded(encoder: Encoder, slices: list[PointsSlice]) -> bytes:
    return b"".join([encoder.begin(), *(encoder.add(one) for one in slices), encoder.end()])


def in_seconds(found: list[Row]) -> list[Row]:
    return [(*row[:4], int(np.float64(row[4] / 1e9).view(np.int64)), *row[5:]) for row in found]


def bits(text: object) -> int:
    return int(np.float64(str(text)).view(np.int64))


@settings(deadline=None)
@given(SLICES)
def test_csv(slices: list[PointsSlice]) -> None:
    lines = csv.DictReader(io.StringIO(encoded(CsvEncoder(), slices).decode(), newline=""))
    got = [
        (
            line["key"],
            int(line["rank"]),
            int(line["attempt"]),
            int(line["step"]),
            bits(line["time"]),
            bits(line["value"]),
            {"0": False, "1": True}[line["superseded"]],
        )
        for line in lines
    ]
    assert got == in_seconds(rows(slices, as_text))


@settings(deadline=None)
@given(SLICES)
def test_json_lines(slices: list[PointsSlice]) -> None:
    lines = [json.loads(line) for line in encoded(JsonLinesEncoder(), slices).split(b"\n")[:-1]]
    assert all(isinstance(line["value"], float) or line["value"] in ("NaN", "Infinity", "-Infinity") for line in lines)
    got = [
        (
            *(line[name] for name in ("key", "rank", "attempt", "step")),
            bits(line["time"]),
            bits(line["value"]),
            line["superseded"],
        )
        for line in lines
    ]
    assert got == in_seconds(rows(slices, as_text))


@settings(deadline=None)
@given(SLICES)
def test_columns(slices: list[PointsSlice]) -> None:
    head, *parts = unpack(io.BytesIO(encoded(ColumnsEncoder("r", SIZE), slices)).read)
    assert head.expired == 7  # type: ignore[union-attr]
    assert rows([slice_of(part) for part in parts if isinstance(part, ExportPart)], exact) == rows(slices, exact)


def slice_of(part: ExportPart) -> PointsSlice:
    attempts = np.repeat(*np.array(part.attempts, np.int32).T)
    columns = (np.frombuffer(part.steps, "<i8"), np.frombuffer(part.times, "<i8"), np.frombuffer(part.values, "<f8"))
    return PointsSlice(part.key, part.rank, *columns, attempts, int(attempts[-1]), part.superseded)


@settings(deadline=None)
@given(SLICES)
def test_parquet(slices: list[PointsSlice]) -> None:
    table = pq.read_table(io.BytesIO(encoded(ParquetEncoder("r", SIZE), slices)))
    assert [str(kind) for kind in table.schema.types] == [
        "dictionary<values=string, indices=int32, ordered=0>",
        "int32",
        "int32",
        "int64",
        "timestamp[ns, tz=UTC]",
        "double",
        "bool",
    ]
    assert table.schema.metadata[b"recis.run"] == b"r"
    assert table.schema.metadata[b"recis.expired"] == b"7"
    columns = [table[name].to_pylist() for name in ("key", "rank", "attempt", "step")]
    times = table["time"].cast("int64").to_pylist()
    values = exact(np.concatenate([np.empty(0), table["value"].to_numpy()]))
    got = list(zip(*columns, times, values, table["superseded"].to_pylist(), strict=True))
    assert got == rows(slices, exact)


def many(num_rows: int, size: int) -> Iterator[PointsSlice]:
    for first in range(0, num_rows, size):
        steps = np.arange(first, first + size)
        yield PointsSlice(f"key {first}", 0, steps, steps, steps / 3, np.ones(size, np.int32), 1)


@pytest.mark.parametrize("size", [100, 8192])
def test_parquet_has_row_groups_of_one_size_and_gives_them_away(size: int) -> None:
    encoder = ParquetEncoder("r", SIZE)
    pieces = [encoder.begin(), *map(encoder.add, many(3 * GROUP_ROWS, size)), encoder.end()]
    file = pq.ParquetFile(io.BytesIO(b"".join(pieces)))
    groups = [file.metadata.row_group(place).num_rows for place in range(file.num_row_groups)]
    assert sum(groups) == file.metadata.num_rows >= 3 * GROUP_ROWS
    assert all(GROUP_ROWS <= rows < GROUP_ROWS + size for rows in groups[:-1])
    assert len([piece for piece in pieces if len(piece) > 10_000]) >= 3


@pytest.mark.parametrize(
    ("cut", "said"),
    [(slice(0, -1), "ends in the middle"), (slice(0, 10), "ends in the middle"), (slice(4, None), "expected")],
)
def test_columns_that_are_not_whole_are_refused(cut: slice, said: str) -> None:
    data = encoded(ColumnsEncoder("r", SIZE), list(many(30, 10)))[cut]
    with pytest.raises(ValueError, match=said):
        list(unpack(io.BytesIO(data).read))
