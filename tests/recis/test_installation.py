"""`recis.installation`: RecIS in the same environment is reported once, whichever was installed last."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import recis
from recis.installation import find_recis

OWN = Path(recis.__file__).parent


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder of installed packages that includes a copy of this one."""
    folder = tmp_path / "site-packages"
    shutil.copytree(OWN, folder / "recis", ignore=shutil.ignore_patterns("__pycache__", "nn", "demo", "framework"))
    (folder / "recis_monitor-0.2.0.dist-info").mkdir()
    (folder / "recis_monitor_bridge-0.2.0.dist-info").mkdir()
    return folder


def run(site: Path, code: str) -> str:
    """Return the standard error of a program that searches `site` first for packages."""
    code = f"import sys; sys.path.insert(0, {str(site)!r})\n{code}"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    return done.stderr


def test_an_environment_without_recis_is_not_warned_of(site: Path) -> None:
    assert find_recis(site / "recis", [str(site), "", "/nowhere", str(site / "recis" / "cli.py")]) == []
    assert find_recis(OWN, sys.path) == []
    assert run(site, "import recis.monitor, recis.cli") == ""


@pytest.mark.parametrize(
    "name", ["recis-1.2.0.dist-info", "RecIS-1.0-py3.10.egg-info", "recis.egg-info", "recis.egg-link"]
)
def test_a_record_of_the_other_distribution_is_found(site: Path, name: str) -> None:
    (site / name).mkdir()
    assert find_recis(site / "recis", []) == [site / name]
    assert find_recis(OWN, [str(site)]) == [site / name]


@pytest.mark.parametrize(
    "name", ["recise-1.0.dist-info", "recis-monitor-1.dist-info", "recis-1.2.0.whl", "my-recis-1.dist-info"]
)
def test_other_names_are_no_record(site: Path, name: str) -> None:
    (site / name).mkdir()
    assert find_recis(site / "recis", [str(site)]) == []


def test_files_and_hidden_packages_of_recis_are_found_without_a_record(site: Path, tmp_path: Path) -> None:
    (site / "recis" / "io").mkdir()
    hidden = tmp_path / "checkout" / "recis"
    hidden.mkdir(parents=True)
    assert find_recis(site / "recis", [str(site), str(hidden.parent)]) == [site / "recis" / "io"]
    (hidden / "__init__.py").touch()
    assert find_recis(site / "recis", [str(site), str(hidden.parent)]) == [site / "recis" / "io", hidden]


def test_one_warning_says_what_was_found_and_what_to_do(site: Path) -> None:
    (site / "recis-1.2.0.dist-info").mkdir()
    said = run(site, "import recis, recis.monitor, recis.cli; recis.monitor.check_installation()")
    assert said.count("\n") == 1
    assert str(site / "recis-1.2.0.dist-info") in said
    assert "pip install recis-monitor-bridge" in said
    assert "pip uninstall recis;" in said


@pytest.mark.parametrize("entry", ["recis.monitor", "recis.cli"])
def test_recis_over_this_package_is_found_where_this_package_is_entered(site: Path, entry: str) -> None:
    (site / "recis" / "__init__.py").write_text("__version__ = '1.2.10'\n")
    said = run(site, f"import {entry}\n" + ("recis.cli.check_installation()" if entry == "recis.cli" else ""))
    assert said.count("\n") == 1
    assert f"{site}/recis/__init__.py (version 1.2.10)" in said


def test_entries_of_the_path_that_cannot_be_read_hide_no_others_and_keep_nobody_from_importing(site: Path) -> None:
    (site / "recis-1.2.0.dist-info").mkdir()
    assert find_recis(OWN, ["\0", "x" * 5000, b"bytes", None, str(site)]) == [site / "recis-1.2.0.dist-info"]  # type: ignore[list-item]
    assert "recis-1.2.0.dist-info" in run(site, "sys.path += [b'bytes', 'x' * 5000]\nimport recis.monitor")


def test_whatever_fails_in_the_search_stays_in_it(site: Path) -> None:
    assert run(site, "import pathlib; pathlib.Path.resolve = None\nimport recis, recis.monitor") == ""
