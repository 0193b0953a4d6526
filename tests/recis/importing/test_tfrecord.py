import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recis.importing.tfrecord import DamagedError, read_records
from tests.recis.importing.writing import framed

RECORDS = st.lists(st.binary(max_size=40), max_size=6)


@given(RECORDS, st.data())
def test_a_file_that_is_cut_anywhere_gives_its_whole_records(records: list[bytes], data: st.DataObject) -> None:
    ends = [0]
    for record in records:
        ends.append(ends[-1] + len(framed(record)))
    whole = b"".join(map(framed, records))
    cut = data.draw(st.integers(0, len(whole)))
    start = data.draw(st.integers(0, len(records)))
    number = sum(end <= cut for end in ends[1:])
    expected = list(zip(records, ends[1:], strict=True))[start:number]
    assert list(read_records(io.BytesIO(whole[:cut]), ends[start])) == expected


@given(RECORDS.filter(bool), st.data())
def test_a_bit_that_has_changed_is_found(records: list[bytes], data: st.DataObject) -> None:
    whole = bytearray(b"".join(map(framed, records)))
    place = data.draw(st.integers(0, len(whole) * 8 - 1))
    whole[place // 8] ^= 1 << place % 8
    found: list[tuple[bytes, int]] = []
    with pytest.raises(DamagedError) as damage:
        found.extend(read_records(io.BytesIO(bytes(whole))))
    before = damage.value.offset
    assert before <= place // 8
    assert list(read_records(io.BytesIO(bytes(whole[:before])))) == [
        pair for pair in zip(records, _ends(records), strict=True) if pair[1] <= before
    ]


def _ends(records: list[bytes]) -> list[int]:
    total, ends = 0, []
    for record in records:
        total += len(framed(record))
        ends.append(total)
    return ends
