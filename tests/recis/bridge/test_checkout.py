import subprocess
from pathlib import Path

import pytest

from recis.bridge import checkout
from recis.bridge.checkout import read_checkout


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=Mia", "-c", "user.email=mia@example.org"]
    command = ["git", *identity, "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_commit_branch_changes_and_remote_of_a_repository(tmp_path: Path) -> None:
    assert read_checkout(tmp_path) == {}
    git(tmp_path, "init", "--quiet", "--initial-branch=trunk")
    assert read_checkout(tmp_path) == {}  # no commit yet
    (tmp_path / "train.py").write_text("1")
    git(tmp_path, "add", "train.py")
    git(tmp_path, "commit", "--quiet", "--message=one")
    git(tmp_path, "remote", "add", "origin", "https://mia:pw@example.org/x.git")
    (tmp_path / "untracked").write_text("")
    commit = git(tmp_path, "rev-parse", "HEAD")
    found = {"root": str(tmp_path), "commit": commit, "remote": "https://***@example.org/x.git"}
    assert read_checkout(tmp_path) == {**found, "branch": "trunk", "dirty": False}
    (tmp_path / "train.py").write_text("2")
    git(tmp_path, "checkout", "--quiet", "--detach")
    assert read_checkout(tmp_path) == {**found, "dirty": True}


def test_a_git_that_hangs_or_is_missing_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "git").write_text("#!/bin/sh\nexec sleep 60\n")
    (tmp_path / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    monkeypatch.setattr(checkout, "GIT_S", 0.1)
    assert read_checkout(tmp_path) == {}
    monkeypatch.setenv("PATH", "/nowhere")
    assert read_checkout(tmp_path) == {}
