"""The download: complete and verified, or an error with nothing left behind."""

import hashlib
import zipfile
from pathlib import Path

import pytest

from recis.demo import movielens
from recis.demo.movielens import DataError, fetch


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip uses as its only package index."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def write_wheel(index: Path, files: dict[str, bytes]) -> None:
    with zipfile.ZipFile(index / "recbole-1.2.1-py3-none-any.whl", "w") as wheel:
        for name, content in files.items():
            wheel.writestr(f"recbole/dataset_example/ml-100k/{name}", content)
        info = "recbole-1.2.1.dist-info"
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: recbole\nVersion: 1.2.1\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")


FILES = {"ml-100k.inter": b"ratings", "ml-100k.item": b"films", "ml-100k.user": b"people"}


@pytest.mark.slow
def test_without_a_package_index_the_error_says_what_was_wanted(tmp_path: Path, index: Path) -> None:
    with pytest.raises(DataError, match="recbole==1"):
        fetch(tmp_path / "cache")


@pytest.mark.slow
def test_other_bytes_than_expected_are_refused_and_nothing_stays(tmp_path: Path, index: Path) -> None:
    write_wheel(index, FILES)
    with pytest.raises(DataError, match="SHA-256"):
        fetch(tmp_path / "cache")
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []


@pytest.mark.slow
def test_damaged_copies_are_replaced_and_intact_ones_are_used_without_pip(
    tmp_path: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        movielens, "_SHA256", {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}
    )
    write_wheel(index, FILES)
    folder = fetch(tmp_path / "cache")
    (folder / "ml-100k.user").write_bytes(b"half")
    assert fetch(tmp_path / "cache") == folder
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == FILES

    next(index.iterdir()).unlink()
    assert fetch(tmp_path / "cache") == folder
