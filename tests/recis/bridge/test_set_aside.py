"""`recis.bridge.set_aside`: losses are counted once, reported once, and files are kept within bounds."""

import os
from pathlib import Path

import pytest

from recis.bridge import set_aside as module
from recis.bridge.set_aside import SetAside
from recis.wire.codec import decode_client, encode
from recis.wire.messages import Frame


def test_files_that_are_set_aside_are_bounded_and_the_oldest_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KEPT_BYTES", 1000)
    set_aside = SetAside(tmp_path)
    for number in range(5):
        path = tmp_path / f"{number}.seg"
        path.write_bytes(bytes(400))
        os.utime(path, (number, number))
        set_aside.keep(path)
    assert sorted(path.name for path in (tmp_path / "set-aside").iterdir()) == ["3.seg", "4.seg"]


def test_losses_are_counted_once_across_processes_and_merged_when_there_are_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_ENTRIES", 3)
    for number in range(10):
        set_aside = SetAside(tmp_path)
        for _ in range(2):
            set_aside.note("1.seg", number, 5, 1, "why")
        assert set_aside.news() is not None
        assert set_aside.news() is None
        assert (set_aside.values, set_aside.records) == (5 * (number + 1), number + 1)
    assert len(SetAside(tmp_path)) == 3
    (tmp_path / "set-aside" / "lost.json").write_text("[1")
    assert SetAside(tmp_path).values == 0


def test_what_is_told_names_one_loss_or_the_sum_of_several(tmp_path: Path) -> None:
    set_aside = SetAside(tmp_path)
    assert set_aside.news() is None
    set_aside.note("1.seg", 0, 5, 1, "it is torn")
    one = set_aside.news()
    assert one is not None
    assert one.text == "1.seg: lost 5 values and 1 other record (it is torn)"
    set_aside.note("1.seg", 0, 6, 1, "it is torn")
    assert set_aside.news() is None, "the same place"
    for number in (2, 3):
        set_aside.note(f"{os.fsdecode(bytes([255]))}{number}.seg", 0, 5, 0, "why")
    several = set_aside.news()
    assert several is not None
    assert several.text.startswith(
        "lost in 2 places: 10 values and 0 other records; first, \N{REPLACEMENT CHARACTER}2.seg"
    )
    decode_client(encode(Frame(n=1, records=(one, several))))
    assert str(set_aside).startswith("lost 16 values and 1 other record; see ")


def test_without_a_folder_the_count_is_in_memory(tmp_path: Path) -> None:
    set_aside = SetAside(None)
    set_aside.note("1.seg", 0, 5, 1, "why")
    set_aside.keep(tmp_path)
    assert (set_aside.values, len(set_aside)) == (5, 1)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_takes_nothing_costs_the_list_and_not_the_count(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "set-aside").touch()  # no folder
    set_aside = SetAside(tmp_path)
    set_aside.note("1.seg", 0, 5, 1, "why")
    (tmp_path / "1.seg").touch()
    set_aside.keep(tmp_path / "1.seg")
    assert set_aside.values == 5
    assert "kept in memory only" in caplog.text
    assert "cannot keep" in caplog.text
