"""`recis.bridge.files`: a small file is read as it was written or not at all; only regular files are read."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recis.bridge import files as module
from recis.bridge.files import read_checked, read_regular, write_checked
from tests.effort import examples

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@settings(max_examples=examples(60), deadline=None)
@given(JSON, st.data())
def test_a_changed_file_is_never_read(
    tmp_path_factory: pytest.TempPathFactory, content: object, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("file") / "a.json"
    write_checked(path, content)
    assert read_checked(path) == content
    before = path.read_bytes()
    place = data.draw(st.integers(0, len(before) - 1))
    for after in (
        before[:place] + bytes([before[place] ^ data.draw(st.integers(1, 255))]) + before[place + 1 :],
        before[:place],
        before[:place] + data.draw(st.binary(min_size=1)) + before[place:],
    ):
        path.write_bytes(after)
        with pytest.raises(ValueError, match="matches its checksum"):
            read_checked(path)
    assert [each.name for each in path.parent.iterdir()] == ["a.json"]


def test_what_is_no_file_of_ours_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.setattr(module, "LARGEST_BYTES", 10)
    (tmp_path / "large").write_bytes(bytes(11))
    (tmp_path / "right").write_bytes(b"0123456789")
    for path in (tmp_path / "pipe", tmp_path, Path("/dev/zero"), tmp_path / "large"):
        with pytest.raises(ValueError, match="expected a file of at most 10 bytes"):
            read_regular(path)
    assert read_regular(tmp_path / "right") == b"0123456789"
    assert read_regular(tmp_path / "right", 3, 6) == b"345"
    assert read_regular(tmp_path / "right", 8, 20) == b"89"
