"""Read the version of the program from the git repository of its main script.

Owns the git commands and their time limit. Must not know what the answers are for. Never raises: a program need not be
in a repository, and a machine need not have git.
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
"""Time limit for one git command, for which `init` waits. Large repositories on network file systems are slow."""
_QUIET = {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
"""Disable password prompts and localised output."""


def read_checkout(folder: Path) -> dict[str, Any]:
    """Return those of `commit`, `branch`, `dirty`, `remote` and `root` that git knows of the repository of a folder.

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
    # Execute nothing that the repository configures, and take no lock for which a user's git command would wait.
    command = ["git", "--no-optional-locks", "-c", "core.fsmonitor=false", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(  # noqa: S603 - arguments of ours, without a shell
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=GIT_S, check=False, env=inherited(**_QUIET)
        )
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return done.stdout.decode("utf-8", "replace").strip() if done.returncode == 0 else None
