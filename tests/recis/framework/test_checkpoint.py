import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from recis.errors import CheckpointError
from recis.framework.checkpoint import CheckpointFolder
from recis.framework.ranks import Ranks


@pytest.fixture
def folder(tmp_path: Path) -> CheckpointFolder:
    return CheckpointFolder(tmp_path / "out", max_to_keep=2, ranks=Ranks(torch.nn.Identity()))


def names(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "out").iterdir())


def content(step: int) -> dict[str, Any]:
    return {"step": step, "rows": torch.full((4,), float(step)), "nested": {"lr": [0.1, None]}}


def test_what_is_saved_is_loaded(folder: CheckpointFolder, tmp_path: Path) -> None:
    assert folder.load() is None
    path = folder.save(7, content(7))
    assert sorted(each.name for each in path.iterdir()) == ["checkpoint.json", "rank0.pt"]
    loaded = folder.load()
    assert loaded is not None
    assert loaded["nested"] == {"lr": [0.1, None]}
    assert loaded["rows"].tolist() == [7.0] * 4


def test_the_newest_few_are_kept(folder: CheckpointFolder, tmp_path: Path) -> None:
    for step in (9, 10, 11):
        folder.save(step, content(step))
    assert names(tmp_path) == ["step-000000000010", "step-000000000011"]


def test_a_new_training_in_the_folder_of_another_one_keeps_its_own(folder: CheckpointFolder, tmp_path: Path) -> None:
    for step in (1000, 2000, 10, 20):
        folder.save(step, {"step": step})
    assert names(tmp_path) == ["step-000000000010", "step-000000000020"]
    assert folder.load() == {"step": 20}
    assert folder.newest_step() == 20


def test_checkpoints_of_earlier_versions_are_ordered_by_step(folder: CheckpointFolder, tmp_path: Path) -> None:
    for step in (9, 8):
        path = folder.save(step, {"step": step}) / "checkpoint.json"
        index = json.loads(path.read_text())
        del index["number"]
        path.write_text(json.dumps(index))
    assert folder.load() == {"step": 9}
    folder.save(3, {"step": 3})
    assert names(tmp_path) == ["step-000000000003", "step-000000000009"]
    assert folder.load() == {"step": 3}


def test_the_same_step_can_be_saved_again(folder: CheckpointFolder) -> None:
    folder.save(5, content(1))
    folder.save(5, content(2))
    loaded = folder.load()
    assert loaded is not None
    assert loaded["step"] == 2


def test_drafts_left_by_a_crash_go_with_the_next_checkpoint(folder: CheckpointFolder, tmp_path: Path) -> None:
    (tmp_path / "out" / ".step-000000000003.partial").mkdir(parents=True)
    folder.save(4, content(4))
    assert names(tmp_path) == ["step-000000000004"]


@pytest.mark.parametrize("damage", ["no index", "cut index", "short file", "no file", "garbage", "only a draft"])
def test_a_torn_checkpoint_is_passed_over(
    damage: str, folder: CheckpointFolder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder.save(1, content(1))
    newest = folder.save(2, content(2))
    file, index = newest / "rank0.pt", newest / "checkpoint.json"
    if damage == "no index":
        index.unlink()
    elif damage == "cut index":
        index.write_text(index.read_text()[:10])
    elif damage == "short file":
        file.write_bytes(file.read_bytes()[:-100])
    elif damage == "no file":
        file.unlink()
    elif damage == "garbage":
        file.write_bytes(b"x" * file.stat().st_size)
    else:
        newest.rename(newest.with_name(f".{newest.name}.partial"))
    loaded = folder.load()
    assert loaded is not None
    assert loaded["step"] == 1
    assert ("older" in caplog.text) is (damage != "only a draft")


def test_what_is_no_data_is_never_loaded(folder: CheckpointFolder) -> None:
    folder.save(1, {"step": 1, "code": logging.Formatter()})
    assert folder.load() is None


@pytest.mark.parametrize(("key", "value"), [("format", 2), ("world_size", 4)])
def test_a_checkpoint_of_another_format_or_size_is_refused(key: str, value: int, folder: CheckpointFolder) -> None:
    index = folder.save(1, content(1)) / "checkpoint.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), key: value}))
    with pytest.raises(CheckpointError, match="expected format 1 of 1 ranks, got"):
        folder.load()


def test_what_cannot_be_written_is_an_error_and_leaves_nothing(folder: CheckpointFolder, tmp_path: Path) -> None:
    folder.save(1, content(1))
    (tmp_path / "out" / ".step-000000000002.partial").write_text("in the way")
    with pytest.raises(CheckpointError, match="could not write the checkpoint"):
        folder.save(2, content(2))
    loaded = folder.load()
    assert loaded is not None
    assert loaded["step"] == 1


def test_a_failure_while_writing_leaves_the_older_one(
    folder: CheckpointFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.save(1, content(1))

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(CheckpointError, match="No space left"):
        folder.save(2, content(2))
    assert names(tmp_path) == ["step-000000000001"]
