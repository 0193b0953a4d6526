"""The version of the program, by the git repository that its main script is in.

Owns how git is asked, and how long it may take. Must not know what the answers are for. Never raises: a program need
not be in a repository, and a machine need not have git.
"""

import subprocess
from pathlib import Path
from typing import Any

from recis.bridge.masking import mask_text
from recis.environment import inherited
from recis.wire.showing import text_of
from recis.wire.text import MAX_NAME_CHARS

__all__ = ["read_checkout"]

GIT_S = 1.0
"""Time limit for one command of git, for which `init` waits. Large repositories on network file systems take long."""
_QUIET = {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
"""Ask nobody for a password, and print English."""


def read_checkout(folder: Path) -> dict[str, Any]:
    """Return `commit`, `branch`, `dirty`, `remote` and `root` of the repository of a folder, as far as git knows them.

    `dirty` is whether tracked files differ from the commit.
    """
    names = _git(folder, "rev-parse", "--show-toplevel", "HEAD")
    if names is None or len(lines := names.splitlines()) != 2:
        return {}
    found: dict[str, Any] = {"root": text_of(lines[0]), "commit": lines[1]}
    branch = _git(folder, "symbolic-ref", "--quiet", "--short", "HEAD")  # none for a detached head
    if branch:
        found["branch"] = text_of(branch, MAX_NAME_CHARS)
    remote = _git(folder, "config", "--get", "remote.origin.url")
    if remote:
        found["remote"] = text_of(mask_text(remote), MAX_NAME_CHARS)
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no", "--ignore-submodules")
    if changes is not None:
        found["dirty"] = bool(changes)
    return found


def _git(folder: Path, *arguments: str) -> str | None:
    """Return what git prints, None if it fails or takes too long."""
    # Nothing that the repository configures is executed, and no lock is taken that a user's git would wait for.
    command = ["git", "--no-optional-locks", "-c", "core.fsmonitor=false", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(  # noqa: S603 - arguments of ours, without a shell
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=GIT_S, check=False, env=inherited(**_QUIET)
        )
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return done.stdout.decode("utf-8", "replace").strip() if done.returncode == 0 else None
